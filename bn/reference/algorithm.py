"""Algorithm 1 and 2 of the paper (section 3 and 3.1), forward and backward.

The names are the paper's: a mini-batch ``x`` has ``m`` values for each channel. A channel is
a feature of a fully connected layer, or a feature map of a convolutional one (section 3.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bn.reference import checks
from bn.reference.checks import Array, DType
from bn.reference.moments import moments


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class BatchNormCache:
    """What the backward pass needs to know of the forward pass.

    Attributes
    ----------
    x_hat : array, the shape of x
        The normalized values, in the type that was computed in.
    mean, var : float64 arrays, shape (C,)
        Mean and biased variance of the mini-batch, one value per channel.
    inv_std : array, shape (C,)
        ``1 / sqrt(var + eps)``.
    gamma : array, shape (C,)
        The scale, ones if none was given.
    axis : int
        The axis of the channels.
    dtype : numpy.dtype
        The type of x, to which y and dx are rounded.
    """

    x_hat: Array
    mean: Array
    var: Array
    inv_std: Array
    gamma: Array
    axis: int
    dtype: DType


def batch_norm_forward(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
) -> tuple[Array, BatchNormCache]:
    """Normalize each channel of a mini-batch, then scale and shift it: Algorithm 1.

    Parameters
    ----------
    x : array of float16, bfloat16, float32 or float64
        The mini-batch, for example (N, C) or (N, C, H, W). Statistics are taken over every
        axis but `axis`, so there are ``m = x.size / C`` values per channel.
    gamma, beta : array, shape (C,), optional
        Scale and shift, learned in training. Default: ones and zeros.
    eps : float
        Added to the variance, in the squared unit of x. 0 is allowed.
    axis : int
        The axis of the channels.

    Returns
    -------
    y : array, the shape and type of x
    cache : BatchNormCache
        For :func:`batch_norm_backward`, and to read the statistics from.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if there is only one value per channel; if `eps` is 0
        and a channel is constant.
    OverflowError
        If finite values are so far apart that their differences do not fit in their type, or
        their variance not in float64.

    Notes
    -----
    Computed in float32 for half-precision input, otherwise in the type of x, with
    statistics in float64. NaN and infinity spoil their own channel only.
    """
    x = checks.as_input("x", x)
    axis = checks.as_axis(axis, x.shape)
    dtype, returned, channels = checks.COMPUTE_DTYPE[x.dtype.name], x.dtype, x.shape[axis]
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, dtype)
    beta = checks.as_channels("beta", beta, 0.0, channels, dtype)
    checks.check_eps(eps)
    checks.check_batch(x.shape, channels)

    # [forward]
    x = x.astype(dtype, copy=False)
    centred, mean, var = moments(x, axis)  # x - mu, mu, sigma^2
    checks.check_variance(var, eps, dtype, name="the variance of x")
    inv_std = (1.0 / np.sqrt(var + eps)).astype(dtype)  # (C,)
    x_hat = centred * along(inv_std, x, axis)  # normalize
    y = along(gamma, x, axis) * x_hat + along(beta, x, axis)  # scale and shift
    # [/forward]

    cache = BatchNormCache(x_hat, mean, var, inv_std, gamma, axis, returned)
    return y.astype(returned, copy=False), cache


def batch_norm_backward(dy: ArrayLike, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """Return the gradients of the loss for x, gamma and beta: the chain rule in closed form.

    The same numbers as the paper's six equations (section 3), with the gradients that flow
    through the mini-batch's mean and variance; see ``bn.reference.backward_forms``.

    Parameters
    ----------
    dy : array, the shape of y
        The gradient of the loss for y.
    cache : BatchNormCache
        From :func:`batch_norm_forward`.

    Returns
    -------
    dx : array, the shape and type of x
    dgamma, dbeta : array, shape (C,)

    Raises
    ------
    TypeError, ValueError
        If `dy` does not have the shape of y, or is not floating point.
    """
    dy = checks.as_input("dy", dy)
    checks.check_upstream(dy, cache.x_hat.shape)
    x_hat, axis = cache.x_hat, cache.axis
    dy = dy.astype(x_hat.dtype, copy=False)
    m = dy.size // dy.shape[axis]  # values per channel

    # [backward]
    dbeta = channel_sum(dy, axis)  # (C,)
    dgamma = channel_sum(dy * x_hat, axis)  # (C,)
    mean_dy = along(dbeta / m, dy, axis)
    mean_dy_x_hat = along(dgamma / m, dy, axis)
    scale = along(cache.gamma * cache.inv_std, dy, axis)
    dx = scale * (dy - mean_dy - x_hat * mean_dy_x_hat)
    # [/backward]

    return dx.astype(cache.dtype, copy=False), dgamma, dbeta


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
    out = checks.COMPUTE_DTYPE[x.dtype.name]
    return dx.astype(x.dtype), dgamma.astype(out), channel_sum(dy, axis).astype(out)


def population_statistics(means: ArrayLike, variances: ArrayLike, m: int) -> tuple[Array, Array]:
    """Estimate the population's mean and variance from mini-batches: line 10 of Algorithm 2.

    Parameters
    ----------
    means, variances : array, shape (batches, C)
        Mean and biased variance of several mini-batches (``cache.mean``, ``cache.var``).
    m : int
        Values per channel in each of them; at least 2.

    Returns
    -------
    mean, var : float64 arrays, shape (C,)
        ``E[mean]`` and ``m / (m - 1) * E[var]``. The factor makes the variance unbiased.

    Raises
    ------
    ValueError
        If the shapes differ or `m` is less than 2.
    """
    means, variances = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    if means.ndim != 2 or means.shape != variances.shape or not len(means):
        raise ValueError(
            f"means and variances have shapes {means.shape} and {variances.shape}, "
            "expected the same (batches, channels) with at least one batch"
        )
    if not isinstance(m, checks.WHOLE) or m < 2:
        raise ValueError(f"m is {m}, expected at least 2 values per channel in a mini-batch")
    if np.any(variances < 0):
        raise ValueError(f"variances hold {variances.min():g}, expected 0 or more")
    return means.mean(axis=0), m / (m - 1) * variances.mean(axis=0)


def along(values: Array, x: Array, axis: int) -> Array:
    """Reshape one value per channel, (C,), so that it broadcasts along `axis` of `x`."""
    return values.reshape([-1 if a == axis else 1 for a in range(x.ndim)])


def channel_sum(x: Array, axis: int) -> Array:
    """Sum over every axis but `axis`, accumulated in float64; shape (C,), the type of x."""
    others = tuple(a for a in range(x.ndim) if a != axis)
    total: Array = x.sum(axis=others, dtype=np.float64).astype(x.dtype)
    return total


def _known_statistics(
    x: Array, mean: ArrayLike, var: ArrayLike, gamma: ArrayLike | None, eps: float, axis: int
) -> tuple[Array, Array, Array]:
    """Check fixed statistics; return ``x - mean``, ``1 / sqrt(var + eps)`` and gamma."""
    channels, wide = x.shape[axis], np.dtype(np.float64)
    mean = checks.as_channels("mean", mean, 0.0, channels, wide)
    var = checks.as_channels("var", var, 1.0, channels, wide)
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, wide)
    checks.check_eps(eps)
    checks.check_variance(var, eps, wide, name="var")
    return x.astype(wide) - along(mean, x, axis), 1.0 / np.sqrt(var + eps), gamma
