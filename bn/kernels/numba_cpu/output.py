"""What is written: y of a row in the forward pass, dx of a row in the backward pass.

A row is `size` elements from ``x[at]`` on, x being flat. Its constants are either seven numbers,
where all of it is of one channel, or an array with seven rows, a number for each lane.

With x_hat = (x - mean) inv_std, and a bar for the mean over the m values of a channel:

    y  = gamma x_hat + beta
    dx = gamma inv_std (dy - bar(dy) - x_hat bar(dy x_hat))

The mean is pivot + offset (see bn.reference.moments). The pivot is a number of the type of x and
near x, so x - pivot has no rounding error, however large the mean. The offset is tiny, and goes
into the constants, which are computed in float64. The mean of dy is kept in the same way.
Its pivot is found before the sums, which are of dy - pivot: a mean of dy adds nothing to
sum(dy x_hat), since x_hat sums to 0, but a large one would add rounding.

x_hat was not kept but is computed again, from x and two vectors. So is what a ReLU saw, where
nothing was added before it: by the same operations in the same order as in the forward pass,
hence the same to the bit. With an addition, the forward pass keeps a bit for each element, see
``gates``.

`z` (what is added before the ReLU), `relu`, `words` (the gates) and `dz` (the gradient for z) are
None where there is none, which Numba knows when it compiles; there is a dz where there are gates.
"""

from typing import Any

import numpy as np

from bn.kernels.numba_cpu.compiling import inlined
from bn.kernels.numba_cpu.elements import get, number, pick, put
from bn.kernels.numba_cpu.gates import SOME, WORD, pack, pack_some, unpacked
from bn.kernels.numba_cpu.memory import BLOCK, stream, to_line

#: The constants, in their order: y = (x - PIVOT) SCALE + SHIFT, x_hat without the offset is
#: (x - PIVOT) INV_STD, and dx = SCALE (dy - DY_PIVOT - REST - (x - PIVOT) SLOPE).
PIVOT, SCALE, SHIFT, INV_STD, DY_PIVOT, REST, SLOPE = range(7)
CONSTANTS = 7


@inlined
def set_constants(lanes: Any, ch: Any, begin: int, end: int, each: int, count: int) -> None:
    """Write the constants of the channels from `begin` to `end` to their lanes.

    A channel has `each` lanes side by side, and again where the channels begin anew.
    """
    per_value = 1.0 / count
    for start in range(0, lanes.shape[1], ch.gamma.size * each):
        for channel in range(begin, end):
            c = np.uintp(channel)
            scale = ch.gamma[c] * ch.inv_std[c]
            slope = ch.inv_std[c] * ch.dgamma[c] * per_value
            for j in range(start + channel * each, start + (channel + 1) * each):
                lane = np.uintp(j)
                lanes[PIVOT, lane] = ch.pivot[c]
                lanes[SCALE, lane] = scale
                lanes[SHIFT, lane] = ch.beta[c] - ch.offset[c] * scale
                lanes[INV_STD, lane] = ch.inv_std[c]
                lanes[DY_PIVOT, lane] = ch.dy_pivot[c]
                lanes[REST, lane] = ch.dy_offset[c] - ch.offset[c] * slope
                lanes[SLOPE, lane] = slope


@inlined
def gradient_pivot(lanes: Any, g0: Any, g1: Any, g2: Any, g3: Any) -> Any:
    """Return a pivot for dy: the mean of four values if they are near each other, otherwise 0.

    If they are within a factor of two, the mean of dy is large against what dy differs from it
    by, and a number within a factor of two of the pivot is less the pivot without a rounding
    error. If not, a pivot would not help, and would have many values rounded to the same side.
    """
    low, high = min(min(g0, g1), min(g2, g3)), max(max(g0, g1), max(g2, g3))
    near = (low > 0 and high <= 2 * low) or (high < 0 and 2 * high <= low)
    mean = (np.float64(g0) + g1 + g2 + g3) / 4
    return number(lanes, mean) if near else number(lanes, 0.0)


@inlined
def set_gradient_pivots(lanes: Any, ch: Any, begin: int, end: int, each: int) -> None:
    """Write the pivots of dy to the lanes, which have 0 so far."""
    for c in range(begin, end):
        if ch.dy_pivot[c] != 0:
            for start in range(0, lanes.shape[1], ch.gamma.size * each):
                for j in range(start + c * each, start + (c + 1) * each):
                    lanes[DY_PIVOT, np.uintp(j)] = ch.dy_pivot[c]


@inlined
def settle_gradients(lanes: Any, ch: Any, begin: int, end: int, count: int) -> None:
    """Make dgamma, dbeta and the mean of dy of the sums that were left in dgamma and dbeta.

    Those are of ``d (x - pivot) inv_std`` and of d, with d for ``dy - dy_pivot``.
    """
    for channel in range(begin, end):
        c = np.uintp(channel)
        total, pivot = ch.dbeta[c], ch.dy_pivot[c]
        ch.dgamma[c] -= ch.offset[c] * ch.inv_std[c] * total  # x_hat has the offset, too
        ch.dbeta[c] = total + count * pivot
        ch.dy_pivot[c] = number(lanes, pivot + total / count)  # as near as the type allows
        ch.dy_offset[c] = pivot - ch.dy_pivot[c] + total / count


@inlined
def shifted(x: Any, at: int, i: int, k: Any) -> Any:
    """Return x - pivot."""
    return get(x, at + i) - pick(k, PIVOT, i)


@inlined
def before_relu(x: Any, z: Any, at: int, i: int, k: Any) -> Any:
    """Return gamma x_hat + beta, plus what is added to it."""
    value = shifted(x, at, i, k) * pick(k, SCALE, i) + pick(k, SHIFT, i)
    return value if z is None else value + get(z, at + i)


@inlined
def y_of(x: Any, z: Any, at: int, i: int, k: Any, relu: Any) -> Any:
    """Return y. NaN is not below 0, and stays."""
    value = before_relu(x, z, at, i, k)
    if relu is None:
        return value
    zero = number(k, 0.0)
    return zero if value <= zero else value


@inlined
def dz_of(x: Any, words: Any, is_open: Any, dy: Any, at: int, i: int, k: Any, relu: Any) -> Any:
    """Return dy, or 0 where the ReLU was closed: the gradient before it, also that for z.

    `is_open` is the gate of this element, where gates were kept: a byte, 0 or not 0.
    """
    if relu is None:
        return get(dy, at + i)
    zero = number(k, 0.0)
    if words is None:
        return zero if before_relu(x, None, at, i, k) <= zero else get(dy, at + i)
    return zero if is_open == 0 else get(dy, at + i)


@inlined
def dx_of(x: Any, g: Any, at: int, i: int, k: Any) -> Any:
    """Return dx, where `g` is the gradient before the ReLU."""
    slope = shifted(x, at, i, k) * pick(k, SLOPE, i)
    return pick(k, SCALE, i) * (((g - pick(k, DY_PIVOT, i)) - pick(k, REST, i)) - slope)


@inlined
def write_y(
    x: Any,
    z: Any,
    y: Any,
    words: Any,
    at: int,
    size: int,
    k: Any,
    relu: Any,
    block: Any,
    past_caches: bool,
) -> None:
    """Write y of a row, past the caches by way of `block`, and the gates.

    A word that spans two rows is packed with the row that has its last element.
    """
    done = 0
    if past_caches:
        # a block begins with a word of gates, if there are any, and with a line in any case
        done = min(to_line(y, at) if words is None else -at % WORD, size)
        plain_y(x, z, y, words, at, 0, done, k, relu)
        for _ in range((size - done) // BLOCK):
            for i in range(BLOCK):
                put(block, i, y_of(x, z, at, done + i, k, relu))
            stream(y, at + done, block)
            if words is not None:
                pack(words, (at + done) // WORD, block, 0)
            done += BLOCK
    plain_y(x, z, y, words, at, done, size, k, relu)


@inlined
def plain_y(
    x: Any, z: Any, y: Any, words: Any, at: int, start: int, stop: int, k: Any, relu: Any
) -> None:
    """Write y of a part of a row in the ordinary way, and the gates before it leaves the cache."""
    step = stop - start if words is None else SOME
    for first in range(start, stop, max(1, step)):
        last = min(first + step, stop)
        for i in range(first, last):
            put(y, at + i, y_of(x, z, at, i, k, relu))
        pack_some(words, y, at + first, at + last)


@inlined
def write_dx(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    dx: Any,
    dz: Any,
    at: int,
    size: int,
    k: Any,
    relu: Any,
    block: Any,
    block_z: Any,
    past_caches: bool,
) -> None:
    """Write dx of a row, and dz."""
    done = 0
    if past_caches:
        done = min(to_line(dx, at), size)
        plain_dx(x, words, opened, dy, dx, dz, at, 0, done, k, relu)
        for _ in range((size - done) // BLOCK):
            place = unpacked(words, at + done, BLOCK, opened)
            for i in range(BLOCK):
                g = dz_of(x, words, opened[np.uintp(place + i)], dy, at, done + i, k, relu)
                put(block, i, dx_of(x, g, at, done + i, k))
                if dz is not None:
                    put(block_z, i, g)
            stream(dx, at + done, block)
            if dz is not None:
                stream(dz, at + done, block_z)
            done += BLOCK
    plain_dx(x, words, opened, dy, dx, dz, at, done, size, k, relu)


@inlined
def plain_dx(
    x: Any,
    words: Any,
    opened: Any,
    dy: Any,
    dx: Any,
    dz: Any,
    at: int,
    start: int,
    stop: int,
    k: Any,
    relu: Any,
) -> None:
    """Write dx of a part of a row, and dz, in the ordinary way."""
    for first in range(start, stop, SOME):
        last = min(first + SOME, stop)
        place = unpacked(words, at + first, last - first, opened) - first
        for i in range(first, last):
            g = dz_of(x, words, opened[np.uintp(place + i)], dy, at, i, k, relu)
            put(dx, at + i, dx_of(x, g, at, i, k))
            if dz is not None:
                put(dz, at + i, g)
