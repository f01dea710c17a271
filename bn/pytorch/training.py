"""Batch normalization with the statistics of the mini-batch: three operators of torch.

``bn_book::batch_norm``, its gradient, and the gradient of its gradient, each in closed form.
An operator of torch is a black box to the compiler and to autograd: torch knows its signature,
how to predict the shapes of its results (``register_fake``) and which operator gives its
gradient (``register_autograd``). To call one takes a tenth of a millisecond, which is more than
batch norm of a small tensor takes; so where nobody would see the difference (``eager``), what an
operator does is called without it.

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

**With a ReLU and a residual.** y = relu(z), z = g h + beta + residual. The gate, 1 where z > 0,
is found again from x, and from the residual if there is one; or a backend keeps it in place of
the residual, as bits (see :mod:`bn.pytorch.gates`), and then it is 1 where y, rounded, is not 0.
dz = gate dy takes the place of dy above, and is itself the gradient for the residual. It is
linear in dy, so with s from above for it, dy gets gate (what is above for dy + s).

Which code computes the first two of the three is the caller's choice, see
:mod:`bn.pytorch.backends`.
"""

from typing import Any

import torch
from torch import Tensor

from bn.pytorch import formula
from bn.pytorch.backends import choose, keeps_gates, reference
from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.eager import is_transformed, nobody_watches
from bn.pytorch.gates import new_gates, no_gates
from bn.pytorch.moments import (
    along,
    as_output,
    centre,
    channel_sum,
    deviations,
    new_output,
    refuse_third,
    rounded,
    wide_dtype,
)

# --- forward ---------------------------------------------------------------------------------


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y; (4, C): pivot, offset, var and inv_std, see `moments`; and the gates.

    Those are empty unless there are a ReLU and a residual, and the backend keeps them.
    """
    module = choose(backend, x)
    y, statistics, gates = module.forward(x, gamma, beta, residual, eps, axis, relu)
    return as_output(y, x), statistics, no_gates(x) if gates is None else gates


batch_norm_op = torch.library.custom_op("bn_book::batch_norm", batch_norm, mutates_args=())


@batch_norm_op.register_fake
def _(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    wanted = relu and residual is not None and keeps_gates(backend, x)
    gates = new_gates(x) if wanted else no_gates(x)
    return new_output(x), x.new_empty((4, x.shape[axis]), dtype=wide_dtype(x)), gates


# --- gradient --------------------------------------------------------------------------------


def batch_norm_backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return dx like x; dgamma, dbeta of shape (C,), float32 for half precision; and dresidual.

    That last is empty unless there are a ReLU and a residual; `beta` and `kept`, which is the
    residual or the gates, are read only if there is a ReLU.
    """
    dx, dgamma, dbeta, dresidual = choose(backend, x).backward(
        dy, x, gamma, beta, kept, statistics, axis, relu
    )
    wanted = relu and kept is not None
    return dx, dgamma, dbeta, dresidual if wanted else x.new_empty(0)


batch_norm_backward_op = torch.library.custom_op(
    "bn_book::batch_norm_backward", batch_norm_backward, mutates_args=()
)


@batch_norm_backward_op.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dgamma, dbeta = (x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype]) for _ in range(2))
    wanted = relu and kept is not None
    return torch.empty_like(x), dgamma, dbeta, torch.empty_like(x) if wanted else x.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, gamma, beta, residual, _, *ctx.how = inputs
    _, statistics, gates = output
    ctx.mark_non_differentiable(statistics, gates)
    _, relu, _ = ctx.how
    kept = residual if gates.numel() == 0 else gates
    ctx.save_for_backward(x, gamma, *((beta, kept) if relu else (None, None)), statistics)
    ctx.gamma_dtype, ctx.beta_dtype = (None if t is None else t.dtype for t in (gamma, beta))
    ctx.has_residual = residual is not None


def _gradient(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:  # what came after y gave it no gradient
        return (None,) * 8
    tensors = dy, *ctx.saved_tensors
    _, relu, _ = ctx.how
    # with gradients enabled, somebody wants the gradient of this gradient
    skip = not torch.is_grad_enabled() and nobody_watches(*tensors)
    operator: Any = batch_norm_backward if skip else batch_norm_backward_op
    how = ctx.how
    if is_transformed(*tensors):
        operator, how = formula.backward, how[:2]  # there are no backends
    dx, dgamma, dbeta, dresidual = operator(*tensors, *how)
    return (
        dx,
        None if ctx.gamma_dtype is None else dgamma.to(ctx.gamma_dtype),
        None if ctx.beta_dtype is None else dbeta.to(ctx.beta_dtype),
        None if not ctx.has_residual else dresidual if relu else dy,
        *[None] * 4,
    )


batch_norm_op.register_autograd(_gradient, setup_context=_save)


class _Unwatched(torch.autograd.Function):
    """The operator and its gradient for autograd, without torch's dispatcher in between."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        # with a setup_context of its own, torch would inspect the signature in each call
        output = batch_norm(*inputs)
        ctx.set_materialize_grads(False)  # no zeros for statistics and gates, which get none
        _save(ctx, inputs, output)
        return output

    backward = staticmethod(_gradient)


def train(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    """Call the operator; where nobody watches, what it does. Return y and the statistics."""
    if is_transformed(x, gamma, beta, residual):
        return formula.train(x, gamma, beta, residual, *options[:-1])  # there are no backends
    watched = not nobody_watches(x, gamma, beta, residual)
    call: Any = batch_norm_op if watched else _Unwatched.apply
    y, statistics, _ = call(x, gamma, beta, residual, *options)
    return y, statistics


# --- gradient of the gradient ----------------------------------------------------------------


@torch.library.custom_op("bn_book::batch_norm_double_backward", mutates_args=())
def batch_norm_double_backward_op(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    s: Tensor,
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what u, v, w, s for dx, dgamma, dbeta, dresidual give for dy, x and gamma."""
    how = (x, gamma, beta, kept, statistics, axis)
    dz = reference.gated(dy, *how) if relu else dy
    # [double-backward]
    pivot, offset, _, inv_std = statistics
    m = x.numel() // x.shape[axis]
    h = centre(x, pivot, offset, axis).mul_(along(inv_std, x, axis))
    u, _ = deviations(u, axis)  # u'
    centred_dz, _ = deviations(dz, axis)  # dz'
    a = channel_sum(u * h, axis) / m  # (C,), like everything that is not written with along
    b = channel_sum(centred_dz * h, axis) / m
    k = channel_sum(u * centred_dz, axis) / m - a * b
    scale = inv_std if gamma is None else gamma * inv_std  # g r
    v, w = v.to(scale.dtype), w.to(scale.dtype)

    def each(values: Tensor) -> Tensor:
        return along(values, x, axis)

    for_dz = each(scale) * u + each(v - scale * a) * h + each(w)
    for_x = each(inv_std * (v - scale * a)) * centred_dz - each(inv_std * scale * b) * u
    for_x -= each(inv_std * (v * b + scale * (k - 2 * a * b))) * h
    for_gamma = inv_std * m * k
    # [/double-backward]
    if kept is not None and relu:
        for_dz += s
    for_dy = reference.gated(for_dz, *how) if relu else for_dz
    return rounded(for_dy, dy), rounded(for_x, x), for_gamma.to(PARAMETER_DTYPE[x.dtype])


@batch_norm_double_backward_op.register_fake
def _(
    u: Tensor,
    v: Tensor,
    w: Tensor,
    s: Tensor,
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    for_gamma = x.new_empty(x.shape[axis], dtype=PARAMETER_DTYPE[x.dtype])
    return torch.empty_like(dy), torch.empty_like(x), for_gamma


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.axis, ctx.relu, _ = inputs
    ctx.save_for_backward(*tensors)


def _double_gradient(
    ctx: Any, u: Tensor, v: Tensor, w: Tensor, s: Tensor
) -> tuple[Tensor | None, ...]:
    dy, x, gamma, *others = ctx.saved_tensors
    how = dy, x, gamma, *others, ctx.axis, ctx.relu
    if is_transformed(u, v, w, s, dy, x, gamma):
        _, kept, _ = others
        above = (u, v, w, s) if ctx.relu and kept is not None else (u, v, w)
        return *formula.double_backward(formula.backward, above, *how), *[None] * 6
    for_dy, for_x, for_gamma = batch_norm_double_backward_op(u, v, w, s, *how)
    return for_dy, for_x, None if gamma is None else for_gamma.to(gamma.dtype), *[None] * 6


batch_norm_backward_op.register_autograd(_double_gradient, setup_context=_save_backward)
batch_norm_double_backward_op.register_autograd(refuse_third)
