"""Batch normalization on a GPU by :mod:`bn.kernels.triton_gpu`."""

import functools

import torch
from torch import Tensor

from bn import kernels
from bn.pytorch.checks import PARAMETER_DTYPE


def problem(x: Tensor) -> Exception | None:
    """Return why the kernels cannot compute on `x`, if so."""
    missing = _missing()
    if missing is not None:
        return missing
    from bn.kernels import triton_gpu

    words = triton_gpu.problem()
    if words is not None:
        return ValueError(f"backend is 'triton': {words}")
    if x.device.type != "cuda" and not triton_gpu.interpreted():
        return ValueError(
            f"backend is 'triton', which computes on a CUDA device, and x is on {x.device}; "
            "use backend='auto'"
        )
    return None


@functools.cache
def _missing() -> ImportError | None:
    words = kernels.problem("triton_gpu")
    return None if words is None else ImportError(f"backend is 'triton': {words}")


def forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what :func:`bn.pytorch.backends.reference.forward` does."""
    from bn.kernels import triton_gpu

    y, (pivot, *others) = triton_gpu.forward(
        x, gamma, beta, eps=eps, axis=axis, relu=relu, residual=residual
    )
    return y, torch.stack([pivot.double(), *others]), None


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
    from bn.kernels import triton_gpu

    pivot, *others = statistics
    computing = torch.float64 if x.dtype == torch.float64 else torch.float32
    dx, dgamma, dbeta, dresidual = triton_gpu.backward(
        dy,
        x,
        gamma,
        beta,
        triton_gpu.Statistics(pivot.to(computing), *others),
        axis=axis,
        relu=relu,
        residual=kept if relu else None,
    )
    kind = PARAMETER_DTYPE[x.dtype]
    return dx, dgamma.to(kind), dbeta.to(kind), dresidual


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
    from bn.kernels import triton_gpu

    y: Tensor = triton_gpu.inference(x, mean, var, gamma, beta, eps=eps, axis=axis)
    return y
