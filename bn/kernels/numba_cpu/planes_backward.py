"""The backward pass for channels that lie in planes; see ``planes``."""

from typing import Any

import numpy as np

from bn.kernels.numba_cpu.compiling import inlined
from bn.kernels.numba_cpu.elements import number, pick, plus
from bn.kernels.numba_cpu.gates import gate, unpacked
from bn.kernels.numba_cpu.output import (
    DY_PIVOT,
    INV_STD,
    dz_of,
    gradient_pivot,
    set_constants,
    set_gradient_pivots,
    settle_gradients,
    shifted,
    write_dx,
)
from bn.kernels.numba_cpu.planes import CHUNK, Shape, constants


@inlined
def look(x: Any, words: Any, dy: Any, shape: Shape, c: int, k: Any, relu: Any, quarter: int) -> Any:
    """Return the first value of dy in one of four quarters of a channel."""
    place = shape.examples * shape.length * quarter // 4
    n, i = place // shape.length, place % shape.length
    at = (n * shape.channels + c) * shape.length
    return dz_of(x, words, gate(words, at + i), dy, at, i, k, relu)


@inlined
def first_pivots(
    x: Any, words: Any, dy: Any, shape: Shape, ch: Any, lanes: Any, relu: Any, begin: int, end: int
) -> None:
    """Set the pivot of dy of each channel, from four values that are spread evenly over it."""
    for c in range(begin, end):
        k = constants(lanes, c)
        g0 = look(x, words, dy, shape, c, k, relu, 0)
        g1 = look(x, words, dy, shape, c, k, relu, 1)
        g2 = look(x, words, dy, shape, c, k, relu, 2)
        g3 = look(x, words, dy, shape, c, k, relu, 3)
        ch.dy_pivot[c] = gradient_pivot(lanes, g0, g1, g2, g3)
    set_gradient_pivots(lanes, ch, begin, end, 1)


@inlined
def sums(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    shape: Shape,
    n: int,
    many: int,
    c: int,
    k: Any,
    relu: Any,
) -> tuple[float, float]:
    """Return the sums of d and of ``d (x - pivot) inv_std`` over `many` examples from `n` on.

    d stands for ``dy - dy_pivot``.
    """
    step = shape.channels * shape.length
    at, p, s, q = n * step + c * shape.length, pick(k, DY_PIVOT, 0), 0.0, 0.0
    for start in range(0, shape.length, CHUNK):
        stop = min(start + CHUNK, shape.length)
        s_chunk = q_chunk = number(k, 0.0)
        place = unpacked(words, at + start, stop - start, opened[0]) - start
        if many == 2:  # four streams, as in planes.sums: two of x, two of dy
            place_below = unpacked(words, at + step + start, stop - start, opened[1]) - start
            for i in range(start, stop):
                is_open, is_open_below = (
                    opened[0, np.uintp(place + i)],
                    opened[1, np.uintp(place_below + i)],
                )
                d0 = dz_of(x, words, is_open, dy, at, i, k, relu) - p
                d1 = dz_of(x, words, is_open_below, dy, at + step, i, k, relu) - p
                h0 = shifted(x, at, i, k) * pick(k, INV_STD, i)
                h1 = shifted(x, at + step, i, k) * pick(k, INV_STD, i)
                s_chunk = plus(s_chunk, d0 + d1)
                q_chunk = plus(q_chunk, d0 * h0 + d1 * h1)
        else:
            for i in range(start, stop):
                g = dz_of(x, words, opened[0, np.uintp(place + i)], dy, at, i, k, relu)
                d = g - p
                s_chunk = plus(s_chunk, d)
                q_chunk = plus(q_chunk, d * (shifted(x, at, i, k) * pick(k, INV_STD, i)))
        s += s_chunk
        q += q_chunk
    return s, q


@inlined
def parameter_gradients(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    shape: Shape,
    ch: Any,
    lanes: Any,
    relu: Any,
    begin: int,
    end: int,
) -> None:
    """Fill in dgamma and dbeta of the channels from `begin` to `end`."""
    for c in range(begin, end):
        ch.dgamma[c] = ch.dbeta[c] = ch.dy_pivot[c] = 0.0
    set_constants(lanes, ch, begin, end, 1, 1)
    first_pivots(x, words, dy, shape, ch, lanes, relu, begin, end)
    set_constants(lanes, ch, begin, end, 1, 1)
    n, count = 0, shape.examples * shape.length
    while n < shape.examples:
        many = 2 if n + 2 <= shape.examples else 1
        for c in range(begin, end):
            s, q = sums(x, words, opened, dy, shape, n, many, c, constants(lanes, c), relu)
            ch.dbeta[c] += s
            ch.dgamma[c] += q
        n += many
    settle_gradients(lanes, ch, begin, end, count)
    set_constants(lanes, ch, begin, end, 1, count)


@inlined
def gradient(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    dx: Any,
    dz: Any,
    shape: Shape,
    lanes: Any,
    relu: Any,
    first: int,
    last: int,
    block: Any,
    block_z: Any,
    past_caches: bool,
) -> None:
    """Write dx and dz of planes `first` to `last`, counted through the whole array."""
    size = shape.length
    for plane in range(first, last):
        k, at = constants(lanes, plane % shape.channels), plane * size
        write_dx(x, words, opened, dy, dx, dz, at, size, k, relu, block, block_z, past_caches)
