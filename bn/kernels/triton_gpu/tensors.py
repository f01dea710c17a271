"""Batch normalization of tensors by the Triton kernels, without looking at the arguments.

These functions are for callers that have checked what they pass on. Tensors are of float16,
bfloat16, float32 or float64, on a CUDA device; or on the CPU where Triton interprets. Packed
tensors and channels_last ones are read as they lie; others are copied first. What comes out is
laid out as ``torch.empty_like(x)``. Outputs may be the tensors they are computed from.

Half precision is computed in float32, the others in their own type. Nothing is read back from the
device, so the host never waits; and no value is looked at, so where the variance is 0 and `eps` is
0, NaN comes out.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from bn.kernels.triton_gpu import backward_kernels, forward_kernels, grid
from bn.kernels.triton_gpu.layout import delivered, laid_out, output, readable, view_of

#: How many parts of a channel are merged at once.
BLOCK_PARTS = 1024


class Statistics(NamedTuple):
    """Statistics of each channel; tensors of shape (C,).

    The mean is ``pivot + offset``. The pivot has the type that x is computed in; the others are
    float64.
    """

    pivot: Tensor
    offset: Tensor
    var: Tensor
    inv_std: Tensor


class Gradients(NamedTuple):
    """Gradients for x, gamma, beta and the residual; dgamma and dbeta in the computing type."""

    dx: Tensor
    dgamma: Tensor
    dbeta: Tensor
    dresidual: Tensor | None


def forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    *,
    eps: float,
    axis: int = 1,
    relu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
) -> tuple[Tensor, Statistics]:
    """Return ``relu(gamma x_hat + beta + residual)`` and the statistics of the mini-batch."""
    target = torch.empty_like(x) if out is None else out
    x = readable(x, axis % x.dim())
    view, y = view_of(x, axis % x.dim()), output(target, x)
    options = _Options(x, relu)
    add = None if residual is None else laid_out(residual, x)
    pivot = x.new_empty(view.channels, dtype=options.dtype)
    offset, var, inv_std = (x.new_empty(view.channels, dtype=torch.float64) for _ in range(3))
    statistics = Statistics(pivot, offset, var, inv_std)
    vectors = _packed(gamma), _packed(beta)

    # [launch]
    tiles = grid.whole_channels(view, x.itemsize, options.registers)
    with _device_of(x):
        if tiles is not None:
            forward_kernels.forward_on_chip[(tiles.programs,)](
                x, *vectors, add, y, *statistics,
                root_eps=eps**0.5, **options.given, **tiles.arguments(),
            )  # fmt: skip
        else:
            tiles = grid.parts_of_channels(view, x.itemsize, options.registers)
            partial = x.new_empty((view.channels, 3, tiles.parts), dtype=torch.float64)
            forward_kernels.partial_moments[(tiles.programs,)](
                x, partial, tiles.parts, compute=options.compute, **tiles.arguments()
            )
            forward_kernels.combine_moments[(view.channels,)](
                partial, tiles.parts, *statistics, eps=eps, block_parts=_at_once(tiles.parts)
            )
            forward_kernels.normalize[(tiles.programs,)](
                x, *vectors, add, y, pivot, offset, inv_std, **options.given, **tiles.arguments()
            )
    # [/launch]
    return delivered(y, target), statistics


def inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    *,
    eps: float,
    axis: int = 1,
    relu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the same with known statistics."""
    target = torch.empty_like(x) if out is None else out
    if x.numel() == 0:
        return target
    x = readable(x, axis % x.dim())
    view, y = view_of(x, axis % x.dim()), output(target, x)
    options = _Options(x, relu)
    add = None if residual is None else laid_out(residual, x)
    vectors = _packed(mean), _packed(var), _packed(gamma), _packed(beta)
    tiles = grid.parts_of_channels(view, x.itemsize, options.registers)
    with _device_of(x):
        forward_kernels.normalize_known[(tiles.programs,)](
            x, *vectors, add, y, eps=eps, **options.given, **tiles.arguments()
        )
    return delivered(y, target)


def backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    statistics: Statistics,
    *,
    axis: int = 1,
    relu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    residual_out: Tensor | None = None,
) -> Gradients:
    """Return the gradients, given what :func:`forward` was given and its statistics.

    `beta` and `residual` are needed only with a ReLU, to find out where it was closed. Without
    one the gradient for the residual is dy itself.
    """
    target = torch.empty_like(x) if out is None else out
    x = readable(x, axis % x.dim())
    view, dx = view_of(x, axis % x.dim()), output(target, x)
    options = _Options(x, relu, kept=2)
    add = laid_out(residual, x) if relu and residual is not None else None
    add_target = residual_out
    if add is not None and residual is not None and add_target is None:
        add_target = torch.empty_like(residual)
    dadd = None if add is None or add_target is None else output(add_target, x)
    dgamma, dbeta = (x.new_empty(view.channels, dtype=options.dtype) for _ in range(2))
    pivot, offset, _, inv_std = statistics
    known = laid_out(dy, x), x, _packed(gamma), _packed(beta), add, pivot, offset, inv_std

    tiles = grid.whole_channels(view, x.itemsize, options.registers)
    with _device_of(x):
        if tiles is not None:
            backward_kernels.backward_on_chip[(tiles.programs,)](
                *known, dx, dadd, dgamma, dbeta, **options.given, **tiles.arguments()
            )
        else:
            tiles = grid.parts_of_channels(view, x.itemsize, options.registers)
            partial = x.new_empty((view.channels, 4, tiles.parts), dtype=torch.float64)
            mean, slope = (x.new_empty(view.channels, dtype=torch.float64) for _ in range(2))
            backward_kernels.partial_gradients[(tiles.programs,)](
                *known, partial, tiles.parts, **options.given, **tiles.arguments()
            )
            backward_kernels.combine_gradients[(view.channels,)](
                partial, tiles.parts, mean, slope, dgamma, dbeta,
                block_parts=_at_once(tiles.parts),
            )  # fmt: skip
            backward_kernels.gradient[(tiles.programs,)](
                *known, mean, slope, dx, dadd, **options.given, **tiles.arguments()
            )
    if dadd is not None and add_target is not None:
        dresidual = delivered(dadd, add_target)
    elif residual is not None:  # no ReLU: the gradient of a sum
        dresidual = dy if residual_out is None else residual_out.copy_(dy)
    else:
        dresidual = None
    return Gradients(delivered(dx, target), dgamma, dbeta, dresidual)


class _Options:
    """In which type x is computed, and what follows from it.

    `kept` is how many tiles a program keeps in registers.
    """

    def __init__(self, x: Tensor, relu: bool, kept: int = 1) -> None:
        double = x.dtype == torch.float64
        self.dtype = torch.float64 if double else torch.float32
        self.compute = tl.float64 if double else tl.float32
        self.registers = 2 * kept if double else kept
        self.given: dict[str, Any] = {"relu": relu, "compute": self.compute}


def _packed(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.contiguous()


def _at_once(parts: int) -> int:
    """Return how many parts of a channel a program merges at once."""
    return min(BLOCK_PARTS, grid.power_above(parts))


def _device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device; make it that of `x`."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
