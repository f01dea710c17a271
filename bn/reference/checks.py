"""What the arguments of batch normalization must be, and what is said when they are not."""

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]
DType = np.dtype[Any]

#: What counts as a whole number, and as a number, in an argument.
WHOLE = (int, np.integer)
NUMBER = (int, float, np.integer, np.floating)

#: The type in which each type of input is computed. Half precision in float64: in float32, where
#: gamma * x_hat and beta nearly cancel, what is left would be wrong by more than its last bit.
COMPUTE_DTYPE: dict[str, DType] = {
    "float16": np.dtype(np.float64),
    "bfloat16": np.dtype(np.float64),  # the type of the ml_dtypes package
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
#: The type of what belongs to the parameters: half precision is too coarse to learn in.
PARAMETER_DTYPE: dict[str, DType] = {
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


#: What to do with a mini-batch whose statistics are NaN or infinite.
NonFinite = Literal["keep", "raise", "propagate"]


class NonFiniteError(ValueError):
    """A batch holds NaN or infinity where running statistics would keep it for ever."""


def not_finite(channel: int) -> NonFiniteError:
    """Return what is raised with ``nonfinite="raise"``."""
    return NonFiniteError(
        f"x holds NaN or infinity, or has a variance that overflows, in channel {channel}; one "
        "such batch would spoil the running statistics for ever, so they were not updated. Find "
        "out where it comes from, or leave such batches out of them with nonfinite='keep'"
    )


def as_input(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of floating-point numbers with at least two axes.

    Raises
    ------
    TypeError
        If its type is not float16, bfloat16, float32 or float64.
    ValueError
        If it has fewer than two axes.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored; fill it first")
    array = np.asarray(value)
    if array.dtype.name not in COMPUTE_DTYPE:
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected one of {', '.join(COMPUTE_DTYPE)}; "
            f"convert it, for example with {name}.astype(np.float32)"
        )
    if array.ndim < 2:
        raise ValueError(
            f"{name} has shape {array.shape}, expected at least two axes, such as "
            f"(batch, channels); for one feature use {name}[:, None]"
        )
    return array


def as_axis(axis: int, shape: tuple[int, ...]) -> int:
    """Return the channel axis as a number from 0 to ``len(shape) - 1``."""
    if not isinstance(axis, WHOLE) or isinstance(axis, bool):
        raise TypeError(f"axis is {axis!r}, expected one integer: the axis of the channels")
    if not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"axis is {axis}, expected a value from {-len(shape)} to {len(shape) - 1} "
            f"for x of shape {shape}"
        )
    return int(axis) % len(shape)


def as_known(name: str, value: ArrayLike | None, channels: int, dtype: DType) -> Array:
    """Return a statistic that is given, one value per channel; there is no default for it."""
    check_known(name, value)
    return as_channels(name, value, 0.0, channels, dtype)


def check_known(name: str, value: object) -> None:
    """Raise if a statistic is None where there is no mini-batch to take it of."""
    if value is None:
        raise TypeError(
            f"{name} is None, and inference needs the statistics of the population: give the "
            "running ones, or normalize with those of the mini-batch by batch_norm_forward"
        )


def as_channels(
    name: str, value: ArrayLike | None, default: float, channels: int, dtype: DType
) -> Array:
    """Return one value per channel, shape ``(channels,)``; `default` everywhere for None."""
    if value is None:
        return np.full(channels, default, dtype)
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and array.dtype.name not in COMPUTE_DTYPE:
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    if array.shape != (channels,):
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({channels},): one value per channel of x"
        )
    return array.astype(dtype)  # a copy: the caller may change its own in place


def check_nonfinite(nonfinite: object) -> None:
    """Raise unless `nonfinite` names a policy."""
    if nonfinite not in get_args(NonFinite):
        raise ValueError(f"nonfinite is {nonfinite!r}, expected one of {get_args(NonFinite)}")


def check_eps(eps: float) -> None:
    """Raise unless `eps` is a finite number of at least 0."""
    if not isinstance(eps, NUMBER) or isinstance(eps, bool):
        raise TypeError(f"eps is {eps!r}, expected a number such as 1e-5")
    if not 0 <= eps < math.inf:  # so that NaN fails, and torch.compile can follow
        raise ValueError(f"eps is {eps}, expected a finite number that is 0 or more")


def check_batch(shape: tuple[int, ...], channels: int) -> None:
    """Raise unless there are at least two values per channel to take statistics of."""
    if channels == 0:
        raise ValueError(f"x has shape {shape}: there are no channels to normalize")
    count = math.prod(shape) // channels
    if count < 2:
        raise ValueError(
            f"x has shape {shape}, {count} value per channel; training needs at least 2, because "
            "one value has no variance. Use a larger batch, or inference with known statistics"
        )


def as_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the mask with the shape of x (a read-only view), or None if there is none."""
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"mask has dtype {array.dtype}, expected bool: True where a value counts")
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"mask has shape {array.shape}, which does not broadcast against x of shape {shape}"
        ) from None


def count_values(
    shape: tuple[int, ...], axis: int, mask: NDArray[np.bool_] | None
) -> NDArray[np.integer]:
    """Return how many values of each channel count, (C,); raise if fewer than two somewhere."""
    check_batch(shape, shape[axis])
    if mask is None:
        return np.full(shape[axis], math.prod(shape) // shape[axis])
    count: NDArray[np.integer] = mask.sum(axis=tuple(a for a in range(len(shape)) if a != axis))
    if np.any(count < 2):
        channel = int(np.argmax(count < 2))
        raise ValueError(
            f"mask lets {count[channel]} values of channel {channel} count; training needs at "
            "least 2, because one value has no variance"
        )
    return count


def check_upstream(dy: Array, shape: tuple[int, ...], *, name: str = "dy") -> None:
    """Raise unless the gradient `dy` has the shape of the output it belongs to."""
    if dy.shape != shape:
        raise ValueError(f"{name} has shape {dy.shape}, expected {shape}: the shape of y")


def check_variance(var: Array, eps: float, dtype: DType, *, name: str) -> None:
    """Raise where ``1 / sqrt(var + eps)`` would not fit in `dtype` although `var` is a number."""
    if np.any(var < 0):
        channel = int(np.argmax(var < 0))
        raise ValueError(f"{name} is {var[channel]} in channel {channel}, expected 0 or more")
    too_small = var + eps <= (1 / float(np.finfo(dtype).max)) ** 2
    if np.any(too_small):
        channel = int(np.argmax(too_small))
        raise ValueError(
            f"eps is {eps:g} and {name} is {var[channel]:g} in channel {channel}: too small to "
            f"divide by in {dtype}. Use a larger eps, or leave the constant channel out"
        )
