"""Kernels for channels that lie in planes: (N, C, L), the L values of a channel side by side.

There are two passes, between which all threads wait. The first takes sums, and a thread does
all of a channel: so a sum does not depend on the number of threads. The second goes through
memory from one end to the other, which is the fastest way to write it.

To do the second pass channel by channel, while the channel is in the cache, looks better and is
not: its planes lie C L apart, often a power of two, and then fall on the same few places of the
cache.

Arrays come flat, with their sizes in `shape`.
"""

from typing import Any, NamedTuple

import numpy as np

from bn.kernels.numba_cpu.compiling import inlined
from bn.kernels.numba_cpu.elements import get, number, plus
from bn.kernels.numba_cpu.gates import pack_the_last
from bn.kernels.numba_cpu.output import set_constants, write_y

#: Elements added up in the computing type before float64 takes over: few enough for rounding
#: errors not to pile up where a processor adds one number at a time (with 1024, y was off by 1e-6
#: there), many enough for float64 to cost nothing.
CHUNK = 256
#: Below this mean square, squares in float32 have lost digits. With a larger eps nobody sees it.
TINY = 1e-30


class Shape(NamedTuple):
    """N, C and L."""

    examples: int
    channels: int
    length: int


@inlined
def constants(lanes: Any, c: int) -> Any:
    """Return the constants of channel `c` as numbers."""
    k = lanes[:, c]
    return (k[0], k[1], k[2], k[3], k[4], k[5], k[6])


@inlined
def sums(
    x: Any, shape: Shape, lanes: Any, n: int, many: int, c: int, pivot: float
) -> tuple[float, float]:
    """Return the sums of ``x - pivot`` and of its square over `many` examples from `n` on.

    Four examples are read side by side. A plane is often a page long, and at each new page the
    processor has to find out anew that memory is read in order: four pages at once are read
    twice as fast.
    """
    step = shape.channels * shape.length
    at = n * step + c * shape.length
    p, s, q = number(lanes, pivot), 0.0, 0.0
    for start in range(0, shape.length, CHUNK):
        stop = min(start + CHUNK, shape.length)
        s_chunk = q_chunk = number(lanes, 0.0)
        if many == 4:
            for i in range(at + start, at + stop):
                d0, d1 = get(x, i) - p, get(x, i + step) - p
                d2, d3 = get(x, i + 2 * step) - p, get(x, i + 3 * step) - p
                s_chunk = plus(s_chunk, (d0 + d1) + (d2 + d3))
                q_chunk = plus(q_chunk, (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3))
        else:
            for i in range(at + start, at + stop):
                d = get(x, i) - p
                s_chunk = plus(s_chunk, d)
                q_chunk = plus(q_chunk, d * d)
        s += s_chunk
        q += q_chunk
    return s, q


@inlined
def wide_sums(x: Any, shape: Shape, n: int, c: int, pivot: float) -> tuple[float, float]:
    """Return the same of one example, all in float64: slower, and right for every float32."""
    at, s, q = (n * shape.channels + c) * shape.length, 0.0, 0.0
    for i in range(at, at + shape.length):
        d = np.float64(get(x, i)) - pivot
        s = plus(s, d)
        q = plus(q, d * d)
    return s, q


@inlined
def settle(lanes: Any, ch: Any, c: int, eps: float, m: int, attempt: int) -> bool:
    """Turn the sums of channel `c`, left in offset and var, into statistics, if they will do.

    They will not where the pivot was further from the mean than two standard deviations (the
    first values were not like the others), nor where squares do not fit in float32. Then, which
    is rare, only the pivot is moved, and the sums are to be taken again, in float64.
    """
    shift, mean_square = ch.offset[c] / m, ch.var[c] / m
    var = mean_square - shift * shift
    fits = attempt > 0 or TINY < mean_square + eps < np.inf
    if attempt < 2 and not (fits and shift * shift <= 4 * var):
        if np.isfinite(shift):
            ch.pivot[c] = number(lanes, ch.pivot[c] + shift)
        return False
    # the mean once more as pivot plus offset, now with the pivot as near as the type allows
    pivot = np.float64(number(lanes, ch.pivot[c] + shift))
    ch.offset[c] = ch.pivot[c] - pivot + shift
    ch.pivot[c] = pivot
    ch.var[c] = 0.0 if var < 0 else var  # NaN stays
    ch.inv_std[c] = 1 / np.sqrt(ch.var[c] + eps)
    return True


@inlined
def statistics(x: Any, shape: Shape, ch: Any, lanes: Any, eps: float, begin: int, end: int) -> None:
    """Fill in pivot, offset, var and inv_std of the channels from `begin` to `end`."""
    for c in range(begin, end):
        first = np.float64(get(x, c * shape.length))
        s, _ = wide_sums(x, shape, 0, c, first)
        ch.pivot[c] = number(lanes, first + s / shape.length)
        ch.offset[c] = ch.var[c] = 0.0
    n = 0
    while n < shape.examples:
        many = 4 if n + 4 <= shape.examples else 1
        for c in range(begin, end):
            s, q = sums(x, shape, lanes, n, many, c, ch.pivot[c])
            ch.offset[c] += s
            ch.var[c] += q
        n += many
    for c in range(begin, end):
        attempt = 0
        while not settle(lanes, ch, c, eps, shape.examples * shape.length, attempt):
            attempt += 1
            ch.offset[c] = ch.var[c] = 0.0
            for n in range(shape.examples):
                s, q = wide_sums(x, shape, n, c, ch.pivot[c])
                ch.offset[c] += s
                ch.var[c] += q
    set_constants(lanes, ch, begin, end, 1, 1)


@inlined
def normalize(
    x: Any,
    z: Any,
    y: Any,
    words: Any,
    shape: Shape,
    lanes: Any,
    relu: Any,
    first: int,
    last: int,
    block: Any,
    past_caches: bool,
) -> None:
    """Write y and the gates of planes `first` to `last`, counted through the whole array."""
    size = shape.length
    for plane in range(first, last):
        k, at = constants(lanes, plane % shape.channels), plane * size
        write_y(x, z, y, words, at, size, k, relu, block, past_caches)
    pack_the_last(words, y, last * size)
