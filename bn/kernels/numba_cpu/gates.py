"""One bit for each element: whether a ReLU was open there.

With an addition before the ReLU, what the ReLU saw cannot be found again from x alone. To keep
what was added would cost an array, and reading it again two passes over memory. A bit costs a
thirty-second of that in float32.

Bits are in the order of memory, without gaps: bit i of all is bit ``i % 64`` of word ``i // 64``.
Arrays of them are told from none by their type, which Numba knows when it compiles: without
gates, `words` and `bits` are None, and nothing is left of what is done here.

Inner loops read and write a byte for each element (`bits`, on the stack), since eight of those
are as good as eight numbers to a vector unit. A word is made of 64 of them at a time.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from bn.kernels.numba_cpu.compiling import inlined, instruction

#: Elements of a word.
WORD = 64
#: Elements whose gates are unpacked at a time.
SOME = 1024
#: Bytes of room for them: they may begin and end within a word.
ROOM = SOME + WORD


def gate_words(size: int) -> int:
    """Return how many words the gates of `size` elements take."""
    return -(-size // WORD)


@instruction
def _pack(typing: Any, words: Any, word: Any, bits: Any, at: Any) -> Any:
    """Make ``words[word]`` of the 64 bytes from ``bits[at]`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, bytes_ = _pointers(context, builder, signature, arguments)
        lanes = ir.VectorType(ir.IntType(8), WORD)
        loaded = builder.load(builder.bitcast(bytes_, lanes.as_pointer()), align=1)
        is_open = builder.icmp_unsigned("!=", loaded, ir.Constant(lanes, None))
        builder.store(builder.bitcast(is_open, ir.IntType(WORD)), target)
        return context.get_dummy_value()

    return types.void(words, types.intp, bits, types.intp), generate


@instruction
def _unpack(typing: Any, words: Any, word: Any, bits: Any, at: Any) -> Any:
    """Write the gates of ``words[word]`` to the 64 bytes from ``bits[at]`` on: 0, or not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, bytes_ = _pointers(context, builder, signature, arguments)
        lanes = ir.VectorType(ir.IntType(8), WORD)
        is_open = builder.bitcast(builder.load(source), ir.VectorType(ir.IntType(1), WORD))
        target = builder.bitcast(bytes_, lanes.as_pointer())
        builder.store(builder.sext(is_open, lanes), target, align=1)
        return context.get_dummy_value()

    return types.void(words, types.intp, bits, types.intp), generate


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any]:
    """Return the addresses of ``words[word]`` and ``bits[at]``."""
    words, word, bits, at = arguments
    of_words = context.make_array(signature.args[0])(context, builder, words).data
    of_bits = context.make_array(signature.args[2])(context, builder, bits).data
    return builder.gep(of_words, [word]), builder.gep(of_bits, [at])


@inlined
def unpacked(words: Any, at: int, size: int, bits: Any) -> int:
    """Unpack the gates of at most SOME elements from number `at` on.

    Return the place in `bits` of the first of them, or 0 where there are no gates.
    """
    if words is None:
        return 0
    first = at // WORD
    for j in range((at + size - 1) // WORD - first + 1):
        _unpack(words, first + j, bits, WORD * j)
    return at % WORD


@inlined
def packed(words: Any, bits: Any, begin: int, end: int) -> int:
    """Pack the gates from element `begin`, where a word begins, to `end`; leave what is over.

    A word that is not yet full stays in `bits`, at its front. Return the number of its first
    element, the `begin` of next time; what `begin` was where there are no gates.
    """
    if words is None:
        return begin
    full = (end - begin) // WORD
    for j in range(full):
        _pack(words, begin // WORD + j, bits, WORD * j)
    if full > 0:
        for i in range(WORD):
            bits[np.uintp(i)] = bits[np.uintp(WORD * full + i)]
    return begin + WORD * full


@inlined
def pack_the_rest(words: Any, bits: Any, begin: int, end: int) -> None:
    """Pack a last word that is not full."""
    if words is not None and begin < end:
        for i in range(end - begin, WORD):
            bits[np.uintp(i)] = 0
        _pack(words, begin // WORD, bits, 0)
