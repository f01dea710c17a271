"""What a program does with its tile: where it lies, and the sums over each of its channels.

In Triton a *program* is what CUDA calls a thread block. It computes on whole tiles of numbers,
and its compiler deals them out to the threads. All programs run the same kernel, each on a tile
of its own, in no order that could be relied on.

x is seen as an array of three dimensions, whatever shape it has: rows, channels, and the
positions of a channel in a row (``grid.View``). Its tile has three dimensions as well, and what
belongs to a channel, like its mean, has the shape (1, channels, 1), so that it broadcasts.

A tile has a size fixed at compile time, x has not. So at the borders of x some elements of a tile
lie outside of it; ``inside`` masks them out.
"""

# Triton reads the annotations of a kernel, and knows none but constexpr.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import triton
import triton.language as tl


# [place]
@triton.jit
def place(
    program,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Say where the tile of a program lies.

    Returns the offsets of its elements in memory, which of them are inside of x, its channels,
    the offset of its first value in each channel, and how many values it has of a channel.

    Programs are numbered as the memory of x is: neighbours read what lies side by side.
    """
    if wide:  # offsets beyond 2^31 need 64 bits
        program = program.to(tl.int64)
    length = length // align * align  # changes nothing, and tells the compiler what it may assume
    across = tl.cdiv(length, block_length)  # tiles side by side in a channel
    layer = tl.cdiv(channels, block_channels) * across  # tiles with the same rows
    first_row = program // layer * block_rows
    first_channel = program % layer // across * block_channels
    first_position = program % across * block_length

    row = (first_row + tl.arange(0, block_rows))[:, None, None]
    channel = first_channel + tl.arange(0, block_channels)
    middle = channel[None, :, None]
    position = (first_position + tl.arange(0, block_length))[None, None, :]
    at = (row * channels + middle) * length + position  # (rows, channels, positions)
    inside = (row < rows) & (middle < channels) & (position < length)

    start = (first_row * channels + channel) * length + first_position  # (channels,)
    count = tl.minimum(rows - first_row, block_rows)
    count *= tl.minimum(length - first_position, block_length)
    return at, inside, channel, start, count
    # [/place]


@triton.jit
def part_of(program, channels, length, block_channels: tl.constexpr, block_length: tl.constexpr):
    """Return which part of its channels a tile is, counted from 0."""
    across = tl.cdiv(length, block_length)
    layer = tl.cdiv(channels, block_channels) * across
    return program // layer * across + program % across


@triton.jit
def of_channel(pointer, channel, channels, default: tl.constexpr, compute: tl.constexpr):
    """Load one number per channel, (1, channels, 1); the default where there is no vector."""
    if pointer is None:
        return tl.full([1, channel.shape[0], 1], default, compute)
    numbers = tl.load(pointer + channel, mask=channel < channels, other=default).to(compute)
    return numbers[None, :, None]


@triton.jit
def first_of_channel(pointer, start, channel, channels, compute: tl.constexpr):
    """Load the first value that a tile has of each channel, (1, channels, 1)."""
    numbers = tl.load(pointer + start, mask=channel < channels, other=0.0).to(compute)
    return numbers[None, :, None]


@triton.jit
def store_at(pointers, values, channel, channels):
    """Store one number per channel, (1, channels, 1), where `pointers`, (channels,), point to."""
    numbers = tl.reshape(values, channel.shape).to(pointers.dtype.element_ty)
    tl.store(pointers, numbers, mask=channel < channels)


@triton.jit
def store_of_channel(pointer, values, channel, channels):
    """Store one number per channel in a vector."""
    store_at(pointer + channel, values, channel, channels)


# [sums]
@triton.jit
def channel_sum(values):
    """Sum over all but the channels; (1, channels, 1)."""
    return tl.sum(tl.sum(values, axis=2, keep_dims=True), axis=0, keep_dims=True)


@triton.jit
def channel_max(values):
    """Return the largest value of each channel; (1, channels, 1)."""
    return tl.max(tl.max(values, axis=2, keep_dims=True), axis=0, keep_dims=True)


@triton.jit
def near_mean(values, first, inside, count):
    """Return the mean of each channel, wrong by some rounding.

    `first` is any value of the channel. What is summed are distances from it: small numbers even
    where the mean is large, and zeros where all values are the same.
    """
    distance = tl.where(inside, values - first, 0.0)
    return first + channel_sum(distance) / count


@triton.jit
def refined_mean(values, inside, count):
    """Return the mean of each channel, and what rounding left of it; values are 0 outside.

    The two together have digits of a large mean that neither has alone.
    """
    mean = channel_sum(values) / count
    left = tl.where(inside, values - mean, 0.0)
    return mean, channel_sum(left) / count
    # [/sums]


# [statistics]
@triton.jit
def moments(values, first, inside, count):
    """Return pivot and offset, whose sum is the mean, ``values - mean``, and the std.

    As in bn.pytorch: a pivot near the mean, what rounding left of the mean after it, and the
    squares of what is left after both. Squares of float32 numbers above 1e19 do not fit in
    float32, so each channel is scaled by a power of two first.
    """
    pivot = near_mean(values, first, inside, count)
    centred = tl.where(inside, values - pivot, 0.0)
    offset = channel_sum(centred) / count
    centred = tl.where(inside, centred - offset, 0.0)

    scale = inverse_power(channel_max(tl.abs(centred)))
    scaled = centred * scale  # the largest is between 1 and 2
    std = tl.sqrt(channel_sum(scaled * scaled) / count) / scale
    return pivot, offset, centred, std
    # [/statistics]


@triton.jit
def inverse_power(largest):
    """Return 1 over the largest power of two that is not above a number, which is not negative.

    The bits of a float are its sign, its exponent plus a bias, and its mantissa. So a power of
    two is an exponent alone, and its inverse mirrors the exponent at the bias: no rounding.
    """
    integer: tl.constexpr = tl.int64 if largest.dtype == tl.float64 else tl.int32
    mantissa: tl.constexpr = 52 if largest.dtype == tl.float64 else 23  # in bits
    bias: tl.constexpr = 1023 if largest.dtype == tl.float64 else 127
    exponent = largest.to(integer, bitcast=True) >> mantissa
    exponent = tl.minimum(tl.maximum(exponent, 1), 2 * bias - 1)  # 0 and infinity have no inverse
    return ((2 * bias - exponent) << mantissa).to(largest.dtype, bitcast=True)


@triton.jit
def inverse_std(std, root_eps: tl.constexpr):
    """Return ``1 / sqrt(std^2 + eps)``, also where the square would not fit."""
    other = tl.full(std.shape, root_eps, std.dtype)
    larger = tl.maximum(std, other, propagate_nan=tl.PropagateNan.ALL)
    ratio = tl.minimum(std, other, propagate_nan=tl.PropagateNan.ALL) / larger
    return 1.0 / (larger * tl.sqrt(1.0 + ratio * ratio))


# [affine]
@triton.jit
def before_relu(x_hat, gamma, beta, residual_ptr, at, inside):
    """Return ``gamma x_hat + beta + residual``.

    The backward pass must find the sign that the forward pass has seen. So kernels are launched
    with ``enable_fp_fusion=False``: left to itself, the compiler would make one operation with
    one rounding of a product and a sum, in one kernel and perhaps not in the other.
    """
    value = x_hat * gamma + beta
    if residual_ptr is not None:
        value += tl.load(residual_ptr + at, mask=inside, other=0.0).to(x_hat.dtype)
    return value
    # [/affine]
