"""One value per channel, and how it meets an array: the two small tools used everywhere."""

import numpy as np
from numpy.typing import DTypeLike

from bn.reference.checks import Array


def along(values: Array, x: Array, axis: int) -> Array:
    """Reshape one value per channel, (C,), so that it broadcasts along `axis` of `x`."""
    return values.reshape([-1 if a == axis else 1 for a in range(x.ndim)])


def channel_sum(x: Array, axis: int, dtype: DTypeLike | None = None) -> Array:
    """Sum over every axis but `axis`, in float64; shape (C,), of `dtype` or the type of x."""
    others = tuple(a for a in range(x.ndim) if a != axis)
    total: Array = x.sum(axis=others, dtype=np.float64).astype(dtype or x.dtype)
    return total
