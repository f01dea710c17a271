"""The pair of the reference on the compiled kernels, with its checks and its error messages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bn.kernels.numba_cpu import arrays
from bn.kernels.numba_cpu.arguments import as_array, as_residual, check_output, check_statistics
from bn.kernels.numba_cpu.arrays import Statistics
from bn.kernels.numba_cpu.gates import gate_words
from bn.reference import checks
from bn.reference.checks import Array

WIDE = np.dtype(np.float64)


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class KernelCache:
    """What the backward pass needs to know of the forward pass.

    x itself is kept, not x_hat, which is quickly had again: in a network x is kept anyway. It
    must not be changed before the backward pass.

    Attributes
    ----------
    x : array
        As it was given.
    gamma, beta : float64 array, shape (C,)
    statistics : Statistics
        Pivot and offset, whose sum is the mean, variance, and ``1 / sqrt(var + eps)``.
    axis : int
        The axis of the channels.
    relu, with_residual : bool
        Whether there is a ReLU at the end, and whether something is added before it.
    gates : uint64 array, or None
        With both of them, a bit for each element: whether the ReLU was open.
    """

    x: Array
    gamma: Array
    beta: Array
    statistics: Statistics
    axis: int
    relu: bool
    with_residual: bool
    gates: NDArray[np.uint64] | None

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the mini-batch, one value per channel."""
        return self.statistics.pivot + self.statistics.offset

    @property
    def var(self) -> NDArray[np.float64]:
        """Biased variance of the mini-batch, one value per channel."""
        return self.statistics.var


def batch_norm_forward(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    relu: bool = False,
    residual: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Array, KernelCache]:
    """Normalize each channel of a mini-batch, then scale and shift it: Algorithm 1 of the paper.

    Parameters
    ----------
    x, gamma, beta, eps, axis
        As in :func:`bn.reference.batch_norm_forward`.
    relu : bool
        Whether negative values of the result become 0. NaN stays.
    residual : array, the shape and type of x, optional
        Added before the ReLU: the other branch of a residual block.
    out : array, the shape, type and layout of x, optional
        Where to write y, not over x or the residual. Memory that was written before is faster
        than new memory, which the system hands out page by page.

    Returns
    -------
    y : array, the shape, type and layout of x
    cache : KernelCache

    Raises
    ------
    TypeError, ValueError, OverflowError
        As :func:`bn.reference.batch_norm_forward` does, and if `residual` or `out` does not fit.

    Notes
    -----
    Half precision is computed in float64, anything else in its own type; statistics are float64.
    NaN and infinity spoil their own channel only.
    """
    x = as_array("x", x)
    axis = checks.as_axis(axis, x.shape)
    gamma = checks.as_channels("gamma", gamma, 1.0, x.shape[axis], WIDE)
    beta = checks.as_channels("beta", beta, 0.0, x.shape[axis], WIDE)
    checks.check_eps(eps)
    checks.check_batch(x.shape, x.shape[axis])
    residual = as_residual(residual, x)
    check_output("out", out, in_place=False, x=x, residual=residual)
    added = residual is not None
    gates = np.empty(gate_words(x.size), np.uint64) if relu and added else None
    y, statistics = arrays.forward(
        x, gamma, beta, eps=float(eps), axis=axis, relu=relu, residual=residual, gates=gates,
        out=out,
    )  # fmt: skip
    check_statistics(x, statistics, eps, axis)
    return y, KernelCache(x, gamma, beta, statistics, axis, relu, added, gates)


def batch_norm_backward(
    dy: ArrayLike,
    cache: KernelCache,
    *,
    out: Array | None = None,
    residual_out: Array | None = None,
) -> tuple[Array, ...]:
    """Return the gradients for x, gamma and beta, and for the residual if there was one.

    Parameters
    ----------
    dy : array, the shape of y
    cache : KernelCache
        From :func:`batch_norm_forward`.
    out, residual_out : array, the shape, type and layout of x, optional
        Where to write dx, and the gradient for the residual; each may be dy itself.

    Returns
    -------
    dx : array, the shape, type and layout of x
    dgamma, dbeta : array, shape (C,)
        In float32 for half precision, otherwise in the type of x.
    dresidual : array, only if there was a residual
        Without a ReLU this is dy itself, unless `out` or `residual_out` asks for another.

    Raises
    ------
    TypeError, ValueError
        If `dy` or an output does not fit.
    """
    dy = as_array("dy", dy)
    checks.check_upstream(dy, cache.x.shape)
    inputs = {"x": cache.x, "dy": dy}
    check_output("out", out, in_place=True, **inputs)
    check_output("residual_out", residual_out, in_place=True, **inputs)
    if out is not None and residual_out is not None and np.may_share_memory(out, residual_out):
        raise ValueError("out and residual_out share memory; give each its own")
    gradients = arrays.backward(
        dy.astype(cache.x.dtype, copy=False),
        cache.x,
        cache.gamma,
        cache.beta,
        cache.statistics,
        axis=cache.axis,
        relu=cache.relu,
        with_residual=cache.with_residual,
        gates=cache.gates,
        out=out,
        residual_out=residual_out,
    )
    parameters = checks.PARAMETER_DTYPE[cache.x.dtype.name]
    results = gradients.dx, gradients.dgamma.astype(parameters), gradients.dbeta.astype(parameters)
    return results if gradients.dresidual is None else (*results, gradients.dresidual)


def batch_norm_inference(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    relu: bool = False,
    residual: ArrayLike | None = None,
    out: Array | None = None,
) -> Array:
    """Normalize with fixed statistics: line 11 of Algorithm 2 (section 3.1 of the paper).

    Parameters as in :func:`bn.reference.batch_norm_inference`, and `relu`, `residual` and `out`
    as in :func:`batch_norm_forward`; raises what they do. Computed in the type of x, half
    precision in float64, from ``x - mean`` with no digit of the mean lost.
    """
    x = as_array("x", x)
    axis = checks.as_axis(axis, x.shape)
    channels = x.shape[axis]
    mean = checks.as_known("mean", mean, channels, WIDE)
    var = checks.as_known("var", var, channels, WIDE)
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, WIDE)
    beta = checks.as_channels("beta", beta, 0.0, channels, WIDE)
    checks.check_eps(eps)
    checks.check_variance(var, eps, checks.COMPUTE_DTYPE[x.dtype.name], name="var")
    residual = as_residual(residual, x)
    check_output("out", out, in_place=True, x=x, residual=residual)
    if x.size == 0:
        return x.copy() if out is None else out
    return arrays.inference(
        x, mean, var, gamma, beta, eps=eps, axis=axis, relu=relu, residual=residual, out=out
    )
