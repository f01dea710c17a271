"""Writing past the caches, and memory that is cheap to write to for the first time.

An ordinary store first fetches the line of 64 bytes that it is going to overwrite, so writing
costs the memory twice. A non-temporal store does not fetch, and one core copies two to three
times as fast with it. Numba has no such store; LLVM has, for whole vectors on aligned addresses
only. So a kernel computes BLOCK numbers into a scratch, from where ``stream`` moves them out. A
larger block would be slower, since reading and writing then take turns; a smaller one is not
compiled to vectors.
"""

import ctypes
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import DTypeLike, NDArray

from bn.kernels.numba_cpu.compiling import inlined, instruction

#: Bytes of a cache line, the least that is written past the caches.
LINE = 64
#: Elements that are computed, and then moved out, at a time: whole lines of any type.
BLOCK = 64
BLOCK_BYTES = 8 * BLOCK  # of the widest type

#: Bytes from which on huge pages are asked for, as by NumPy; and of an ordinary page.
LARGE, PAGE = 1 << 22, 1 << 12
MADV_HUGEPAGE = 14  # from Linux' headers


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of undefined content that begins on a cache line.

    NumPy asks Linux for huge pages where it allocates 4 MB or more. A page that is written for
    the first time costs an interrupt, and one of 2 MB costs far less than 512 of 4 kB.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    block = np.empty(size + LINE, np.uint8)
    start = -address_of(block) % LINE
    return block[start : start + size].view(dtype).reshape(shape)


def ask_for_large_pages(address: int, size: int) -> None:
    """Ask Linux for huge pages, as NumPy does, for memory that something else has allocated."""
    if size < LARGE or _madvise is None:
        return
    start = address + -address % PAGE
    _madvise(start, size - (start - address), MADV_HUGEPAGE)  # if refused, pages stay small


def _find_madvise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "madvise"):
        return None
    madvise: Any = library.madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return madvise  # type: ignore[no-any-return]


_madvise = _find_madvise()


def address_of(array: NDArray[Any]) -> int:
    """Return where an array begins."""
    at: int = array.__array_interface__["data"][0]
    return at


@inlined
def to_line(array: Any, at: int) -> Any:
    """Return how many elements there are from ``array[at]`` to the next cache line."""
    return (-(array.ctypes.data + at * array.itemsize) % LINE) // array.itemsize


@instruction
def stream(typing: Any, target: Any, at: Any, block: Any) -> Any:
    """Write BLOCK elements to the aligned ``target[at:]``, past the caches."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        come_from = context.make_array(signature.args[2])(context, builder, arguments[2]).data
        vector = ir.VectorType(ir.IntType(32), 8)  # 32 bytes: as LLVM has written the block
        to = builder.bitcast(builder.gep(to, [arguments[1]]), vector.as_pointer())
        come_from = builder.bitcast(come_from, vector.as_pointer())
        mark = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        for i in range(BLOCK * signature.args[0].dtype.bitwidth // 8 // 32):
            step = [ir.Constant(ir.IntType(64), i)]
            value = builder.load(builder.gep(come_from, step), align=4)
            store = builder.store(value, builder.gep(to, step), align=32)
            store.set_metadata("nontemporal", mark)
        return context.get_dummy_value()

    return types.void(target, types.intp, block), generate


@instruction
def stack(typing: Any, count: Any) -> Any:
    """Return the address of `count` bytes that are there until the function returns.

    The count goes through an assembler instruction that does nothing, so that LLVM cannot know
    it: in a room of known size it looks at every byte, for 16 kB of which it takes 17 s.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, byte = ir.IntType(64), ir.IntType(8)
        unchanged = ir.InlineAsm(ir.FunctionType(number, [number]), "", "=r,0")
        room = builder.alloca(byte, builder.call(unchanged, arguments))
        room.align = LINE
        return room

    return types.voidptr(types.int64), generate


@instruction
def finish_writes(typing: Any) -> Any:
    """Wait until what was written past the caches can be seen by other threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
