"""Batch normalization in plain operations of torch: on every device, in every type.

The formulas are derived in :mod:`bn.pytorch.training`.
"""

import torch
from torch import Tensor

from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.gates import is_gates, unpacked
from bn.pytorch.moments import (
    along,
    centre,
    channel_sum,
    deviations,
    moments,
    rounded,
    wide_dtype,
    widened,
)


def problem(x: Tensor) -> Exception | None:
    """Return None: these run wherever torch does."""
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
    """Return y like x; pivot, offset, var and inv_std, (4, C), see `moments`; and the gates.

    Those are None here: the backward pass gets the residual, if there is one.
    """
    # [forward]
    centred, pivot, offset, var, inv_std = moments(x, eps, axis)
    y = before_relu(centred, gamma, beta, residual, inv_std, axis)
    if relu:
        y = y.relu_()
    # [/forward]
    return rounded(y, x), torch.stack([pivot.to(var.dtype), offset, var, inv_std]), None


def before_relu(
    centred: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    inv_std: Tensor,
    axis: int,
) -> Tensor:
    """Return ``gamma x_hat + beta + residual`` in the place of `centred`.

    The backward pass calls it again, on the same numbers: so it sees the signs that the ReLU saw.
    """
    scale = inv_std if gamma is None else gamma * inv_std  # (C,)
    y = centred.mul_(along(scale, centred, axis))
    if beta is not None:
        y = y.add_(along(beta, centred, axis))
    return y if residual is None else y.add_(residual)


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
    """Return dx like x, dgamma and dbeta of shape (C,), and what goes to the residual.

    `kept` is the residual, or the gates; `beta` and it are read only if there is a ReLU.
    """
    if relu:
        dy = gated(dy, x, gamma, beta, kept, statistics, axis)
    # [backward]
    pivot, offset, _, inv_std = statistics
    m = x.numel() // x.shape[axis]  # values per channel
    x_hat = centre(x, pivot, offset, axis).mul_(along(inv_std, x, axis))
    centred_dy, dbeta = deviations(dy, axis)  # dy - mean(dy); sum(dy), (C,)
    dgamma = channel_sum(centred_dy * x_hat, axis)  # (C,): x_hat sums to 0
    scale = inv_std if gamma is None else gamma * inv_std  # (C,)
    dx = x_hat.mul_(along(-dgamma / m, x, axis)).add_(centred_dy).mul_(along(scale, x, axis))
    # [/backward]
    parameters = PARAMETER_DTYPE[x.dtype]
    return rounded(dx, x), dgamma.to(parameters), dbeta.to(parameters), dy if relu else None


def gated(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
) -> Tensor:
    """Return dy, and 0 where the ReLU was closed. Laid out like x."""
    is_closed = closed(x, gamma, beta, kept, statistics, axis)
    return torch.empty_like(x).copy_(dy).masked_fill_(is_closed, 0)


def closed(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    kept: Tensor | None,
    statistics: Tensor,
    axis: int,
) -> Tensor:
    """Tell where the ReLU was closed; NaN did not close it."""
    if kept is not None and is_gates(kept):
        return ~unpacked(kept, x, axis)
    pivot, offset, _, inv_std = statistics
    return before_relu(centre(x, pivot, offset, axis), gamma, beta, kept, inv_std, axis) <= 0


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
    """Return y like x, with known statistics; inv_std is :func:`inverse_std` of var and eps."""
    scale = inv_std if gamma is None else gamma * inv_std
    shift = torch.zeros_like(inv_std) if beta is None else beta
    y = less_mean(x, mean, axis).mul_(along(scale, x, axis)).add_(along(shift, x, axis))
    return rounded(y, x)


def inverse_std(var: Tensor, x: Tensor, eps: float) -> Tensor:
    """Return ``1 / sqrt(var + eps)``, (C,); on the CPU, raise ValueError where there is none."""
    var = var.to(wide_dtype(x))
    if var.device.type == "cpu":  # elsewhere looking would make the device wait
        for bad, says in ((var < 0, "expected 0 or more"), (var + eps == 0, f"and eps is {eps}")):
            if bad.any():
                channel = int(bad.int().argmax())
                raise ValueError(f"var is {var[channel].item()} in channel {channel}, {says}")
    return (var + eps).rsqrt()


def less_mean(x: Tensor, mean: Tensor, axis: int) -> Tensor:
    """Return ``x - mean`` in the computing type, as a new tensor laid out like `x`.

    A float64 mean is subtracted from float32 values as two float32 numbers, so that a large
    mean costs no digits.
    """
    centred = widened(x)
    near = mean.to(centred.dtype)
    centred -= along(near, centred, axis)
    if mean.dtype == torch.float64 and centred.dtype == torch.float32:
        centred -= along(mean - near, centred, axis)
    return centred
