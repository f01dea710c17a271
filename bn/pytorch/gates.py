"""Where a ReLU was open, as one bit for each element: what is kept instead of a residual.

The order of the bits is that of :mod:`bn.kernels.numba_cpu.gates`: that of x in memory, or that
of a packed copy of x if it has gaps. Words are int64, the type with 64 bits that every operation
of torch knows.
"""

import torch
from torch import Tensor

WORD = 64


def no_gates(x: Tensor) -> Tensor:
    """Return what stands for gates where none are kept."""
    return x.new_empty(0, dtype=torch.int64)


def new_gates(x: Tensor) -> Tensor:
    """Return room for the gates of x."""
    return x.new_empty((x.numel() + WORD - 1) // WORD, dtype=torch.int64)


def is_gates(kept: Tensor) -> bool:
    """Tell gates from a residual."""
    return kept.dtype == torch.int64


def channels_last_in_memory(x: Tensor, axis: int) -> bool:
    """Tell whether the channels lie last in memory, though `axis` is not the last."""
    return not x.is_contiguous() and x.movedim(axis, -1).is_contiguous()


def packed(is_open: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return the gates of `is_open`, bool, the shape of x."""
    if channels_last_in_memory(x, axis):
        is_open = is_open.movedim(axis, -1)
    bits = is_open.new_zeros((is_open.numel() + WORD - 1) // WORD * WORD, dtype=torch.int64)
    bits[: is_open.numel()] = is_open.reshape(-1)
    # each bit at its place; the sum of what has no bit in common has them all
    return (bits.view(-1, WORD) << torch.arange(WORD, device=x.device)).sum(1)


def unpacked(gates: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return where the ReLU was open, bool, the shape of x."""
    bits = gates[:, None] >> torch.arange(WORD, device=x.device) & 1
    flat = bits.view(-1)[: x.numel()].bool()
    if channels_last_in_memory(x, axis):
        order = x.movedim(axis, -1)
        return flat.view(order.shape).movedim(-1, axis)
    return flat.view(x.shape)
