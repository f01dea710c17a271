"""What the arguments of the functions must be, beyond what bn.reference asks of its own."""

import numpy as np
from numpy.typing import ArrayLike

from bn.kernels.numba_cpu.arrays import Statistics
from bn.kernels.numba_cpu.memory import address_of
from bn.reference import checks
from bn.reference.checks import Array


def as_array(name: str, value: ArrayLike) -> Array:
    """Check an array, and return it in the byte order of the machine."""
    array = checks.as_input(name, value)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_residual(residual: ArrayLike | None, x: Array) -> Array | None:
    """Check the array that is to be added."""
    if residual is None:
        return None
    array = as_array("residual", residual)
    if array.shape != x.shape or array.dtype != x.dtype:
        raise ValueError(
            f"residual has shape {array.shape} and dtype {array.dtype}, "
            f"expected {x.shape} and {x.dtype}, those of x"
        )
    return array


def check_output(name: str, out: Array | None, *, in_place: bool, **inputs: Array | None) -> None:
    """Raise unless `out` overlaps with no input, or, if `in_place`, begins where one does.

    Shape, type and layout are looked at later, where the layout of x is known.
    """
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is a {type(out).__name__}, expected a NumPy array like x")
    for other, array in inputs.items():
        if array is None or not np.may_share_memory(out, array):
            continue
        if not in_place:
            raise ValueError(
                f"{name} overlaps with {other}, which is read again later; give it memory of "
                "its own"
            )
        if address_of(array) != address_of(out):
            raise ValueError(
                f"{name} overlaps with {other}; it may be the same array, or one that has no "
                "memory in common with it"
            )


def check_statistics(x: Array, statistics: Statistics, eps: float, axis: int) -> None:
    """Raise where a channel of finite values has no usable variance.

    Raises
    ------
    OverflowError
        If values are so far apart that their differences do not fit in the type they are
        computed in, or their variance not in float64.
    ValueError
        If `eps` is 0 and a channel is constant.
    """
    computed = checks.COMPUTE_DTYPE[x.dtype.name]
    count = x.size // x.shape[axis]
    with np.errstate(over="ignore", invalid="ignore"):
        # No deviation is larger than the root of the sum of all squares. So if that fits, all do.
        suspects = ~(statistics.var * count < np.float64(np.finfo(computed).max) ** 2)
    for channel in np.flatnonzero(suspects):
        values = np.take(x, channel, axis=axis).astype(np.float64)
        if not np.isfinite(values).all():
            continue
        with np.errstate(over="ignore"):
            largest = np.abs(values - statistics.pivot[channel]).max()
        if not largest <= np.finfo(computed).max or not np.isfinite(statistics.var[channel]):
            raise OverflowError(
                f"the values of channel {channel} of x are too far apart: their differences do "
                f"not fit in {computed}, or their variance not in float64 (largest |x| is "
                f"{np.abs(values).max():.3g}); scale x down"
            )
    checks.check_variance(statistics.var, eps, computed, name="the variance of x")
