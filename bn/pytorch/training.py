"""Batch normalization with the statistics of the mini-batch: three operators of torch.

``bn_book::batch_norm``, its gradient, and the gradient of its gradient, each in closed form.
An operator of torch is a black box to the compiler and to autograd: torch knows its signature,
how to predict the shapes of its results (``register_fake``) and which operator gives its
gradient (``register_autograd``).

Per channel, with r = 1/sqrt(var + eps), h = x_hat, g = gamma, and a bar for the mean over the
m values of the channel:

    y      = g h + beta
    dx     = g r (dy - mean(dy) - h mean(dy h))
    dgamma = sum(dy h),   dbeta = sum(dy)

**The gradient of the gradient.** Let u, v, w be what comes from above for dx, dgamma and dbeta,
and write a' for a minus its mean. Put A = mean(u' h) and B = mean(dy' h); since h has mean 0,
the primes there change nothing. The scalar to be differentiated is

    L = sum(u dx) + v dgamma + w dbeta
      = g r m K + v sum(dy h) + w sum(dy),   K = mean(u' dy') - A B.

1. For dy: dx is linear in dy, by a symmetric matrix, hence  g r (u' - h A) + v h + w.
2. For gamma: L is linear in g, hence  r m K.
3. For x, which acts through h and r.
   Through h:  q_i = dL/dh_i = v dy_i - g r (B u_i + A dy_i), and dh/dx is again the matrix of
   the first gradient, so it gives  r (q' - h mean(q h)), with mean(q h) = v B - 2 g r A B.
   Through r:  dr/dx_j = -r^2 h_j / m, because dvar/dx_j = 2 (x_j - mean) / m and
   dr/dvar = -r^3 / 2; it gives  -g K r^2 h.
   Together:  r [(v - g r A) dy' - g r B u' - h (v B + g r (K - 2 A B))].

None of this assumes eps = 0.
"""

from typing import Any

import torch
from torch import Tensor

from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.moments import (
    along,
    centre,
    channel_sum,
    compute_dtype,
    deviations,
    moments,
    refuse_third,
    rounded,
    wide_dtype,
)

# --- forward ---------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm", mutates_args=())
def batch_norm_op(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return y like x, and pivot, offset, var, inv_std of shape (C,); see `moments`."""
    # [forward]
    centred, pivot, offset, var, inv_std = moments(x, eps, axis)
    scale = inv_std if gamma is None else gamma * inv_std  # (C,)
    shift = torch.zeros_like(inv_std) if beta is None else beta
    y = centred.mul_(along(scale, x, axis)).add_(along(shift, x, axis))
    # [/forward]
    return rounded(y, x), pivot, offset, var, inv_std


@batch_norm_op.register_fake
def _(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    channels = x.shape[axis]
    pivot = x.new_empty(channels, dtype=compute_dtype(x))
    offset, var, inv_std = (x.new_empty(channels, dtype=wide_dtype(x)) for _ in range(3))
    return torch.empty_like(x), pivot, offset, var, inv_std


# --- gradient --------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_backward", mutates_args=())
def batch_norm_backward_op(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    pivot: Tensor,
    offset: Tensor,
    inv_std: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx like x, and dgamma, dbeta of shape (C,), float32 for half precision."""
    # [backward]
    m = x.numel() // x.shape[axis]  # values per channel
    x_hat = centre(x, pivot, offset, axis).mul_(along(inv_std, x, axis))
    centred_dy, dbeta = deviations(dy, axis)  # dy - mean(dy); sum(dy), (C,)
    dgamma = channel_sum(centred_dy * x_hat, axis)  # (C,): x_hat sums to 0
    scale = inv_std if gamma is None else gamma * inv_std  # (C,)
    dx = x_hat.mul_(along(-dgamma / m, x, axis)).add_(centred_dy).mul_(along(scale, x, axis))
    # [/backward]
    parameters = PARAMETER_DTYPE[x.dtype]
    return rounded(dx, x), dgamma.to(parameters), dbeta.to(parameters)


@batch_norm_backward_op.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    pivot: Tensor,
    offset: Tensor,
    inv_std: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    dgamma, dbeta = (x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype]) for _ in range(2))
    return torch.empty_like(x), dgamma, dbeta


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, gamma, beta, _, axis = inputs
    _, pivot, offset, var, inv_std = output
    ctx.mark_non_differentiable(pivot, offset, var, inv_std)
    ctx.save_for_backward(x, gamma, pivot, offset, inv_std)
    ctx.axis, ctx.beta_dtype = axis, None if beta is None else beta.dtype


def _gradient(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    x, gamma, pivot, offset, inv_std = ctx.saved_tensors
    dx, dgamma, dbeta = batch_norm_backward_op(dy, x, gamma, pivot, offset, inv_std, ctx.axis)
    return (
        dx,
        None if gamma is None else dgamma.to(gamma.dtype),
        None if ctx.beta_dtype is None else dbeta.to(ctx.beta_dtype),
        None,
        None,
    )


batch_norm_op.register_autograd(_gradient, setup_context=_save)


# --- gradient of the gradient ----------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_double_backward", mutates_args=())
def batch_norm_double_backward_op(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    pivot: Tensor,
    offset: Tensor,
    inv_std: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what u, v, w for dx, dgamma, dbeta give for dy, x and gamma; see above."""
    # [double-backward]
    m = x.numel() // x.shape[axis]
    h = centre(x, pivot, offset, axis).mul_(along(inv_std, x, axis))
    u, _ = deviations(u, axis)  # u'
    centred_dy, _ = deviations(dy, axis)  # dy'
    a = channel_sum(u * h, axis) / m  # (C,), like everything that is not written with along
    b = channel_sum(centred_dy * h, axis) / m
    k = channel_sum(u * centred_dy, axis) / m - a * b
    scale = inv_std if gamma is None else gamma * inv_std  # g r
    v, w = v.to(scale.dtype), w.to(scale.dtype)

    def each(values: Tensor) -> Tensor:
        return along(values, x, axis)

    for_dy = each(scale) * u + each(v - scale * a) * h + each(w)
    for_x = each(inv_std * (v - scale * a)) * centred_dy - each(inv_std * scale * b) * u
    for_x -= each(inv_std * (v * b + scale * (k - 2 * a * b))) * h
    for_gamma = inv_std * m * k
    # [/double-backward]
    return rounded(for_dy, dy), rounded(for_x, x), for_gamma.to(PARAMETER_DTYPE[x.dtype])


@batch_norm_double_backward_op.register_fake
def _(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    pivot: Tensor,
    offset: Tensor,
    inv_std: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    for_gamma = x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype])
    return torch.empty_like(dy), torch.empty_like(x), for_gamma


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.axis = inputs[-1]


def _double_gradient(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
    dy, x, gamma, pivot, offset, inv_std = ctx.saved_tensors
    for_dy, for_x, for_gamma = batch_norm_double_backward_op(
        u, v, w, dy, x, gamma, pivot, offset, inv_std, ctx.axis
    )
    return for_dy, for_x, None if gamma is None else for_gamma.to(gamma.dtype), *[None] * 4


batch_norm_backward_op.register_autograd(_double_gradient, setup_context=_save_backward)
batch_norm_double_backward_op.register_autograd(refuse_third)
