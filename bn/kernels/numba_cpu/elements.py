"""Reading and writing one number of an array, whatever type it is stored in.

NumPy has no bfloat16 and Numba computes with no half type on the CPU, so both travel as their
bits: float16 in int16, bfloat16 in uint16. The kernels read with ``get``, which gives float32 for
them, and write with ``put``. They compute in the type of their constants, float32 or float64: what
is read meets a constant before anything else, and an operation on both types is done in float64.

An index is never negative here, and is said to be unsigned: were it not, Numba would have to look
each time whether to count from the end, and LLVM could not compute eight elements at once.

``plus`` is the one place where the compiler may change the order of additions. It must be free
to, or it could not add eight numbers at a time; and it must not be free to anywhere else, since
``(x - pivot) - offset`` is not ``x - (pivot + offset)`` when the mean is large. For the same
reason nothing else here is compiled with Numba's ``fastmath``: multiply and add stay two steps,
so that the backward pass finds bit for bit the values whose sign the forward pass has seen.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from bn.kernels.numba_cpu.compiling import (
    by_type,
    converts_float16,
    inlined,
    instruction,
    reordered,
)

#: What the bits of each half type are stored in.
FLOAT16, BFLOAT16 = types.int16, types.uint16


@reordered
def plus(total: Any, value: Any) -> Any:
    """Add to a running total, in any order."""
    return total + value


@instruction
def _from_half(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = builder.bitcast(arguments[0], ir.HalfType())
        return builder.fpext(half, ir.FloatType())

    return types.float32(FLOAT16), generate


@instruction
def _to_half(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = builder.fptrunc(arguments[0], ir.HalfType())
        return builder.bitcast(half, ir.IntType(16))

    return FLOAT16(types.float32), generate


@inlined
def _from_half_by_integers(bits: Any) -> Any:
    """Do what ``_from_half`` does on a processor without that instruction.

    The exponents of the types begin at 15 and at 127, so one is the other plus 112; infinity and
    NaN have the largest exponent in both. Below the smallest normal float16, 2**-14, the leading 1
    is not there: it is written and subtracted again, which is exact.
    """
    wide = np.uint32(np.uint16(bits))  # Numba widens each result to 64 bits: narrow it
    sign = np.uint32(np.uint32(wide & np.uint32(0x8000)) << np.uint32(16))
    magnitude = np.uint32(np.uint32(wide & np.uint32(0x7FFF)) << np.uint32(13))
    normal = np.uint32(magnitude + np.uint32(112 << 23))
    special = np.uint32(magnitude + np.uint32(224 << 23))
    with_one = np.uint32(magnitude + np.uint32(113 << 23)).view(np.float32)
    small = np.float32(with_one - np.float32(2.0**-14)).view(np.uint32)
    large = special if magnitude >= np.uint32(31 << 23) else normal
    found = small if magnitude < np.uint32(1 << 23) else large
    return np.uint32(np.uint32(found) | sign).view(np.float32)


@inlined
def _to_half_by_integers(value: Any) -> Any:
    """Do what ``_to_half`` does, to the nearest, ties to even, by the same relation of exponents.

    A normal number is rounded by the carry out of its 13 last bits, also to infinity. Below 2**-14
    the addition of 0.5 rounds: there, the last place of a float32 is 2**-24, float16's smallest.
    """
    bits = np.float32(value).view(np.uint32)
    sign = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000))
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(magnitude >> np.uint32(13)) & np.uint32(1))
    nudged = np.uint32(np.uint32(magnitude - np.uint32(112 << 23)) + np.uint32(odd + 0xFFF))
    normal = np.uint32(nudged >> np.uint32(13))
    added = np.float32(magnitude.view(np.float32) + np.float32(0.5)).view(np.uint32)
    small = np.uint32(added - np.uint32(126 << 23))  # the bits of 0.5
    special = np.uint32(0x7E00 if magnitude > np.uint32(255 << 23) else 0x7C00)
    large = special if magnitude >= np.uint32(143 << 23) else normal
    found = small if magnitude < np.uint32(113 << 23) else large
    return np.int16(np.uint16(np.uint32(found) | sign))


@inlined
def _to_bfloat16(value: Any) -> Any:
    """Round to the nearest, ties to even: bfloat16 is the upper half of a float32."""
    bits = np.float32(value).view(np.uint32)
    upper = np.uint32(bits >> np.uint32(16))  # Numba widens each result to 64 bits: narrow it
    nudged = np.uint32(bits + np.uint32(np.uint32(0x7FFF) + np.uint32(upper & np.uint32(1))))
    rounded = np.uint32(nudged >> np.uint32(16))
    quiet = np.uint32(upper | np.uint32(64))  # NaN: rounding could make its bits infinity's
    return np.uint16(quiet if value != value else rounded)


def get(array: Any, i: int) -> Any:
    """Return element `i` in the computing type."""
    raise NotImplementedError("for compiled code only")


def put(array: Any, i: int, value: Any) -> None:
    """Round `value` to the type of the array and store it as element `i`."""
    raise NotImplementedError("for compiled code only")


def number(constants: Any, value: float) -> Any:
    """Round `value` to the computing type, which is that of the constants; see :func:`pick`."""
    raise NotImplementedError("for compiled code only")


def pick(constants: Any, which: int, i: int) -> Any:
    """Return a constant: one number for all, or that of lane `i`.

    `constants` is a tuple of numbers, or an array with a row for each of them.
    """
    raise NotImplementedError("for compiled code only")


@by_type(get)
def _get(array: Any, i: Any) -> Any:
    from_half = _from_half if converts_float16() else _from_half_by_integers

    def get_half(array: Any, i: Any) -> Any:
        return from_half(array[np.uintp(i)])

    def get_bfloat16(array: Any, i: Any) -> Any:
        return np.uint32(np.uint32(array[np.uintp(i)]) << np.uint32(16)).view(np.float32)

    def get_plain(array: Any, i: Any) -> Any:
        return array[np.uintp(i)]

    return {FLOAT16: get_half, BFLOAT16: get_bfloat16}.get(array.dtype, get_plain)


@by_type(put)
def _put(array: Any, i: Any, value: Any) -> Any:
    to_half = _to_half if converts_float16() else _to_half_by_integers

    def put_half(array: Any, i: Any, value: Any) -> None:
        array[np.uintp(i)] = to_half(np.float32(value))

    def put_bfloat16(array: Any, i: Any, value: Any) -> None:
        array[np.uintp(i)] = _to_bfloat16(np.float32(value))

    def put_plain(array: Any, i: Any, value: Any) -> None:
        array[np.uintp(i)] = value

    return {FLOAT16: put_half, BFLOAT16: put_bfloat16}.get(array.dtype, put_plain)


@by_type(number)
def _number(constants: Any, value: Any) -> Any:
    def to_float64(constants: Any, value: Any) -> Any:
        return np.float64(value)

    def to_float32(constants: Any, value: Any) -> Any:
        return np.float32(value)

    return to_float64 if constants.dtype == types.float64 else to_float32


@by_type(pick)
def _pick(constants: Any, which: Any, i: Any) -> Any:
    def pick_lane(constants: Any, which: Any, i: Any) -> Any:
        return constants[which, np.uintp(i)]

    def pick_number(constants: Any, which: Any, i: Any) -> Any:
        return constants[which]

    return pick_lane if isinstance(constants, types.Array) else pick_number
