"""The backward pass: in one kernel where a channel fits in one tile, in three where it does not.

Per channel, with g for the gradient before the ReLU (dy where it was open, otherwise 0), a bar
for the mean over the m values of the channel, and x_hat computed again from x:

    dbeta  = sum(g),   dgamma = sum((g - bar(g)) x_hat)
    dx     = gamma inv_std ((g - bar(g)) - x_hat dgamma / m)

The bar in dgamma changes nothing, since x_hat sums to 0; but with it no digits are lost to a
large mean of dy. For the same reason the mean is subtracted as two numbers.
"""

# Triton reads the annotations of a kernel, and knows none but constexpr.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import triton
import triton.language as tl

from bn.kernels.triton_gpu.tile import (
    before_relu,
    channel_sum,
    of_channel,
    part_of,
    place,
    refined_mean,
    store_at,
    store_of_channel,
)

jit = triton.jit(do_not_specialize=["rows"])


# [gate]
@triton.jit
def x_hat_and_gradient(
    dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr, at,
    inside, channel, channels, relu: tl.constexpr, compute: tl.constexpr,
):  # fmt: skip
    """Compute x_hat again, and the gradient before the ReLU; also return gamma inv_std.

    Neither x_hat nor the ReLU's mask was kept. The same operations in the same order give them
    again, for one more read of x and of the residual.
    """
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(compute)
    pivot = of_channel(pivot_ptr, channel, channels, 0.0, compute)
    offset = of_channel(offset_ptr, channel, channels, 0.0, compute)
    inv_std = of_channel(inv_std_ptr, channel, channels, 0.0, compute)
    gamma = of_channel(gamma_ptr, channel, channels, 1.0, compute)
    x_hat = tl.where(inside, ((x - pivot) - offset) * inv_std, 0.0)
    g = tl.load(dy_ptr + at, mask=inside, other=0.0).to(compute)
    if relu:
        beta = of_channel(beta_ptr, channel, channels, 0.0, compute)
        g = tl.where(before_relu(x_hat, gamma, beta, residual_ptr, at, inside) <= 0, 0.0, g)
    return x_hat, g, gamma * inv_std
    # [/gate]


@triton.jit
def write_dx(x_hat, g, centred, scale, slope, dx_ptr, dresidual_ptr, at, inside):
    """Write dx, and g itself where the residual wants it; `centred` is g less its mean."""
    dx = scale * (centred - x_hat * slope)
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    if dresidual_ptr is not None:
        tl.store(dresidual_ptr + at, g.to(dresidual_ptr.dtype.element_ty), mask=inside)


@jit
def backward_on_chip(
    dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
    dx_ptr, dresidual_ptr, dgamma_ptr, dbeta_ptr,
    relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Do everything, for some channels: each program has all their values in its tiles."""
    at, inside, channel, _, count = place(
        tl.program_id(0), rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x_hat, g, scale = x_hat_and_gradient(
        dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
        at, inside, channel, channels, relu, compute,
    )  # fmt: skip
    m = count.to(compute)
    mean, left = refined_mean(g, inside, m)
    centred = (g - mean) - left
    dgamma = channel_sum(centred * x_hat)  # x_hat is 0 outside
    store_of_channel(dgamma_ptr, dgamma, channel, channels)
    store_of_channel(dbeta_ptr, mean * m + left * m, channel, channels)
    write_dx(x_hat, g, centred, scale, dgamma / m, dx_ptr, dresidual_ptr, at, inside)


# [partial-gradients]
@jit
def partial_gradients(
    dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
    partial_ptr, parts,
    relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """First of three: of each channel of a tile, leave what the next kernel merges.

    That is, in a float64 array of shape (channels, 4, parts): the count, the mean of g, the sum
    of x_hat, and the sum of (g - mean) x_hat.
    """
    program = tl.program_id(0)
    at, inside, channel, _, count = place(
        program, rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x_hat, g, _ = x_hat_and_gradient(
        dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
        at, inside, channel, channels, relu, compute,
    )  # fmt: skip
    mean, left = refined_mean(g, inside, count.to(compute))

    part = part_of(program, channels, length, block_channels, block_length)
    to = partial_ptr + 4 * parts * channel + part
    store_at(to, tl.zeros_like(mean) + count, channel, channels)
    store_at(to + parts, mean.to(tl.float64) + left, channel, channels)
    store_at(to + 2 * parts, channel_sum(x_hat), channel, channels)
    store_at(to + 3 * parts, channel_sum(((g - mean) - left) * x_hat), channel, channels)
    # [/partial-gradients]


# [combine-gradients]
@triton.jit
def combine_gradients(
    partial_ptr, parts, mean_ptr, slope_ptr, dgamma_ptr, dbeta_ptr, block_parts: tl.constexpr,
):  # fmt: skip
    """Second of three: the sums of a channel from those of its parts, in float64.

    With n_p, mean_p, x_p and product_p of part p, in the order of `partial`:

        dgamma = sum(product_p + (mean_p - mean) x_p)

    because g - mean is (g - mean_p) + (mean_p - mean). This is to a covariance what
    ``combine_moments`` is to a variance.
    """
    channel = tl.program_id(0).to(tl.int64)
    counts = partial_ptr + channel * 4 * parts
    means, sums, products = counts + parts, counts + 2 * parts, counts + 3 * parts
    base = tl.load(means)
    m, distance = tl.zeros([block_parts], tl.float64), tl.zeros([block_parts], tl.float64)
    for begin in range(0, parts, block_parts):
        part = begin + tl.arange(0, block_parts)
        n = tl.load(counts + part, mask=part < parts, other=0.0)
        mean = tl.load(means + part, mask=part < parts, other=0.0)
        m += n
        distance += tl.where(part < parts, n * (mean - base), 0.0)
    count = tl.sum(m, axis=0)
    mean_of_all = base + tl.sum(distance, axis=0) / count

    total = tl.zeros([block_parts], tl.float64)
    for begin in range(0, parts, block_parts):
        part = begin + tl.arange(0, block_parts)
        mean = tl.load(means + part, mask=part < parts, other=0.0)
        x_sum = tl.load(sums + part, mask=part < parts, other=0.0)
        product = tl.load(products + part, mask=part < parts, other=0.0)
        total += tl.where(part < parts, product + (mean - mean_of_all) * x_sum, 0.0)
    dgamma = tl.sum(total, axis=0)

    parameter = dgamma_ptr.dtype.element_ty
    tl.store(dgamma_ptr + channel, dgamma.to(parameter))
    tl.store(dbeta_ptr + channel, (mean_of_all * count).to(parameter))
    tl.store(mean_ptr + channel, mean_of_all)
    tl.store(slope_ptr + channel, dgamma / count)
    # [/combine-gradients]


# [gradient]
@jit
def gradient(
    dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
    mean_ptr, slope_ptr, dx_ptr, dresidual_ptr,
    relu: tl.constexpr, compute: tl.constexpr,
    rows, channels, length, block_rows: tl.constexpr, block_channels: tl.constexpr,
    block_length: tl.constexpr, align: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Third of three: x and dy once more, and dx; from the end, as ``normalize`` does it."""
    at, inside, channel, _, _ = place(
        tl.num_programs(0) - 1 - tl.program_id(0), rows, channels, length,
        block_rows, block_channels, block_length, align, wide,
    )  # fmt: skip
    x_hat, g, scale = x_hat_and_gradient(
        dy_ptr, x_ptr, gamma_ptr, beta_ptr, residual_ptr, pivot_ptr, offset_ptr, inv_std_ptr,
        at, inside, channel, channels, relu, compute,
    )  # fmt: skip
    exact = of_channel(mean_ptr, channel, channels, 0.0, tl.float64)
    mean = exact.to(compute)
    centred = (g - mean) - (exact - mean).to(compute)
    slope = of_channel(slope_ptr, channel, channels, 0.0, compute)
    write_dx(x_hat, g, centred, scale, slope, dx_ptr, dresidual_ptr, at, inside)
    # [/gradient]
