"""Batch normalization with known statistics: three operators of torch.

The map is affine in x, y = g h + beta with h = (x - mean) r and r = 1/sqrt(var + eps), so

    dx = g r dy,   dgamma = sum(dy h),   dbeta = sum(dy)

and, for u, v, w from above for these three: u g r + v h + w for dy, v r dy for x, and
r sum(u dy) for gamma. The statistics are taken as given: nothing is differentiated by them.
"""

from typing import Any

import torch
from torch import Tensor

from bn.pytorch import formula
from bn.pytorch.backends import choose, reference
from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.eager import is_transformed
from bn.pytorch.moments import (
    along,
    as_output,
    channel_sum,
    new_output,
    refuse_third,
    rounded,
)

# --- forward ---------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_inference", mutates_args=())
def batch_norm_inference_op(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    axis: int,
    backend: str,
) -> Tensor:
    """Return y like x."""
    inv_std = reference.inverse_std(var, x, eps)  # raises where there is none
    y = choose(backend, x).inference(x, mean, var, inv_std, gamma, beta, eps, axis)
    return as_output(y, x)


@batch_norm_inference_op.register_fake
def _(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    axis: int,
    backend: str,
) -> Tensor:
    return new_output(x)


# --- gradient --------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_inference_backward", mutates_args=())
def batch_norm_inference_backward_op(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    eps: float,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx like x, and dgamma, dbeta of shape (C,), float32 for half precision."""
    inv_std = reference.inverse_std(var, x, eps)
    x_hat = reference.less_mean(x, mean, axis).mul_(along(inv_std, x, axis))
    wide_dy = dy.to(x_hat.dtype)
    dgamma, dbeta = channel_sum(x_hat.mul_(wide_dy), axis), channel_sum(wide_dy, axis)
    scale = inv_std if gamma is None else gamma * inv_std
    dx = rounded(wide_dy * along(scale, x, axis), x)
    parameters = PARAMETER_DTYPE[x.dtype]
    return dx, dgamma.to(parameters), dbeta.to(parameters)


@batch_norm_inference_backward_op.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    eps: float,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    dgamma, dbeta = (x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype]) for _ in range(2))
    return torch.empty_like(x), dgamma, dbeta


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, mean, var, gamma, beta, ctx.eps, ctx.axis, _ = inputs
    # copies: between this and the backward pass a training step may move running statistics
    ctx.save_for_backward(x, mean.clone(), var.clone(), gamma)
    ctx.beta_dtype = None if beta is None else beta.dtype


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, mean, var, gamma = ctx.saved_tensors
    how = ctx.eps, ctx.axis
    if is_transformed(dy, x, gamma):
        dx, dgamma, dbeta = formula.inference_backward(dy, x, gamma, mean, var, *how)
    else:
        dx, dgamma, dbeta = batch_norm_inference_backward_op(dy, x, mean, var, gamma, *how)
    for_gamma = None if gamma is None else dgamma.to(gamma.dtype)
    for_beta = None if ctx.beta_dtype is None else dbeta.to(ctx.beta_dtype)
    return dx, None, None, for_gamma, for_beta, None, None, None


batch_norm_inference_op.register_autograd(_gradient, setup_context=_save)


# --- gradient of the gradient ----------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_inference_double_backward", mutates_args=())
def batch_norm_inference_double_backward_op(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    eps: float,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what u, v, w for dx, dgamma, dbeta give for dy, x and gamma; see above."""
    inv_std = reference.inverse_std(var, x, eps)
    x_hat = reference.less_mean(x, mean, axis).mul_(along(inv_std, x, axis))
    scale = inv_std if gamma is None else gamma * inv_std
    u, wide_dy = u.to(x_hat.dtype), dy.to(x_hat.dtype)
    for_gamma = inv_std * channel_sum(u * wide_dy, axis)
    for_x = wide_dy * along(v * inv_std, x, axis)
    for_dy = u * along(scale, x, axis) + x_hat.mul_(along(v, x, axis)) + along(w, x, axis)
    return rounded(for_dy, dy), rounded(for_x, x), for_gamma.to(PARAMETER_DTYPE[x.dtype])


@batch_norm_inference_double_backward_op.register_fake
def _(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    eps: float,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    for_gamma = x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype])
    return torch.empty_like(dy), torch.empty_like(x), for_gamma


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps, ctx.axis = inputs
    ctx.save_for_backward(*tensors)


def _double_gradient(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
    dy, x, mean, var, gamma = ctx.saved_tensors
    if is_transformed(u, v, w, dy, x, gamma):
        how = dy, x, gamma, mean, var, ctx.eps, ctx.axis
        for_dy, for_x, dgamma = formula.double_backward(formula.inference_backward, (u, v, w), *how)
        return for_dy, for_x, None, None, dgamma, None, None
    for_dy, for_x, for_gamma = batch_norm_inference_double_backward_op(
        u, v, w, dy, x, mean, var, gamma, ctx.eps, ctx.axis
    )
    dgamma = None if gamma is None else for_gamma.to(gamma.dtype)
    return for_dy, for_x, None, None, dgamma, None, None


batch_norm_inference_backward_op.register_autograd(_double_gradient, setup_context=_save_backward)
batch_norm_inference_double_backward_op.register_autograd(refuse_third)
