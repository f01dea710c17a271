"""One bit for each element: whether a ReLU was open there.

With an addition before the ReLU, what the ReLU saw cannot be found again from x alone. To keep
what was added would cost an array, and reading it again two passes over memory. A bit costs a
thirty-second of that in float32.

Bits are in the order of memory, without gaps: bit i of all is bit ``i % 64`` of word ``i // 64``.
They are made of y, which is 0 where the ReLU was closed, and whose bytes are then all 0. For a
loop that computes, a word is taken apart into 64 bytes, since eight of those are as good as
eight numbers to a vector unit.

Without gates `words` is None, which Numba knows when it compiles, and nothing is left of what is
done here.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from bn.kernels.numba_cpu.compiling import inlined, instruction

#: Elements of a word.
WORD = 64
#: Elements whose gates are unpacked at a time: at least a CHUNK of a plane, or a tile's lanes.
SOME = 1024
#: Bytes of room for them: they may begin and end within a word.
ROOM = SOME + WORD


def gate_words(size: int) -> int:
    """Return how many words the gates of `size` elements take."""
    return -(-size // WORD)


@instruction
def pack(typing: Any, words: Any, word: Any, y: Any, at: Any) -> Any:
    """Make ``words[word]`` of the 64 elements from ``y[at]`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, first = _pointers(context, builder, signature, arguments)
        size = signature.args[2].dtype.bitwidth
        lanes = ir.VectorType(ir.IntType(size), WORD)
        elements = builder.load(builder.bitcast(first, lanes.as_pointer()), align=size // 8)
        is_open = builder.icmp_unsigned("!=", elements, ir.Constant(lanes, None))
        builder.store(builder.bitcast(is_open, ir.IntType(WORD)), target)
        return context.get_dummy_value()

    return types.void(words, types.intp, y, types.intp), generate


@instruction
def _unpack(typing: Any, words: Any, word: Any, opened: Any, at: Any) -> Any:
    """Write the gates of ``words[word]`` to the 64 bytes from ``opened[at]`` on: 0, or not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, first = _pointers(context, builder, signature, arguments)
        lanes = ir.VectorType(ir.IntType(8), WORD)
        is_open = builder.bitcast(builder.load(source), ir.VectorType(ir.IntType(1), WORD))
        target = builder.bitcast(first, lanes.as_pointer())
        builder.store(builder.sext(is_open, lanes), target, align=1)
        return context.get_dummy_value()

    return types.void(words, types.intp, opened, types.intp), generate


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any]:
    """Return the addresses of ``words[word]`` and ``array[at]``."""
    words, word, array, at = arguments
    of_words = context.make_array(signature.args[0])(context, builder, words).data
    of_array = context.make_array(signature.args[2])(context, builder, array).data
    return builder.gep(of_words, [word]), builder.gep(of_array, [at])


@inlined
def pack_some(words: Any, y: Any, begin: int, end: int) -> None:
    """Pack the words whose last element is one of those from `begin` to `end`."""
    if words is not None:
        for word in range(begin // WORD, end // WORD):
            pack(words, word, y, WORD * word)


@inlined
def pack_the_last(words: Any, y: Any, end: int) -> None:
    """Pack a word that the last elements do not fill."""
    if words is not None and end % WORD > 0:
        word = np.uint64(0)
        for i in range(end // WORD * WORD, end):
            if y[np.uintp(i)] != 0:
                word |= np.uint64(1) << np.uint64(i % WORD)
        words[np.uintp(end // WORD)] = word


@inlined
def gate(words: Any, at: int) -> Any:
    """Return the gate of one element, number `at`: 0, or not 0 where there are no gates."""
    if words is None:
        return np.uint64(1)
    return words[np.uintp(at // WORD)] >> np.uint64(at % WORD) & np.uint64(1)


@inlined
def unpacked(words: Any, at: int, size: int, opened: Any) -> int:
    """Unpack the gates of at most SOME elements from number `at` on.

    Return the place in `opened` of the first of them, or 0 where there are no gates.
    """
    if words is None:
        return 0
    first = at // WORD
    for j in range((at + size - 1) // WORD - first + 1):
        _unpack(words, first + j, opened, WORD * j)
    return at % WORD
