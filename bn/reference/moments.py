"""Mean and variance that stay right when the mean is large.

Three ways to a variance, worst first, for float32 values of mean 1e6 and variance 1:

* E[x²] − E[x]²: two numbers near 1e12 are subtracted, float32 keeps 7 digits, nothing is left.
* Two passes, mean((x − mean(x))²): the mean itself is rounded, to steps of 0.06 near 1e6.
* Shifted, as here: subtract a pivot near the mean first. Numbers that are near each other
  subtract without a rounding error (Sterbenz's lemma), so what remains is data with a small
  mean, on which two passes are accurate. Any sample would do as a pivot, were it never an
  outlier; so the pivot is the mean, measured from the first sample and rounded.
"""

import numpy as np
from numpy.typing import NDArray

from bn.reference.checks import Array


# paper: s3-mini-batch-statistics
def moments(
    x: Array, axis: int, mask: NDArray[np.bool_] | None = None
) -> tuple[Array, Array, Array]:
    """Return the centred values, the mean and the biased variance of each channel.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    axis : int
        The axis of the channels, from 0 to ``x.ndim - 1``. There are C channels.
    mask : array of bool, the shape of `x`, optional
        True where a value counts; at least one in each channel.

    Returns
    -------
    centred : array, the shape and type of `x`
        ``x - mean``, also of what does not count, taken before the mean is rounded to a number
        near x.
    mean, var : float64 arrays, shape (C,)
        Statistics are few, so they are kept in float64 whatever the type of `x`.

    Raises
    ------
    OverflowError
        If `x` is finite, but its values are too far apart: their differences do not fit in
        the type of `x`, or the variance not in float64. NaN and infinity in `x` are passed
        through to the statistics of their channel.
    """
    others = tuple(a for a in range(x.ndim) if a != axis)
    shape = tuple(x.shape[axis] if a == axis else 1 for a in range(x.ndim))  # broadcasts against x
    counts = True if mask is None else mask

    with np.errstate(invalid="ignore", over="ignore"):  # told apart below
        first = first_value(x, axis, mask).reshape(shape)
        # Sums are accumulated in float64: row after row in float32 they would drift.
        guess = (x - first).mean(axis=others, dtype=np.float64, where=counts)  # (C,)
        pivot = first + guess.reshape(shape).astype(x.dtype)  # (1, C, 1, ..)
        shifted = x - pivot
        offset = shifted.mean(axis=others, dtype=np.float64, where=counts)  # (C,)
        centred = shifted - offset.reshape(shape).astype(x.dtype)
        mean = pivot.reshape(-1).astype(np.float64) + offset
        # Squares in float64: those of float32 numbers above 1e19 would not fit in float32.
        var = np.square(centred, dtype=np.float64).mean(axis=others, where=counts)

    if not np.isfinite(var).all() and np.all(np.isfinite(x), where=counts):
        channel = int(np.argmax(~np.isfinite(var)))
        raise OverflowError(
            f"the values of channel {channel} of x are too far apart: their differences do not "
            f"fit in {x.dtype}, or their variance not in float64 (largest |x| is "
            f"{np.abs(x).max(where=counts, initial=0):.3g}); scale x down"
        )
    return centred, mean, var


def first_value(x: Array, axis: int, mask: NDArray[np.bool_] | None) -> Array:
    """Return the first value of each channel that counts; shape (C,)."""
    if mask is None:
        first: Array = x[tuple(slice(None) if a == axis else 0 for a in range(x.ndim))]
        return first
    by_channel = np.moveaxis(mask, axis, 0).reshape(x.shape[axis], -1)  # (C, values)
    values = np.moveaxis(x, axis, 0).reshape(by_channel.shape)
    return np.take_along_axis(values, by_channel.argmax(axis=1)[:, None], axis=1)[:, 0]
