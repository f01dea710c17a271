"""From the statistics of mini-batches to those of the population (section 3.1).

The paper averages the mini-batches' variances, which is right when every mini-batch is a fair
sample: then all estimates below agree in the long run. When the mini-batches differ from each
other, for instance because the data are sorted by class, the means differ too, and only
:func:`merge_statistics` counts that spread as part of the variance.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from bn.reference.checks import NUMBER, Array

Method = Literal["ema", "cumulative", "algorithm2", "pooled"]


# paper: alg-2, eq-unbiased, s31-moving-averages, s32-inference
def population_statistics(
    means: ArrayLike,
    variances: ArrayLike,
    m: ArrayLike,
    *,
    method: Method = "algorithm2",
    momentum: float = 0.1,
) -> tuple[Array, Array]:
    """Estimate the population's mean and variance from the statistics of mini-batches.

    Parameters
    ----------
    means, variances : array, shape (batches, C)
        Mean and biased variance of each mini-batch (``cache.mean``, ``cache.var``), in the
        order in which they were seen.
    m : int, or array of int, shape (batches,)
        Values per channel in each of them; at least 2.
    method : {"algorithm2", "cumulative", "ema", "pooled"}
        The unbiased variance of a mini-batch is ``m / (m - 1)`` times the biased one.

        - ``algorithm2``: ``E[mean]`` and ``m / (m - 1) * E[var]``, line 10 of Algorithm 2, for
          mini-batches of one size.
        - ``cumulative``: the plain average of the means and of the unbiased variances, whatever
          the sizes. PyTorch's running statistics with ``momentum=None``.
        - ``ema``: the exponential moving average of the same two, starting from 0 and 1.
          PyTorch's running statistics.
        - ``pooled``: mean and unbiased variance of all values taken together.
    momentum : float
        For ``ema``: the weight of the NEW value, from 0 to 1.

    Returns
    -------
    mean, var : float64 arrays, shape (C,)

    Raises
    ------
    ValueError
        If the shapes differ, a size is less than 2, a variance is negative, or the sizes differ
        where the method has no place for that.
    """
    means, variances, counts = _as_statistics(means, variances, m, "m", least=2)
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}, expected one of {get_args(Method)}")
    if not isinstance(momentum, NUMBER) or not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum!r}, expected a weight from 0 to 1")
    if method == "algorithm2" and np.any(counts != counts[0]):
        raise ValueError(
            "Algorithm 2 is for mini-batches of one size, and m holds sizes from "
            f"{int(counts.min())} to {int(counts.max())}; use method='pooled' or 'cumulative'"
        )
    unbiased = variances * counts / (counts - 1)
    if method == "pooled":
        mean, var, count = merge_statistics(means, variances, counts)
        return mean, var * count / (count - 1)
    if method == "ema":
        return _moving(means, 0.0, momentum), _moving(unbiased, 1.0, momentum)
    return means.mean(axis=0), unbiased.mean(axis=0)


def merge_statistics(
    means: ArrayLike, variances: ArrayLike, counts: ArrayLike
) -> tuple[Array, Array, Array]:
    """Merge the statistics of shards into those of all their values, exactly.

    The law of total variance: the variance of all is the mean of the shards' variances plus the
    variance of the shards' means, both weighted by the counts. It is what synchronized batch
    normalization computes over devices.

    Parameters
    ----------
    means, variances : array, shape (shards, C)
        Mean and BIASED variance of each shard. Those of an empty shard are not looked at.
    counts : int, or array of int, shape (shards,) or (shards, C)
        Values per channel in each shard, 0 or more.

    Returns
    -------
    mean, var : float64 arrays, shape (C,)
        ``var`` is biased, like what went in; ``var * count / (count - 1)`` is unbiased.
    count : float64 array, shape (C,)

    Raises
    ------
    ValueError
        If the shapes differ, a count or a variance is negative, or all shards are empty.
    """
    means, variances, counts = _as_statistics(means, variances, counts, "counts", least=0)
    total = counts.sum(axis=0)  # (C,)
    if np.any(total == 0):
        raise ValueError("all shards are empty in some channel: there is nothing to merge")
    full = counts > 0
    weights = counts / total  # (shards, C)
    # Distances from one of the means, so that a large common mean costs no digits.
    pivot = np.take_along_axis(means, full.argmax(axis=0)[None], axis=0)  # (1, C)
    distance = np.where(full, means - pivot, 0.0)
    shift = (weights * distance).sum(axis=0)  # (C,)
    within = (weights * np.where(full, variances, 0.0)).sum(axis=0)
    between = (weights * np.square(distance - shift)).sum(axis=0)
    return pivot[0] + shift, within + between, total


def _moving(values: Array, start: float, momentum: float) -> Array:
    average = np.full(values.shape[1:], start)
    for value in values:
        average = average + momentum * (value - average)
    return average


def _as_statistics(
    means: ArrayLike, variances: ArrayLike, counts: ArrayLike, name: str, *, least: int
) -> tuple[Array, Array, Array]:
    """Return all three as float64 arrays of shape (batches, C), or say what does not fit.

    `name` is what the caller calls `counts`.
    """
    means, variances = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    if means.ndim != 2 or means.shape != variances.shape or not len(means):
        raise ValueError(
            f"means and variances have shapes {means.shape} and {variances.shape}, "
            "expected the same (batches, channels) with at least one batch or shard"
        )
    counts = np.asarray(counts)
    if counts.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {counts.dtype}, expected whole numbers")
    odd = counts[~np.isfinite(counts) | (counts != np.floor(counts))]
    if odd.size:
        raise ValueError(
            f"{name} holds {odd[0]:g}, expected whole numbers: how many values per channel each "
            "mean and variance is of"
        )
    if np.any(counts < least):
        raise ValueError(
            f"{name} holds {int(counts.min())}, expected at least {least} values per channel for "
            "each mean and variance"
        )
    if counts.shape not in ((), means.shape[:1], means.shape):
        raise ValueError(
            f"{name} has shape {counts.shape}, expected one number for all of the {len(means)} "
            "means and variances, or one for each"
        )
    if counts.ndim == 1:
        counts = counts[:, None]
    full = np.broadcast_to(counts, means.shape).astype(np.float64)
    if np.any((variances < 0) & (full > 0)):
        raise ValueError(f"variances hold {variances.min():g}, expected 0 or more")
    return means, variances, full
