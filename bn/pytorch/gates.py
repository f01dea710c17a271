"""Where a ReLU was open, as one bit for each element: what is kept instead of a residual.

The bits are those of :mod:`bn.kernels.numba_cpu.gates`: in the order of x in memory, or of a
packed copy of x if it has gaps. Words are int64, the type with 64 bits that every operation of
torch knows. A last word says which order it is, because x may come back from autograd with other
strides: hooks that move saved tensors away make them contiguous.
"""

import torch
from torch import Tensor

WORD = 64


def no_gates(x: Tensor) -> Tensor:
    """Return what stands for gates where none are kept."""
    return x.new_empty(0, dtype=torch.int64)


def new_gates(x: Tensor) -> Tensor:
    """Return room for the gates of x, and the word that says in which order they are."""
    return x.new_empty(gate_words(x.numel()) + 1, dtype=torch.int64)


def gate_words(size: int) -> int:
    """Return how many words the gates of `size` elements take."""
    return (size + WORD - 1) // WORD


def is_gates(kept: Tensor) -> bool:
    """Tell gates from a residual."""
    return kept.dtype == torch.int64


def check_gates(gates: Tensor, x: Tensor) -> None:
    """Raise ValueError if these are not as many as x has elements."""
    expected = gate_words(x.numel()) + 1
    if gates.numel() != expected:
        raise ValueError(
            f"{gates.numel()} words of gates came with x of shape {tuple(x.shape)}, expected "
            f"{expected}; forward and backward pass have to use the same backend"
        )


def channels_last_in_memory(x: Tensor, axis: int) -> bool:
    """Tell whether the channels lie last in memory, though `axis` is not the last."""
    return not x.is_contiguous() and x.movedim(axis, -1).is_contiguous()


def are_channels_last(gates: Tensor) -> bool:
    """Tell whether these gates were made of an x with the channels last in memory."""
    return bool(gates[-1])


def packed(is_open: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return the gates of `is_open`, bool, the shape of x."""
    moved = channels_last_in_memory(x, axis)
    gates = new_gates(x)
    gates[-1] = moved
    flat = (is_open.movedim(axis, -1) if moved else is_open).reshape(-1)
    bits = is_open.new_zeros((len(gates) - 1) * WORD, dtype=torch.int64)
    bits[: len(flat)] = flat
    # each bit at its place; the sum of what has no bit in common has them all
    gates[:-1] = (bits.view(-1, WORD) << torch.arange(WORD, device=x.device)).sum(1)
    return gates


def unpacked(gates: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return where the ReLU was open, bool, the shape of x."""
    check_gates(gates, x)
    bits = gates[:-1, None] >> torch.arange(WORD, device=x.device) & 1
    flat = bits.view(-1)[: x.numel()].bool()
    if are_channels_last(gates):
        return flat.view(x.movedim(axis, -1).shape).movedim(-1, axis)
    return flat.view(x.shape)
