"""Batch normalization in differentiable operations of torch: the formula, for autograd to follow.

For those who do not go through an operator: torch.func (``grad``, ``jacrev``, ``hessian``,
``vmap`` and the others, within each other) and forward-mode derivatives, of any order. It keeps
more for the backward pass than the operators do, and takes several passes over the data.

Everything is computed in float64 where the device has it. No value is looked at, since under
``vmap`` there is not one value but many: where 0 is divided by 0, and where the variance does not
fit, NaN comes out.
"""

import torch
from torch import Tensor

from bn.pytorch.moments import wide_dtype


def train(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return y like x; and pivot, offset, var and inv_std, (4, C), to autograd constants."""
    others = [a for a in range(x.dim()) if a != axis]
    wide = x.to(wide_dtype(x))
    # to subtract a constant near the mean changes no derivative, and keeps digits
    pivot = wide.detach().mean(others, keepdim=True)
    offset = (wide - pivot).mean(others, keepdim=True)
    centred = wide - pivot - offset
    var = centred.square().mean(others, keepdim=True)
    inv_std = (torch.where(var.isfinite(), var, torch.nan) + eps).rsqrt()
    y = _finished(centred * inv_std, x, gamma, beta, residual, axis, relu)
    statistics = [each.detach().reshape(-1) for each in (pivot, offset, var, inv_std)]
    return y, torch.stack(statistics)


def inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
) -> Tensor:
    """Return y like x, with known statistics."""
    centred = x.to(wide_dtype(x)) - _along(mean, x, axis)
    inv_std = (_along(var, x, axis) + eps).rsqrt()
    return _finished(centred * inv_std, x, gamma, beta, residual, axis, relu)


def _finished(
    x_hat: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    axis: int,
    relu: bool,
) -> Tensor:
    """Return ``gamma x_hat + beta + residual`` in the type of x, through a ReLU if there is one."""
    y = x_hat if gamma is None else x_hat * _along(gamma, x, axis)
    y = y if beta is None else y + _along(beta, x, axis)
    y = y if residual is None else y + residual
    return (y.relu() if relu else y).to(x.dtype)


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Reshape one value per channel, (C,), in the wide type, so that it broadcasts."""
    shape = [-1 if a == axis else 1 for a in range(x.dim())]
    return values.to(wide_dtype(x)).reshape(shape)
