"""Kernels for values whose channels lie side by side: (M, K), a row of K lanes after another.

(N, C) is such, channels_last is, and so is (N, C, L) with a small L, where each channel has L
lanes; and if rows are short, two rows or more are taken for one, so that a channel has lanes in
several places. The sums are of lanes, and are then added up for channels. An item of the first
pass is a tile, some rows of some lanes; its sums are kept apart, and added up in one order, so
that they do not depend on which thread had which tile.

Arrays come flat; K is the width of the table of lanes, and `each` is how many lanes side by side
are of one channel.
"""

from typing import Any, NamedTuple

import numpy as np

from bn.kernels.numba_cpu.compiling import inlined
from bn.kernels.numba_cpu.elements import get, number, pick
from bn.kernels.numba_cpu.gates import gate, unpacked
from bn.kernels.numba_cpu.output import (
    DY_PIVOT,
    INV_STD,
    PIVOT,
    dz_of,
    gradient_pivot,
    set_gradient_pivots,
    shifted,
)

#: Lanes of a tile: its sums stay in the first-level cache.
TILE_LANES = 1024
#: Rows added up in the computing type before float64 takes over.
SOME_ROWS = 64


class Tile(NamedTuple):
    """A part of the rows, its first and last row, and the first and last lane."""

    part: int
    first: int
    last: int
    begin: int
    end: int


@inlined
def add_up(sums: Any, which: int, totals: Any, begin: int, end: int, each: int) -> None:
    """Add up one of the two sums over all parts and all lanes of some channels."""
    for c in range(begin, end):
        totals[c] = 0.0
    for part in range(sums.shape[1]):
        for start in range(0, sums.shape[2], totals.size * each):
            for c in range(begin, end):
                for j in range(start + c * each, start + (c + 1) * each):
                    totals[np.uintp(c)] += sums[which, part, np.uintp(j)]


@inlined
def first_pivots(x: Any, ch: Any, begin: int, end: int, each: int, lanes: Any) -> None:
    """Set the pivot of each channel to the mean of its values in the first four rows."""
    width = lanes.shape[1]
    rows = min(4, x.size // width)
    for c in range(begin, end):
        ch.pivot[c], ch.offset[c] = np.float64(get(x, c * each)), 0.0
    for row in range(rows):
        for start in range(row * width, (row + 1) * width, ch.gamma.size * each):
            if each == 1:  # the same as below, in a form that is compiled to vectors
                for c in range(begin, end):
                    channel = np.uintp(c)
                    ch.offset[channel] += np.float64(get(x, start + c)) - ch.pivot[channel]
            else:
                for c in range(begin, end):
                    for j in range(start + c * each, start + (c + 1) * each):
                        ch.offset[c] += np.float64(get(x, j)) - ch.pivot[c]
    count = rows * (width // ch.gamma.size)
    for c in range(begin, end):
        ch.pivot[c] = number(lanes, ch.pivot[c] + ch.offset[c] / count)


@inlined
def add_rows(x: Any, lanes: Any, tile: Tile, sums: Any, totals: Any) -> None:
    """Store the sums of ``x - pivot`` and of its square for each lane of a tile.

    `sums`, (2, parts, K), is in float64. SOME_ROWS are added up before in `totals`, in the
    computing type: they stay in the first-level cache, and float64 costs next to nothing.
    """
    width, begin = lanes.shape[1], tile.begin
    clear(sums, tile)
    for start in range(tile.first, tile.last, SOME_ROWS):
        stop = min(start + SOME_ROWS, tile.last)
        begin_totals(totals, tile)
        fours = start + (stop - start) // 4 * 4
        for r in range(start, fours, 4):
            at = r * width + begin
            for i in range(tile.end - begin):
                p, lane = pick(lanes, PIVOT, begin + i), np.uintp(i)
                d0, d1 = get(x, at + i) - p, get(x, at + width + i) - p
                d2, d3 = get(x, at + 2 * width + i) - p, get(x, at + 3 * width + i) - p
                totals[0, lane] += (d0 + d1) + (d2 + d3)
                totals[1, lane] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        for r in range(fours, stop):
            at = r * width + begin
            for i in range(tile.end - begin):
                d, lane = get(x, at + i) - pick(lanes, PIVOT, begin + i), np.uintp(i)
                totals[0, lane] += d
                totals[1, lane] += d * d
        add_totals(sums, tile, totals)


@inlined
def add_rows_wide(x: Any, lanes: Any, tile: Tile, sums: Any) -> None:
    """Do the same in float64: slower, and right for every float32."""
    part, first, last, begin, end = tile
    clear(sums, tile)
    for r in range(first, last):
        for j in range(begin, end):
            d = np.float64(get(x, r * lanes.shape[1] + j)) - pick(lanes, PIVOT, j)
            sums[0, part, np.uintp(j)] += d
            sums[1, part, np.uintp(j)] += d * d


@inlined
def first_gradient_pivots(
    x: Any, words: Any, dy: Any, lanes: Any, ch: Any, relu: Any, begin: int, end: int, each: int
) -> None:
    """Set the pivot of dy of each channel, from one of its lanes in four rows spread evenly."""
    width = lanes.shape[1]
    rows = x.size // width
    r1, r2, r3 = rows // 4 * width, rows // 2 * width, rows * 3 // 4 * width
    for c in range(begin, end):
        j = c * each
        g0 = dz_of(x, words, gate(words, j), dy, 0, j, lanes, relu)
        g1 = dz_of(x, words, gate(words, r1 + j), dy, r1, j, lanes, relu)
        g2 = dz_of(x, words, gate(words, r2 + j), dy, r2, j, lanes, relu)
        g3 = dz_of(x, words, gate(words, r3 + j), dy, r3, j, lanes, relu)
        ch.dy_pivot[np.uintp(c)] = gradient_pivot(lanes, g0, g1, g2, g3)
    set_gradient_pivots(lanes, ch, begin, end, each)


@inlined
def add_gradient_rows(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    lanes: Any,
    relu: Any,
    tile: Tile,
    sums: Any,
    totals: Any,
) -> None:
    """Store the sums of d, ``dy - dy_pivot``, and of ``d (x - pivot) inv_std`` for each lane."""
    width, begin, some = lanes.shape[1], tile.begin, tile.end - tile.begin
    clear(sums, tile)
    for start in range(tile.first, tile.last, SOME_ROWS):
        stop = min(start + SOME_ROWS, tile.last)
        begin_totals(totals, tile)
        pairs = start + (stop - start) // 2 * 2
        for r in range(start, pairs, 2):
            at, below = r * width, (r + 1) * width
            place = unpacked(words, at + begin, some, opened[0])
            place_below = unpacked(words, below + begin, some, opened[1])
            for i in range(some):
                j, lane = begin + i, np.uintp(i)
                is_open, is_open_below = (
                    opened[0, np.uintp(place + i)],
                    opened[1, np.uintp(place_below + i)],
                )
                p = pick(lanes, DY_PIVOT, j)
                d0 = dz_of(x, words, is_open, dy, at, j, lanes, relu) - p
                d1 = dz_of(x, words, is_open_below, dy, below, j, lanes, relu) - p
                h0 = shifted(x, at, j, lanes) * pick(lanes, INV_STD, j)
                h1 = shifted(x, below, j, lanes) * pick(lanes, INV_STD, j)
                totals[0, lane] += d0 + d1
                totals[1, lane] += d0 * h0 + d1 * h1
        for r in range(pairs, stop):
            place = unpacked(words, r * width + begin, some, opened[0])
            for i in range(some):
                j, lane = begin + i, np.uintp(i)
                g = dz_of(x, words, opened[0, np.uintp(place + i)], dy, r * width, j, lanes, relu)
                h = shifted(x, r * width, j, lanes) * pick(lanes, INV_STD, j)
                d = g - pick(lanes, DY_PIVOT, j)
                totals[0, lane] += d
                totals[1, lane] += d * h
        add_totals(sums, tile, totals)


@inlined
def clear(sums: Any, tile: Tile) -> None:
    """Begin the sums of a tile."""
    for j in range(tile.begin, tile.end):
        sums[0, tile.part, np.uintp(j)] = sums[1, tile.part, np.uintp(j)] = 0.0


@inlined
def begin_totals(totals: Any, tile: Tile) -> None:
    """Begin the sums of some rows."""
    for i in range(tile.end - tile.begin):
        totals[0, np.uintp(i)] = totals[1, np.uintp(i)] = 0.0


@inlined
def add_totals(sums: Any, tile: Tile, totals: Any) -> None:
    """Add the sums of some rows to those of the tile."""
    for i in range(tile.end - tile.begin):
        sums[0, tile.part, np.uintp(tile.begin + i)] += totals[0, np.uintp(i)]
        sums[1, tile.part, np.uintp(tile.begin + i)] += totals[1, np.uintp(i)]
