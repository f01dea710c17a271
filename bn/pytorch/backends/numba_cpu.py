"""Batch normalization on the CPU by :mod:`bn.kernels.numba_cpu`: tensors in, tensors out.

The kernels are told where tensors lie in memory, so nothing is copied on the way.
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bn import kernels
from bn.pytorch.backends import reference
from bn.pytorch.checks import PARAMETER_DTYPE
from bn.pytorch.gates import (
    are_channels_last,
    channels_last_in_memory,
    check_gates,
    is_gates,
    new_gates,
    packed,
)
from bn.pytorch.moments import compute_dtype, wide_dtype


def problem(x: Tensor) -> Exception | None:
    """Return why the kernels cannot compute on `x`, if so."""
    if x.device.type != "cpu":
        return ValueError(
            f"backend is 'numba', which computes on the CPU, and x is on {x.device}; "
            "use backend='auto'"
        )
    return _missing()


@functools.cache
def _missing() -> ImportError | None:
    words = kernels.problem("numba_cpu")
    return None if words is None else ImportError(words)


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
    from bn.kernels.numba_cpu import work

    plan, source = _plan(x, axis)
    y, z = _new(source), _laid_out(residual, source)
    gates = None
    if relu and z is not None:
        gates = new_gates(x)
        gates[-1] = plan.layout.moved
    held = source, z, y, gates
    at = [_address(tensor) for tensor in held]
    made, suspect = work.forward(plan, held, at, _vector(gamma), _vector(beta), eps, relu)
    if suspect and not _usable(made[2], x, eps, axis):
        y, statistics, _ = reference.forward(x, gamma, beta, residual, eps, axis, relu)
        return y, statistics, gates if gates is None else packed(~(y <= 0), x, axis)
    return y, torch.from_numpy(made).to(wide_dtype(x)), gates


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
    from bn.kernels.numba_cpu import work

    gates = kept if relu else None
    ordered = x
    if gates is not None:
        if not is_gates(gates):  # the residual itself, kept by another backend's forward pass
            return reference.backward(dy, x, gamma, beta, kept, statistics, axis, relu)
        check_gates(gates, x)
        ordered = _in_order_of(gates, x, axis)
    plan, source = _plan(ordered, axis)
    upstream = _laid_out(dy.to(x.dtype), source)
    dx, dz = _new(source), None if gates is None else _new(source)
    held = upstream, source, gates, dx, dz
    at = [_address(tensor) for tensor in held]
    made = work.backward(
        plan, held, at, _vector(gamma), _vector(beta), statistics.detach().numpy(), relu
    )
    parameters = made.astype(_NUMPY_PARAMETERS[x.dtype], copy=False)
    dgamma, dbeta = (torch.from_numpy(vector) for vector in parameters)
    dresidual = None if dz is None else _delivered(dz, x, source)
    return _delivered(dx, x, source), dgamma, dbeta, dresidual


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
    from bn.kernels.numba_cpu import work

    plan, source = _plan(x, axis)
    y = _new(source)
    held, at = (source, y), (source.data_ptr(), 0, y.data_ptr())
    statistics = _vector(mean), _vector(inv_std)
    work.inference(plan, held, at, *statistics, _vector(gamma), _vector(beta), False)
    return y


def _usable(var: Any, x: Tensor, eps: float, axis: int) -> bool:
    """Tell whether the kernels can do with these variances. Where not, the reference says why.

    NaN and infinity among the values are no reason: they spoil their own channel only.
    """
    if eps == 0 and (var == 0).any():
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        sums = var * (x.numel() // x.shape[axis])
    largest = math.inf if compute_dtype(x) == torch.float64 else _LARGEST_SQUARE
    odd = np.flatnonzero(~(sums < largest)).tolist()
    return not any(x.select(axis, channel).isfinite().all() for channel in odd)


_LARGEST_SQUARE = torch.finfo(torch.float32).max ** 2
_NUMPY_PARAMETERS = {
    dtype: np.float64 if parameters == torch.float64 else np.float32
    for dtype, parameters in PARAMETER_DTYPE.items()
}


def _plan(x: Tensor, axis: int) -> tuple[Any, Tensor]:
    """Return how the kernels take x, and x in a layout that they know."""
    from bn.kernels.numba_cpu.plan import FLOAT32, FLOAT64, STORED, plan_of

    moved = channels_last_in_memory(x, axis)
    source = x if moved or x.is_contiguous() else x.contiguous()
    stored = STORED[_NAMES[x.dtype]]
    wide = FLOAT64 if compute_dtype(x) == torch.float64 else FLOAT32
    return plan_of(tuple(x.shape), axis, moved, stored, wide), source


_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in PARAMETER_DTYPE}


def _in_order_of(gates: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return x with the strides that it had when the gates were made, or packed in that order."""
    wanted = are_channels_last(gates)
    if channels_last_in_memory(x, axis) == wanted:
        return x
    return x.movedim(axis, -1).contiguous().movedim(-1, axis) if wanted else x.contiguous()


def _vector(values: Tensor | None) -> Any:
    """Return one value per channel as an array.

    A copy: an array on the tensor's own memory would forbid for ever that this is resized, which
    FSDP does with parameters.
    """
    return None if values is None else values.detach().to(torch.float64, copy=True).numpy()


def _new(source: Tensor) -> Tensor:
    """Return a tensor like `source`, in large pages if it is large."""
    from bn.kernels.numba_cpu.memory import ask_for_large_pages

    made = torch.empty_like(source)
    ask_for_large_pages(made.data_ptr(), made.nbytes)
    return made


def _laid_out(tensor: Tensor | None, source: Tensor) -> Tensor | None:
    """Return a tensor in the layout of `source`."""
    if tensor is None or tensor.stride() == source.stride():
        return tensor
    return torch.empty_like(source).copy_(tensor)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _delivered(dx: Tensor, x: Tensor, source: Tensor) -> Tensor:
    """Return `dx`, which is laid out like `source`, laid out as torch would lay out one like x."""
    return dx if source is x else torch.empty_like(x).copy_(dx)
