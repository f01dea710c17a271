"""How tensors lie in memory, and copies of those that the kernels cannot read as they lie."""

import math

import torch
from torch import Tensor

from bn.kernels.triton_gpu.grid import View


def readable(x: Tensor, axis: int) -> Tensor:
    """Return `x` if it is packed, with its axes in order or the channels last; else a copy."""
    packed = x.is_contiguous() or x.movedim(axis, -1).is_contiguous()
    return x if packed else x.contiguous()


def view_of(x: Tensor, axis: int) -> View:
    """Return what a readable tensor is to the kernels."""
    channels = x.shape[axis]
    if x.is_contiguous():
        return View(math.prod(x.shape[:axis]), channels, math.prod(x.shape[axis + 1 :]))
    return View(x.numel() // max(1, channels), channels, 1)


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Tell whether equal indices lead to equal offsets in two tensors of one shape."""
    axes = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(size == 1 or of_a == of_b for size, of_a, of_b in axes)


def laid_out(values: Tensor, x: Tensor) -> Tensor:
    """Return `values` in the layout of the readable tensor `x`: itself if it lies so."""
    if same_layout(values, x):
        return values
    return torch.empty_like(x, dtype=values.dtype).copy_(values)


def output(target: Tensor, x: Tensor) -> Tensor:
    """Return where to write what belongs into `target`: there, if it lies as `x` does."""
    return target if same_layout(target, x) else torch.empty_like(x, dtype=target.dtype)


def delivered(written: Tensor, target: Tensor) -> Tensor:
    """Return `target`, with what was written in it."""
    return target if written is target else target.copy_(written)
