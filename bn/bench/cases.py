"""The arrays that are normalized: shapes, layouts, numbers, and the truth about them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EPS = 1e-5

#: The shapes of the tables: two fully connected layers, four convolutional ones.
SHAPES = (
    (256, 1024),
    (4096, 1024),
    (128, 64, 32, 32),
    (128, 256, 8, 8),
    (32, 64, 56, 56),
    (256, 16, 32, 32),
)
IMAGES = tuple(shape for shape in SHAPES if len(shape) == 4)
#: Stand-ins for a run of seconds.
SMALL_SHAPES = ((64, 32), (8, 4, 8, 8))


class Case(NamedTuple):
    """One mini-batch in float32, channels on axis 1 and contiguous, and what is with it."""

    x: Array
    dy: Array
    residual: Array
    gamma: Array
    beta: Array

    @property
    def nbytes(self) -> int:
        """Bytes of x."""
        return int(self.x.nbytes)


def draw(shape: tuple[int, ...], mean: float = 0.0) -> Case:
    """Draw a mini-batch of a shape (N, C, ..) around a mean, with standard deviation 1."""
    rng = np.random.default_rng(20150211)

    def normal() -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    channels = shape[1]
    gamma, beta = rng.uniform(0.5, 1.5, channels), rng.uniform(-0.5, 0.5, channels)
    x = normal() + np.float32(mean)
    return Case(x, normal(), normal(), gamma.astype(np.float32), beta.astype(np.float32))


def channels_last(array: Array) -> Array:
    """Return the array, of shape (N, C, H, W), with its channels last in memory."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)).transpose(0, 3, 1, 2)


def truth(case: Case, eps: float = EPS) -> tuple[Array, Array]:
    """Return y and dx as float64 has them."""
    axes = tuple(axis for axis in range(case.x.ndim) if axis != 1)
    shape = (-1, *[1] * (case.x.ndim - 2))
    x, dy = case.x.astype(np.float64), case.dy.astype(np.float64)
    gamma, beta = (v.astype(np.float64).reshape(shape) for v in (case.gamma, case.beta))
    centred = x - x.mean(axis=axes, keepdims=True)
    inv_std = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    x_hat = centred * inv_std
    means = (a.mean(axis=axes, keepdims=True) for a in (dy, dy * x_hat))
    dx = gamma * inv_std * (dy - next(means) - x_hat * next(means))
    return gamma * x_hat + beta, dx


def name_of(shape: tuple[int, ...]) -> str:
    """Return a shape as it stands in records: ``128x64x32x32``."""
    return "x".join(map(str, shape))
