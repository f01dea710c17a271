"""Batch normalization in NumPy as it is often written: what the kernels are compared with.

Both take the mean over all axes but 1, then the mean of the squared differences. The first goes
back through the graph step by step, as one learns it; the second uses the closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Cache = tuple[Array, ...]
Gradients = tuple[Array, Array, Array]


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def _across(vector: Array, x: Array) -> Array:
    """Lay a vector along axis 1."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))  # (C, 1, ..)


def forward_steps(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Cache]:
    """Compute y, and keep every intermediate result that the way back needs."""
    axes = _axes(x)
    mean = x.mean(axis=axes, keepdims=True)  # (1, C, 1, ..)
    centred = x - mean
    squared = centred**2
    var = squared.mean(axis=axes, keepdims=True)
    std = np.sqrt(var + np.float32(eps))
    inv_std = 1 / std
    x_hat = centred * inv_std
    scaled = _across(gamma, x) * x_hat
    y = scaled + _across(beta, x)
    return y, (x_hat, centred, inv_std, std, gamma)


def backward_steps(dy: Array, cache: Cache) -> Gradients:
    """Go back through the graph, one node after another."""
    x_hat, centred, inv_std, std, gamma = cache
    axes, m = _axes(dy), np.float32(dy.size // dy.shape[1])
    dbeta = dy.sum(axis=axes)
    dgamma = (dy * x_hat).sum(axis=axes)
    dx_hat = dy * _across(gamma, dy)
    dinv_std = (dx_hat * centred).sum(axis=axes, keepdims=True)
    dcentred = dx_hat * inv_std
    dstd = -1 / std**2 * dinv_std
    dvar = np.float32(0.5) / std * dstd
    dsquared = np.ones_like(dy) * dvar / m
    dcentred += 2 * centred * dsquared
    dmean = -dcentred.sum(axis=axes, keepdims=True)
    dx = dcentred + np.ones_like(dy) * dmean / m
    return dx, dgamma, dbeta


def forward_closed(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Cache]:
    """Compute y, and keep x_hat."""
    axes = _axes(x)
    mean = x.mean(axis=axes, keepdims=True)  # (1, C, 1, ..)
    inv_std = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + np.float32(eps))
    x_hat = (x - mean) * inv_std
    return _across(gamma, x) * x_hat + _across(beta, x), (x_hat, inv_std, gamma)


def backward_closed(dy: Array, cache: Cache) -> Gradients:
    """Return gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat))."""
    x_hat, inv_std, gamma = cache
    axes, m = _axes(dy), np.float32(dy.size // dy.shape[1])
    dbeta = dy.sum(axis=axes)
    dgamma = (dy * x_hat).sum(axis=axes)
    slope = _across(gamma, dy) * inv_std
    dx = slope * (dy - (_across(dbeta, dy) + x_hat * _across(dgamma, dy)) / m)
    return dx, dgamma, dbeta
