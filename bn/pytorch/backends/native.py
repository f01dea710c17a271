"""torch's own batch norm behind the same signatures, with its accuracy and its layout."""

import torch
from torch import Tensor

from bn.pytorch.backends import reference
from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.moments import rounded, wide_dtype


def problem(x: Tensor) -> Exception | None:
    """Return None: torch's runs wherever torch does."""
    return None


def forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what :func:`bn.pytorch.backends.reference.forward` does; the variance from inv_std."""
    inputs, weight, bias = _prepared(x, gamma, beta, axis)
    y, mean, inv_std = torch.native_batch_norm(inputs, weight, bias, None, None, True, 0.0, eps)
    y = y if axis == 1 else y.movedim(1, axis).clone()  # what an operator returns is no view
    if residual is not None:
        y = y.add_(residual)
    if relu:
        y = y.relu_()
    wide = wide_dtype(x)
    inv_std = inv_std.to(wide)
    var = (inv_std.pow(-2) - eps).clamp(min=0)
    return (
        rounded(y, x),
        torch.stack([mean.to(wide), torch.zeros_like(inv_std), var, inv_std]),
        None,
    )


def backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return what :func:`bn.pytorch.backends.reference.backward` does."""
    if relu:
        dy = reference.gated(dy, x, gamma, beta, kept, statistics, axis)
    inputs, weight, _ = _prepared(x, gamma, beta, axis)
    # torch's kernel for the CPU reads a dy that is laid out otherwise than x in the order of x
    # where both pass for channels_last, as with maps of width 1: wrong gradients, no error
    upstream = rounded(dy, x).movedim(axis, 1)
    mean, _, _, inv_std = statistics.to(PARAMETER_DTYPE[x.dtype])
    dx, dgamma, dbeta = torch.ops.aten.native_batch_norm_backward(
        upstream,
        inputs,
        weight,
        None,
        None,
        mean,
        inv_std,
        True,
        0.0,
        [True, True, True],
    )
    dx = dx if axis == 1 else dx.movedim(1, axis).clone()
    return rounded(dx, x), dgamma, dbeta, dy if relu else None


def inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    inv_std: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
    axis: int,
) -> Tensor:
    """Return y with known statistics."""
    inputs, weight, bias = _prepared(x, gamma, beta, axis)
    mean, var = mean.to(weight.dtype), var.to(weight.dtype)
    y = torch.nn.functional.batch_norm(inputs, mean, var, weight, bias, False, 0.0, eps)
    return rounded(y if axis == 1 else y.movedim(1, axis).clone(), x)


def _prepared(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x with its channels on axis 1, and gamma and beta in the type that torch wants."""
    kind, channels = PARAMETER_DTYPE[x.dtype], x.shape[axis]
    weight = x.new_ones(channels, dtype=kind) if gamma is None else gamma.to(kind)
    bias = x.new_zeros(channels, dtype=kind) if beta is None else beta.to(kind)
    return x.movedim(axis, 1), weight, bias
