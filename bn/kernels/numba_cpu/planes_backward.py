"""The backward pass for channels that lie in planes; see ``planes``."""

from typing import Any

import numpy as np

from bn.kernels.numba_cpu.compiling import inlined
from bn.kernels.numba_cpu.elements import number, pick, plus
from bn.kernels.numba_cpu.gates import unpacked
from bn.kernels.numba_cpu.output import INV_STD, add_offset, dz_of, set_constants, shifted, write_dx
from bn.kernels.numba_cpu.planes import CHUNK, Shape, constants


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
    """Return the sums of dy and of ``dy (x - pivot) inv_std`` over `many` examples from `n` on."""
    step = shape.channels * shape.length
    at, s, q = n * step + c * shape.length, 0.0, 0.0
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
                g0 = dz_of(x, words, is_open, dy, at, i, k, relu)
                g1 = dz_of(x, words, is_open_below, dy, at + step, i, k, relu)
                h0 = shifted(x, at, i, k) * pick(k, INV_STD, i)
                h1 = shifted(x, at + step, i, k) * pick(k, INV_STD, i)
                s_chunk = plus(s_chunk, g0 + g1)
                q_chunk = plus(q_chunk, g0 * h0 + g1 * h1)
        else:
            for i in range(start, stop):
                g = dz_of(x, words, opened[0, np.uintp(place + i)], dy, at, i, k, relu)
                s_chunk = plus(s_chunk, g)
                q_chunk = plus(q_chunk, g * (shifted(x, at, i, k) * pick(k, INV_STD, i)))
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
        ch.dgamma[c] = ch.dbeta[c] = 0.0
    set_constants(lanes, ch, begin, end, 1, 1)
    n = 0
    while n < shape.examples:
        many = 2 if n + 2 <= shape.examples else 1
        for c in range(begin, end):
            s, q = sums(x, words, opened, dy, shape, n, many, c, constants(lanes, c), relu)
            ch.dbeta[c] += s
            ch.dgamma[c] += q
        n += many
    add_offset(ch, begin, end)
    set_constants(lanes, ch, begin, end, 1, shape.examples * shape.length)


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
