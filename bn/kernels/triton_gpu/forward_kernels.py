"""The forward pass: in one kernel where a channel fits in one tile, in three where it does not.

Batch norm needs the statistics of a whole channel before it can write its first y. If a program
can hold the channel in registers, x is read once and y written once, and no kernel can do with
less. If it cannot, x has to be read twice, with all programs done with the first time before any
begins with the second; on a GPU that takes another kernel.

Nothing is added up by atomic operations, whose order is chance: the same x gives the same bits.
"""

# Triton reads the annotations of a kernel, and knows none but constexpr.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import triton
import triton.language as tl

from bn.kernels.triton_gpu.tile import (
    before_relu,
    first_of_channel,
    inverse_std,
    moments,
    of_channel,
    part_of,
    place,
    store_at,
    store_of_channel,
)

# rows, the size of the batch, does not make another kernel; it only limits a mask.
jit = triton.jit(do_not_specialize=["rows"])


@triton.jit
def write_y(
    x_hat, gamma_ptr, beta_ptr, residual_ptr, y_ptr, at, inside, channel, channels,
    relu: tl.constexpr,
):  # fmt: skip
    """Scale and shift, add, cut off, round and write."""
    gamma = of_channel(gamma_ptr, channel, channels, 1.0, x_hat.dtype)
    beta = of_channel(beta_ptr, channel, channels, 0.0, x_hat.dtype)
    y = before_relu(x_hat, gamma, beta, residual_ptr, at, inside)
    if relu:
        y = tl.where(y <= 0, 0.0, y)  # NaN is not below 0, and stays
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


# [on-chip]
@jit
def forward_on_chip(
    x_ptr, gamma_ptr, beta_ptr, residual_ptr, y_ptr, pivot_ptr, offset_ptr, var_ptr,
    inv_std_ptr,
    root_eps: tl.constexpr, relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Do everything, for some channels: each program has all their values in its tile."""
    at, inside, channel, start, count = place(
        tl.program_id(0), rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(compute)  # the only time x is read
    first = first_of_channel(x_ptr, start, channel, channels, compute)
    pivot, offset, centred, std = moments(x, first, inside, count.to(compute))
    inv_std = inverse_std(std, root_eps)

    wide_std = std.to(tl.float64)  # the square of a large float32 number fits in float64
    store_of_channel(pivot_ptr, pivot, channel, channels)
    store_of_channel(offset_ptr, offset, channel, channels)
    store_of_channel(var_ptr, wide_std * wide_std, channel, channels)
    store_of_channel(inv_std_ptr, inv_std, channel, channels)
    write_y(
        centred * inv_std, gamma_ptr, beta_ptr, residual_ptr, y_ptr,
        at, inside, channel, channels, relu,
    )  # fmt: skip
    # [/on-chip]


# [partial]
@jit
def partial_moments(
    x_ptr, partial_ptr, parts,
    compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """First of three: leave count, mean and standard deviation of each channel of a tile.

    `partial` is a float64 array of shape (channels, 3, parts). The sum of pivot and offset
    needs its digits; there is one of them to thousands of values of x.
    """
    program = tl.program_id(0)
    at, inside, channel, start, count = place(
        program, rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(compute)
    first = first_of_channel(x_ptr, start, channel, channels, compute)
    pivot, offset, _, std = moments(x, first, inside, count.to(compute))

    mean = pivot.to(tl.float64) + offset.to(tl.float64)
    part = part_of(program, channels, length, block_channels, block_length)
    to = partial_ptr + 3 * parts * channel + part
    store_at(to, tl.zeros_like(std) + count, channel, channels)
    store_at(to + parts, mean, channel, channels)
    store_at(to + 2 * parts, std, channel, channels)
    # [/partial]


# [combine]
@triton.jit
def combine_moments(
    partial_ptr, parts, pivot_ptr, offset_ptr, var_ptr, inv_std_ptr, eps: tl.constexpr,
    block_parts: tl.constexpr,
):  # fmt: skip
    """Second of three: the moments of a channel from those of its parts, in float64.

    With n_p, mean_p and std_p of part p, and m = sum(n_p):

        mean = sum(n_p mean_p) / m
        var  = sum(n_p (std_p^2 + (mean_p - mean)^2)) / m

    Distances are taken from the mean of the first part, for the reason given in ``near_mean``.
    """
    channel = tl.program_id(0).to(tl.int64)
    counts = partial_ptr + channel * 3 * parts
    means, stds = counts + parts, counts + 2 * parts
    base = tl.load(means)
    m, distance = tl.zeros([block_parts], tl.float64), tl.zeros([block_parts], tl.float64)
    for begin in range(0, parts, block_parts):
        part = begin + tl.arange(0, block_parts)
        n = tl.load(counts + part, mask=part < parts, other=0.0)
        mean = tl.load(means + part, mask=part < parts, other=0.0)
        m += n
        distance += tl.where(part < parts, n * (mean - base), 0.0)
    count = tl.sum(m, axis=0)
    shift = tl.sum(distance, axis=0) / count  # mean - base

    squares = tl.zeros([block_parts], tl.float64)
    for begin in range(0, parts, block_parts):
        part = begin + tl.arange(0, block_parts)
        n = tl.load(counts + part, mask=part < parts, other=0.0)
        mean = tl.load(means + part, mask=part < parts, other=0.0)
        std = tl.load(stds + part, mask=part < parts, other=0.0)
        apart = mean - base - shift
        squares += tl.where(part < parts, n * (std * std + apart * apart), 0.0)
    var = tl.sum(squares, axis=0) / count

    pivot = (base + shift).to(pivot_ptr.dtype.element_ty)
    tl.store(pivot_ptr + channel, pivot)
    tl.store(offset_ptr + channel, base - pivot.to(tl.float64) + shift)
    tl.store(var_ptr + channel, var)
    tl.store(inv_std_ptr + channel, 1.0 / tl.sqrt(var + eps))
    # [/combine]


# [normalize]
@jit
def normalize(
    x_ptr, gamma_ptr, beta_ptr, residual_ptr, y_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
    relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Third of three: x once more, and y.

    The programs go from the end of x to its beginning: its end was read last, and may still be
    in the cache.
    """
    at, inside, channel, _, _ = place(
        tl.num_programs(0) - 1 - tl.program_id(0), rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(compute)
    pivot = of_channel(pivot_ptr, channel, channels, 0.0, compute)
    offset = of_channel(offset_ptr, channel, channels, 0.0, compute)
    inv_std = of_channel(inv_std_ptr, channel, channels, 0.0, compute)
    x_hat = ((x - pivot) - offset) * inv_std
    write_y(
        x_hat, gamma_ptr, beta_ptr, residual_ptr, y_ptr,
        at, inside, channel, channels, relu,
    )  # fmt: skip
    # [/normalize]


@jit
def normalize_known(
    x_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, residual_ptr, y_ptr,
    eps: tl.constexpr, relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Do the same with the mean and the variance of the population: inference."""
    at, inside, channel, _, _ = place(
        tl.program_id(0), rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(compute)
    mean = of_channel(mean_ptr, channel, channels, 0.0, mean_ptr.dtype.element_ty)
    near = mean.to(compute)
    rest = (mean - near.to(mean.dtype)).to(compute)  # digits of a float64 mean beyond float32
    var = of_channel(var_ptr, channel, channels, 1.0, compute)
    x_hat = ((x - near) - rest) * (1.0 / tl.sqrt(var + eps))
    write_y(
        x_hat, gamma_ptr, beta_ptr, residual_ptr, y_ptr,
        at, inside, channel, channels, relu,
    )  # fmt: skip
