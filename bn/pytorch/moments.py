"""Mean and variance of each channel, right for large means and for large and small values.

The same idea as in ``bn.reference.moments``: before anything is summed, subtract a pivot near the
mean, found by way of the first sample. Two things are particular to tensors on a device:

* Sums. The CPU and CUDA have float64, MPS has not. Converting a whole float32 tensor to float64
  in order to sum it takes 10 to 30 times as long as summing it (on a CPU; on a GPU it is three
  times the memory traffic, and consumer GPUs run float64 at 1/32 or 1/64 of the speed). So the
  positions of one example are summed in float32, by torch's pairwise sum, and the examples,
  of which there are few, in float64. After the pivot the numbers are small, and this is accurate.
* Squares. Those of float32 numbers above 1e19 do not fit in float32. Each channel is scaled by a
  power of two, without a rounding error, so that its largest deviation is near 1 when squared.

Nothing here reads a value back from the device, so a GPU never waits.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from bn.pytorch.checks import PARAMETER_DTYPE

#: Types of device that have no float64 at all; there, float32 is the widest.
WITHOUT_FLOAT64 = {"mps"}


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the type of the statistics of `x`: float64 where the device has it."""
    return torch.float32 if x.device.type in WITHOUT_FLOAT64 else torch.float64


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which `x` is computed: its own, or a wider one for half precision.

    On the CPU that is float64: in float32, where ``gamma * x_hat`` and beta nearly cancel, what
    is left would be wrong by more than the rounding to half precision. On a GPU it is float32.
    """
    if PARAMETER_DTYPE[x.dtype] != x.dtype and x.device.type == "cpu":
        return wide_dtype(x)
    return PARAMETER_DTYPE[x.dtype]


def along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Reshape one value per channel, (C,), so that it broadcasts along `axis` of `x`.

    It also gets the type in which `x` is computed.
    """
    shape = [-1 if a == axis else 1 for a in range(x.dim())]
    return values.to(compute_dtype(x)).reshape(shape)


def widened(values: Tensor) -> Tensor:
    """Return a copy in the computing type, laid out as torch would lay out a result like it."""
    return torch.empty_like(values, dtype=compute_dtype(values)).copy_(values)


def rounded(values: Tensor, model: Tensor) -> Tensor:
    """Return `values` in the type and layout of `model`; the tensor itself if it has them."""
    result = torch.empty_like(model)
    if values.dtype == result.dtype and values.stride() == result.stride():
        return values
    return result.copy_(values)


def output_format(x: Tensor) -> torch.memory_format:
    """Return how torch.nn would lay out y.

    So what comes after it may do what it does with torch.nn, such as ``y.view``: whatever the
    strides of x are, y is packed, with the channels last if x looks like that.
    """
    return torch.contiguous_format if x.is_contiguous() else suggest_memory_format(x)


def new_output(x: Tensor) -> Tensor:
    """Return room for a y like `x`, laid out as torch.nn would lay it out."""
    if x.is_contiguous():
        return torch.empty_like(x)
    return torch.empty_like(x, memory_format=output_format(x))


def as_output(y: Tensor, x: Tensor) -> Tensor:
    """Return `y`, in the type of `x`, laid out like :func:`new_output`."""
    if x.is_contiguous() and y.is_contiguous():
        return y
    result = new_output(x)
    return y if y.stride() == result.stride() else result.copy_(y)


def channel_sum(values: Tensor, axis: int) -> Tensor:
    """Sum float32 or float64 values over every axis but `axis`; shape (C,), the wide type."""
    others = [a for a in range(values.dim()) if a != axis]
    wide = wide_dtype(values)
    if values.dtype != wide and len(others) > 1:
        values = values.sum(others[1:], keepdim=True)  # one sum per example and channel
    return values.to(wide).sum(others)


def centre(x: Tensor, pivot: Tensor, offset: Tensor, axis: int) -> Tensor:
    """Return ``(x - pivot) - offset`` as a new tensor in the computing type."""
    centred = widened(x)
    return centred.sub_(along(pivot, x, axis)).sub_(along(offset, x, axis))


def deviations(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return ``values - mean`` in the computing type, and the sum of each channel, (C,).

    A large mean is rounded when it is subtracted. What is left of it is small, and is subtracted
    in turn.
    """
    centred = widened(values)
    total = channel_sum(centred, axis)
    m = values.numel() // values.shape[axis]
    centred -= along(total / m, centred, axis)
    rest = channel_sum(centred, axis)
    centred -= along(rest / m, centred, axis)
    return centred, total


def moments(x: Tensor, eps: float, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the centred values and the statistics of each channel.

    Parameters
    ----------
    x : tensor, any shape with at least two values per channel
    eps : float
        Added to the variance in `inv_std`.
    axis : int
        The axis of the channels, from 0 to ``x.dim() - 1``. There are C channels.

    Returns
    -------
    centred : tensor, the shape of `x`, float32 or float64
        ``x - mean``.
    pivot : tensor, shape (C,), of the type of `centred`
        A number near the mean.
    offset : tensor, shape (C,), of the wide type, like the next two
        ``mean - pivot``. The two together keep digits of a large mean that neither has alone.
    var : tensor, shape (C,)
        The biased variance.
    inv_std : tensor, shape (C,)
        ``1 / sqrt(var + eps)``, finite even where var overflows.

    Raises
    ------
    OverflowError, ValueError
        On the CPU only, see :func:`check_on_cpu`.
    """
    others = [a for a in range(x.dim()) if a != axis]
    m = x.numel() // x.shape[axis]  # values per channel
    # Near the mean: the first sample plus the mean distance from it. Exact if x is constant.
    first = x[tuple(slice(None) if a == axis else slice(0, 1) for a in range(x.dim()))]
    first = first.to(compute_dtype(x))  # (1, C, 1, ..)
    distance = channel_sum(x.to(first.dtype) - first, axis) / m
    pivot = (first.reshape(-1).to(distance.dtype) + distance).to(first.dtype)  # (C,)

    centred = widened(x).sub_(along(pivot, x, axis))
    offset = channel_sum(centred, axis) / m  # (C,), what rounding left
    centred.sub_(along(offset, x, axis))

    largest = torch.maximum(centred.amax(others), -centred.amin(others))  # (C,)
    limit = 100 if centred.dtype == torch.float32 else 1000  # 2^limit fits; so does 2^-limit
    scale = torch.exp2(-largest.log2().floor().clamp(-limit, limit))
    squares = (centred * along(scale, centred, axis)).square_()
    mean_square = channel_sum(squares, axis) / m  # (C,), between 1/m and 4 unless 0
    scale = scale.to(mean_square.dtype)
    std = mean_square.sqrt() / scale
    var = mean_square / scale / scale
    inv_std = 1 / torch.hypot(std, torch.full_like(std, math.sqrt(eps)))

    check_on_cpu(x, var, std, largest, eps, axis)
    return centred, pivot, offset, var, inv_std


def check_on_cpu(
    x: Tensor, var: Tensor, std: Tensor, largest: Tensor, eps: float, axis: int
) -> None:
    """Raise where a channel has no usable variance; on the CPU, where looking costs nothing.

    Elsewhere looking would make the device wait. There, NaN comes out where 0 is divided by 0,
    and infinity as the variance where that overflows.

    Raises
    ------
    OverflowError
        If finite values have a variance that does not fit in float64, or differences that do not
        fit in the type they are computed in.
    ValueError
        If `eps` is 0 and a channel is constant.
    """
    if var.device.type != "cpu":
        return
    overflow = var.isinf() & largest.isfinite() & (var.dtype == torch.float64)
    if overflow.any():
        channel = int(overflow.int().argmax())
        raise OverflowError(
            f"the variance of channel {channel} of x does not fit in float64 "
            f"(largest |x - mean| is {largest[channel]:.3g}); scale x down"
        )
    for channel in (~largest.isfinite()).nonzero().flatten().tolist():
        if x.select(axis, channel).isfinite().all():
            raise OverflowError(
                f"the values of channel {channel} of x are too far apart: their differences do "
                f"not fit in {str(largest.dtype).removeprefix('torch.')} (largest |x| is "
                f"{x.select(axis, channel).abs().max():.3g}); scale x down"
            )
    if eps == 0 and (std == 0).any():
        channel = int((std == 0).int().argmax())
        raise ValueError(
            f"eps is 0 and the variance of x is 0 in channel {channel}: dividing by zero. "
            "Use eps > 0, or leave the constant channel out"
        )


def refuse_third(ctx: Any, *_: Tensor) -> None:
    """Stand where the gradient of a second gradient would be: there is none."""
    raise NotImplementedError(
        "bn.pytorch is differentiable twice by autograd, and this asks for a third derivative. "
        "Nest torch.func.grad, for which bn.pytorch computes by plain operations of torch. (A "
        "third derivative of torch.nn's batch norm is no way out: in training it is wrong.)"
    )
