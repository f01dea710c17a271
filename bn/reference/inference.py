"""Batch normalization with known statistics: line 11 of Algorithm 2 (section 3.1)."""

import numpy as np
from numpy.typing import ArrayLike

from bn.reference import checks
from bn.reference.channels import along, channel_sum
from bn.reference.checks import Array


# paper: s31-fixed-statistics, eq-affine, s32-inference
def batch_norm_inference(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
) -> Array:
    """Normalize with fixed statistics: line 11 of Algorithm 2 (section 3.1).

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        Any batch, of any size: each value is treated by itself.
    mean, var : array, shape (C,)
        Statistics of the population; see :func:`population_statistics`.
    gamma, beta, eps, axis
        As in :func:`batch_norm_forward`.

    Returns
    -------
    y : array, the shape and type of x
        Computed in float64, so that a large mean costs no digits.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a variance is negative, or `var + eps` is 0.
    """
    x = checks.as_input("x", x)
    axis = checks.as_axis(axis, x.shape)
    centred, inv_std, gamma = _known_statistics(x, mean, var, gamma, eps, axis)
    beta = checks.as_channels("beta", beta, 0.0, x.shape[axis], inv_std.dtype)
    y = centred * along(gamma * inv_std, x, axis) + along(beta, x, axis)
    return y.astype(x.dtype, copy=False)


def batch_norm_inference_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    gamma: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients for x, gamma and beta when the statistics are fixed.

    The map is then affine in x, and the two mean terms of the training gradient are absent:
    ``dx = dy * gamma / sqrt(var + eps)``. Parameters as in :func:`batch_norm_inference`;
    `dy` has the shape of x. Returns `dx` like x, `dgamma` and `dbeta` of shape (C,).
    """
    x, dy = checks.as_input("x", x), checks.as_input("dy", dy)
    axis = checks.as_axis(axis, x.shape)
    checks.check_upstream(dy, x.shape)
    centred, inv_std, gamma = _known_statistics(x, mean, var, gamma, eps, axis)
    dy = dy.astype(np.float64)
    dx = dy * along(gamma * inv_std, x, axis)
    dgamma = channel_sum(dy * centred, axis) * inv_std
    out = checks.PARAMETER_DTYPE[x.dtype.name]
    return dx.astype(x.dtype), dgamma.astype(out), channel_sum(dy, axis).astype(out)


# paper: eq-affine, s32-inference
def fold_batch_norm(
    weight: ArrayLike,
    bias: ArrayLike | None,
    mean: ArrayLike,
    var: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 0,
) -> tuple[Array, Array]:
    """Fold a batch norm with known statistics into the linear map before it (section 3.1).

    Both are affine at inference, so they are one: W' = W a and b' = (b - mean) a + beta with
    a = gamma / sqrt(var + eps), for each output channel.

    Parameters
    ----------
    weight : array of float16, bfloat16, float32 or float64
        Of a fully connected layer or a convolution, with the C output channels on `axis`.
    bias : array, shape (C,), or None
        None stands for zeros.
    mean, var, gamma, beta, eps
        As in :func:`batch_norm_inference`.
    axis : int
        0 for a convolution, and for ``torch.nn.Linear``; 1 for :class:`bn.layers.Linear`, and
        for a transposed convolution of PyTorch that has no groups.

    Returns
    -------
    weight, bias : arrays of the type of `weight`, the shape of `weight` and (C,)
        Computed in float64 and rounded once. The folded map equals the two in a row up to
        rounding, which grows with ``abs(mean) / sqrt(var)``: y is then the small difference of
        two large terms.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a variance is negative, or `var + eps` is 0.
    """
    weight = checks.as_input("weight", weight)
    axis = checks.as_axis(axis, weight.shape)
    channels, wide = weight.shape[axis], np.dtype(np.float64)
    mean = checks.as_known("mean", mean, channels, wide)
    var = checks.as_known("var", var, channels, wide)
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, wide)
    beta = checks.as_channels("beta", beta, 0.0, channels, wide)
    bias = checks.as_channels("bias", bias, 0.0, channels, wide)
    checks.check_eps(eps)
    checks.check_variance(var, eps, wide, name="var")
    # [fold]
    scale = gamma / np.sqrt(var + eps)  # (C,)
    folded = weight.astype(wide) * along(scale, weight, axis)
    shift = (bias - mean) * scale + beta
    # [/fold]
    return folded.astype(weight.dtype), shift.astype(weight.dtype)


def _known_statistics(
    x: Array, mean: ArrayLike, var: ArrayLike, gamma: ArrayLike | None, eps: float, axis: int
) -> tuple[Array, Array, Array]:
    """Check fixed statistics; return ``x - mean``, ``1 / sqrt(var + eps)`` and gamma."""
    channels, wide = x.shape[axis], np.dtype(np.float64)
    mean = checks.as_known("mean", mean, channels, wide)
    var = checks.as_known("var", var, channels, wide)
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, wide)
    checks.check_eps(eps)
    checks.check_variance(var, eps, wide, name="var")
    return x.astype(wide) - along(mean, x, axis), 1.0 / np.sqrt(var + eps), gamma
