"""Batch normalization in differentiable operations of torch: the formula, for autograd to follow.

For those who do not go through an operator: torch.func (``grad``, ``jacrev``, ``hessian``,
``vmap`` and the others, within each other) and forward-mode derivatives, of any order. It keeps
more for the backward pass than the operators do, and takes several passes over the data. The
gradients are here, too, for a forward pass that an operator made and a gradient that is mapped or
carries a derivative.

Everything is computed in float64 where the device has it. No value is looked at, since under
``vmap`` there is not one value but many: where 0 is divided by 0, and where the variance does not
fit, NaN comes out.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bn.pytorch.backends import reference
from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.moments import output_format, wide_dtype


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


def backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return dx, dgamma, dbeta and dz, each differentiable for dy, x and gamma."""
    others = [a for a in range(x.dim()) if a != axis]
    dz = dy
    if relu:
        is_closed = reference.closed(x, gamma, beta, kept, statistics, axis)
        dz = torch.where(is_closed, 0.0, dy)
    pivot, _, var, inv_std = (_along(each, x, axis) for each in statistics)
    centred = x.to(pivot.dtype) - pivot
    centred = centred - centred.mean(others, keepdim=True)
    # r is inv_std in value; what is added is 0, and has the derivatives of the variance
    r = (inv_std.pow(-2) + (centred.square().mean(others, keepdim=True) - var)).rsqrt()
    x_hat = centred * r
    upstream = dz.to(x_hat.dtype)
    centred_dz = upstream - upstream.mean(others, keepdim=True)
    mean_dz_x_hat = (centred_dz * x_hat).mean(others, keepdim=True)
    scale = r if gamma is None else r * _along(gamma, x, axis)
    dx = scale * (centred_dz - x_hat * mean_dz_x_hat)
    kind = PARAMETER_DTYPE[x.dtype]
    dgamma, dbeta = (upstream * x_hat).sum(others), upstream.sum(others)
    return dx.to(x.dtype), dgamma.to(kind), dbeta.to(kind), dz


def inference_backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx, dgamma and dbeta with known statistics."""
    others = [a for a in range(x.dim()) if a != axis]
    inv_std = (_along(var, x, axis) + eps).rsqrt()
    x_hat = (x.to(inv_std.dtype) - _along(mean, x, axis)) * inv_std
    upstream = dy.to(x_hat.dtype)
    dx = upstream * (inv_std if gamma is None else inv_std * _along(gamma, x, axis))
    kind = PARAMETER_DTYPE[x.dtype]
    dgamma, dbeta = (upstream * x_hat).sum(others), upstream.sum(others)
    return dx.to(x.dtype), dgamma.to(kind), dbeta.to(kind)


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


def double_backward(
    gradients: Callable[..., tuple[Tensor, ...]],
    above: tuple[Tensor, ...],
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    *others: Any,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what `above`, for the first of the gradients, gives for dy, x and gamma.

    `gradients` is :func:`backward` or :func:`inference_backward`.
    """

    def function(dy: Tensor, x: Tensor, gamma: Tensor | None = None) -> tuple[Tensor, ...]:
        return gradients(dy, x, gamma, *others)[: len(above)]

    inputs = (dy, x) if gamma is None else (dy, x, gamma)
    pull: Any = torch.func.vjp(function, *inputs)[1]
    found = pull(above)
    return found[0], found[1], None if gamma is None else found[2]


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
    return (y.relu() if relu else y).to(x.dtype).contiguous(memory_format=output_format(x))


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Reshape one value per channel, (C,), in the wide type, so that it broadcasts."""
    shape = [-1 if a == axis else 1 for a in range(x.dim())]
    return values.to(wide_dtype(x)).reshape(shape)
