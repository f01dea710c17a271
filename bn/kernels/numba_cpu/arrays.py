"""Batch normalization of NumPy arrays by the kernels, without looking at the arguments.

These functions are for callers that have checked what they pass on; the package itself has the
ones that check. Arrays of any layout are taken; packed ones and channels_last ones are not
copied, and what comes out is laid out as x is. bfloat16 comes as an array of ml_dtypes, or as
its bits in uint16 (``tensor.view(torch.uint16).numpy()``). Outputs may be the arrays they are
computed from: y may overwrite x, and dx may overwrite dy.

With `wide_half`, half precision is computed in float64, as in bn.reference, so that a result is
rounded once; without it in float32, in which it takes half the time, and a result is wrong by
more than its last bit where terms nearly cancel. `threads` is how many threads may work.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bn.kernels.numba_cpu import work
from bn.kernels.numba_cpu.gates import gate_words
from bn.kernels.numba_cpu.layout import is_moved, output, packed
from bn.kernels.numba_cpu.memory import address_of
from bn.kernels.numba_cpu.plan import FLOAT32, FLOAT64, STORED, Plan, plan_of
from bn.kernels.numba_cpu.scratch import Array

Vector = NDArray[np.float64]


class Statistics(NamedTuple):
    """Statistics of each channel; float64 arrays of shape (C,).

    The mean is ``pivot + offset``, where pivot is a number of the type that x is computed in.
    """

    pivot: Vector
    offset: Vector
    var: Vector
    inv_std: Vector


class Gradients(NamedTuple):
    """Gradients for x, gamma, beta and the residual; dgamma and dbeta in float64."""

    dx: Array
    dgamma: Vector
    dbeta: Vector
    dresidual: Array | None


def forward(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    *,
    eps: float,
    axis: int = 1,
    relu: bool = False,
    residual: Array | None = None,
    gates: Array | None = None,
    out: Array | None = None,
    wide_half: bool = True,
    threads: int | None = None,
) -> tuple[Array, Statistics]:
    """Return ``relu(gamma x_hat + beta + residual)`` and the statistics of the mini-batch.

    `gates`, ``np.empty(gate_words(x.size), np.uint64)``, is for :func:`backward` to know where
    the ReLU was open. With a ReLU and a residual it needs that.
    """
    plan, source, z = _prepared(x, axis, residual, wide_half)
    y, target = output(x, plan.layout, out, "out")
    held = source, z, target, gates
    at = [_address(array) for array in held]
    made, _ = work.forward(plan, held, at, gamma, beta, eps, relu, threads)
    return y, Statistics(*made)


def inference(
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array | None,
    beta: Array | None,
    *,
    eps: float,
    axis: int = 1,
    relu: bool = False,
    residual: Array | None = None,
    out: Array | None = None,
    wide_half: bool = True,
    threads: int | None = None,
) -> Array:
    """Return the same with known statistics."""
    plan, source, z = _prepared(x, axis, residual, wide_half)
    y, target = output(x, plan.layout, out, "out")
    held, at = (source, z, target), (address_of(source), _address(z), address_of(target))
    inv_std = 1 / np.sqrt(np.asarray(var, np.float64) + eps)
    work.inference(plan, held, at, mean, inv_std, gamma, beta, relu, threads)
    return y


def backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    statistics: Statistics,
    *,
    axis: int = 1,
    relu: bool = False,
    with_residual: bool = False,
    gates: Array | None = None,
    out: Array | None = None,
    residual_out: Array | None = None,
    wide_half: bool = True,
    threads: int | None = None,
) -> Gradients:
    """Return the gradients, given what :func:`forward` was given and its statistics.

    With a ReLU and a residual, `gates` says where the ReLU was open; with a ReLU alone that is
    found again from x, for which `beta` is needed. Without a ReLU the gradient for the residual
    is dy itself, where dx is not written over that.
    """
    plan, source, _ = _prepared(x, axis, None, wide_half)
    if relu and with_residual and (gates is None or gates.size != gate_words(x.size)):
        raise ValueError(
            f"with a ReLU and a residual, gates must be the {gate_words(x.size)} words that "
            f"forward has written; they are {None if gates is None else gates.size}"
        )
    passed = None
    if with_residual and not relu:
        passed = dy
        if residual_out is not None:
            residual_out[...] = dy
            passed = residual_out
        elif out is not None and np.may_share_memory(out, dy):
            passed = dy.copy()  # dx is going to be written over it
    upstream = packed(dy, plan.layout)
    dx, target = output(x, plan.layout, out, "out")
    dz = target_z = None
    if with_residual and relu:
        dz, target_z = output(x, plan.layout, residual_out, "residual_out")
    held = upstream, source, None if dz is None else gates, target, target_z
    at = [_address(array) for array in held]
    dgamma, dbeta = work.backward(plan, held, at, gamma, beta, statistics, relu, threads)
    return Gradients(dx, dgamma, dbeta, dz if passed is None else passed)


def _prepared(
    x: Array, axis: int, z: Array | None, wide_half: bool
) -> tuple[Plan, Array, Array | None]:
    """Return the plan, and x and z in an order of memory that the kernels know."""
    stored = _stored(x.dtype)
    narrow = stored == FLOAT32 or (stored.itemsize == 2 and not wide_half)
    plan = plan_of(x.shape, axis, is_moved(x, axis), stored, FLOAT32 if narrow else FLOAT64)
    return plan, packed(x, plan.layout), None if z is None else packed(z, plan.layout)


@functools.lru_cache(maxsize=32)
def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    stored: np.dtype[Any] = STORED[dtype.name]  # to make a name takes longer than to find it
    return stored


def _address(array: Array | None) -> int:
    return 0 if array is None else address_of(array)
