"""How many digits are right, against the textbook in extended precision.

Means of 1e6 and constant channels are in the contract, which every implementation is held to.
"""

import ml_dtypes
import numpy as np
import pytest

from bn.reference import batch_norm_backward, batch_norm_forward

HALF = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


def exact(x, gamma, beta, eps):
    wide = np.longdouble
    x = x.astype(wide)
    x_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + wide(eps))
    return gamma.astype(wide) * x_hat + beta.astype(wide)


def ulp_error(got, truth):
    """Distance from the truth, in units of the last place of the result's type."""
    nearest = truth.astype(np.float64).astype(got.dtype)
    finfo = ml_dtypes.finfo(got.dtype)
    exponent = np.floor(np.log2(np.maximum(np.abs(nearest.astype(float)), float(finfo.tiny))))
    spacing = np.ldexp(1.0, exponent.astype(int) - finfo.nmant)
    return np.abs(got.astype(np.longdouble) - truth) / spacing


def cancelling(rng, dtype):
    """Return x, gamma and beta such that the y of the first row is nearly zero."""
    x = (3 + 2 * rng.standard_normal((512, 16))).astype(dtype)
    gamma = rng.standard_normal(16)
    first = exact(x, gamma, np.zeros(16), 1e-5)[0]
    return x, gamma, -first.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_rounded_once(rng, dtype):
    """At most half a unit in the last place, also where gamma x_hat and beta nearly cancel."""
    x, gamma, beta = cancelling(rng, dtype)
    y, _ = batch_norm_forward(x, gamma, beta)
    assert y.dtype == dtype
    assert ulp_error(y, exact(x, gamma, beta, 1e-5)).max() <= 0.51


def test_half_precision_in_float32_would_not_be(rng):
    """The test above can fail: the same numbers by way of float32 miss the bound."""
    x, gamma, beta = cancelling(rng, HALF[1])
    y, _ = batch_norm_forward(x.astype(np.float32), gamma, beta)
    assert ulp_error(y.astype(x.dtype), exact(x, gamma, beta, 1e-5)).max() > 0.51


def test_values_near_1e30_in_float32(rng):
    x = (1e30 * rng.standard_normal((256, 4))).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    y, cache = batch_norm_forward(x)
    dx, _, _ = batch_norm_backward(dy, cache)
    scaled, scaled_cache = batch_norm_forward(x.astype(np.float64))
    np.testing.assert_allclose(y, scaled, rtol=1e-5, atol=1e-6)
    assert np.isfinite(cache.var).all()
    expected, _, _ = batch_norm_backward(dy.astype(np.float64), scaled_cache)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert np.abs(dx).max() > 0


def test_what_does_not_fit_raises_with_a_word(rng):
    with pytest.raises(OverflowError, match=r"channel 0.*scale x down"):
        batch_norm_forward(1e200 * rng.standard_normal((8, 2)))
    with pytest.raises(OverflowError, match="float32"):
        batch_norm_forward(np.array([[-3e38], [3e38]], np.float32))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (dtype, value)
        for dtype in ("float16", "float32", "float64")
        for value in (1.0, 1e-7, 6e4, 1e9, 1e30, 3e38, 1e300)
        if value < float(np.finfo(dtype).max)
    ],
)
@pytest.mark.parametrize("shape", [(64, 3), (1, 1, 10, 10), (3, 5, 7)])
def test_a_constant_channel_is_exactly_beta(dtype, value, shape):
    beta = np.linspace(-1, 1, shape[1])
    y, cache = batch_norm_forward(np.full(shape, value, dtype), None, beta)
    expected = np.broadcast_to(beta.reshape(-1, *[1] * (len(shape) - 2)), shape).astype(dtype)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(cache.var, 0)
