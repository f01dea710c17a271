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

from bn.pytorch.moments import along, centre, channel_sum, moments, wide_dtype

# --- forward ---------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm", mutates_args=())
def batch_norm_op(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y like x, and offset, var, inv_std of shape (C,); see `moments`."""
    # [forward]
    centred, offset, var, inv_std = moments(x, eps, axis)
    scale = inv_std if gamma is None else gamma * inv_std  # (C,)
    shift = torch.zeros_like(inv_std) if beta is None else beta
    y = torch.empty_like(x)  # keeps the memory format
    torch.addcmul(along(shift, x, axis), centred, along(scale, x, axis), out=y)
    # [/forward]
    return y, offset, var, inv_std


@batch_norm_op.register_fake
def _(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    offset, var, inv_std = (x.new_empty(x.shape[axis], dtype=wide_dtype(x)) for _ in range(3))
    return torch.empty_like(x), offset, var, inv_std


# --- gradient --------------------------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_backward", mutates_args=())
def batch_norm_backward_op(
    dy: Tensor, x: Tensor, gamma: Tensor | None, offset: Tensor, inv_std: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx like x, and dgamma, dbeta of shape (C,) in the computing type of x."""
    # [backward]
    m = x.numel() // x.shape[axis]  # values per channel
    x_hat = centre(x, offset, axis).mul_(along(inv_std, x, axis))
    dbeta = channel_sum(wide := dy.to(x_hat.dtype, copy=True), axis)  # (C,)
    centred_dy = wide.sub_(along(dbeta / m, x, axis))
    dgamma = channel_sum(centred_dy * x_hat, axis)  # (C,); x_hat sums to 0
    scale = inv_std if gamma is None else gamma * inv_std
    dx = torch.empty_like(x)
    direction = centred_dy.addcmul_(x_hat, along(-dgamma / m, x, axis))
    torch.mul(direction, along(scale, x, axis), out=dx)
    # [/backward]
    return dx, dgamma.to(x_hat.dtype), dbeta.to(x_hat.dtype)
