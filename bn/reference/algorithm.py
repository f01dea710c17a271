"""Algorithm 1 of the paper (section 3), forward and backward.

The names are the paper's: a mini-batch ``x`` has ``m`` values for each channel. A channel is
a feature of a fully connected layer, or a feature map of a convolutional one (section 3.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bn.reference import checks
from bn.reference.channels import along, channel_sum
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
    count : int array, shape (C,)
        How many values of each channel the statistics are of: m in the paper.
    mask : array of bool, broadcast to the shape of x, or None
        Which values those are, if not all.
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
    count: NDArray[np.integer]
    mask: NDArray[np.bool_] | None
    axis: int
    dtype: DType


# paper: alg-1, s3-per-feature, s3-scale-shift, s3-identity, s3-mini-batch-statistics
# paper: s3-epsilon, s3-depends-on-batch, eq-normalized, s32-maps
def batch_norm_forward(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    mask: ArrayLike | None = None,
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
    mask : array of bool, to be broadcast against x, optional
        True where a value counts, False for padding: that is normalized too, and has no
        influence on the statistics. For a batch of shape (N, C, L) with sequences of different
        lengths it has shape (N, 1, L).

    Returns
    -------
    y : array, the shape and type of x
    cache : BatchNormCache
        For :func:`batch_norm_backward`, and to read the statistics from.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if there are fewer than two values in a channel; if `eps`
        is 0 and a channel is constant.
    OverflowError
        If finite values are so far apart that their differences do not fit in their type, or
        their variance not in float64.

    Notes
    -----
    Computed in float64 for half-precision input, so that y is rounded once, otherwise in the
    type of x, with statistics in float64. NaN and infinity spoil their own channel only.
    """
    x = checks.as_input("x", x)
    axis = checks.as_axis(axis, x.shape)
    dtype, returned, channels = checks.COMPUTE_DTYPE[x.dtype.name], x.dtype, x.shape[axis]
    gamma = checks.as_channels("gamma", gamma, 1.0, channels, dtype)
    beta = checks.as_channels("beta", beta, 0.0, channels, dtype)
    checks.check_eps(eps)
    mask = checks.as_mask(mask, x.shape)
    count = checks.count_values(x.shape, axis, mask)  # (C,)

    # [forward]
    x = x.astype(dtype, copy=False)
    centred, mean, var = moments(x, axis, mask)  # x - mu, mu, sigma^2
    checks.check_variance(var, eps, dtype, name="the variance of x")
    inv_std = (1.0 / np.sqrt(var + eps)).astype(dtype)  # (C,)
    x_hat = centred * along(inv_std, x, axis)  # normalize
    y = along(gamma, x, axis) * x_hat + along(beta, x, axis)  # scale and shift
    # [/forward]

    cache = BatchNormCache(x_hat, mean, var, inv_std, gamma, count, mask, axis, returned)
    return y.astype(returned, copy=False), cache


# paper: s3-differentiable, s2-two-jacobians
# paper: eq-backward-x, eq-backward-gamma, eq-backward-beta
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
        In float32 for half precision, otherwise in the type of x.

    Raises
    ------
    TypeError, ValueError
        If `dy` does not have the shape of y, or is not floating point.
    """
    dy = checks.as_input("dy", dy)
    checks.check_upstream(dy, cache.x_hat.shape)
    x_hat, axis = cache.x_hat, cache.axis
    dy = dy.astype(x_hat.dtype, copy=False)
    m = cache.count.astype(x_hat.dtype)  # (C,), values per channel
    counted = True if cache.mask is None else cache.mask

    # [backward]
    dbeta = channel_sum(dy, axis, np.float64)  # (C,)
    mean_dy = along(dbeta / m, dy, axis)
    centred = (dy - mean_dy).astype(dy.dtype)  # rounded once
    dgamma = channel_sum(np.where(counted, centred, dy) * x_hat, axis)  # (C,)
    mean_dy_x_hat = along(dgamma / m, dy, axis)
    scale = along(cache.gamma * cache.inv_std, dy, axis)
    dx = scale * (centred - x_hat * mean_dy_x_hat)
    # [/backward]

    if cache.mask is not None:  # what did not count has no path through the statistics
        dx = np.where(cache.mask, dx, scale * dy)
    parameters = checks.PARAMETER_DTYPE[cache.dtype.name]
    return dx.astype(cache.dtype, copy=False), dgamma.astype(parameters), dbeta.astype(parameters)
