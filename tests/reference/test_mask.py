"""Masks: padding and ragged batches. What does not count must not matter, and what counts must."""

import numpy as np
import pytest

from bn.reference import BatchNorm, batch_norm_backward, batch_norm_forward
from tests import large_mean


@pytest.fixture
def ragged(rng):
    """Sequences of lengths 5, 2 and 3, padded to 5: x and dy (N, C, L), mask (N, 1, L)."""
    x, dy = rng.standard_normal((2, 3, 4, 5))
    mask = (np.arange(5) < np.array([[5], [2], [3]]))[:, None]
    return x, dy, mask


def counted(values, mask):
    """Return what counts, (values, C)."""
    return np.moveaxis(values, 1, -1)[mask[:, 0]]


def test_what_counts_is_normalized_as_if_the_rest_were_not_there(ragged, rng):
    x, dy, mask = ragged
    gamma, beta = rng.standard_normal((2, 4))
    y, cache = batch_norm_forward(x, gamma, beta, mask=mask)
    alone, alone_cache = batch_norm_forward(counted(x, mask), gamma, beta)
    np.testing.assert_allclose(counted(y, mask), alone, rtol=1e-12)
    np.testing.assert_allclose(cache.mean, alone_cache.mean, rtol=1e-12)
    np.testing.assert_allclose(cache.var, alone_cache.var, rtol=1e-12)
    np.testing.assert_array_equal(cache.count, 10)
    # with no gradient on the padding, the gradients are those without it, too
    got = batch_norm_backward(dy * mask, cache)
    expected = batch_norm_backward(counted(dy, mask), alone_cache)
    np.testing.assert_allclose(counted(got[0], mask), expected[0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-12)
    np.testing.assert_allclose(got[2], expected[2], rtol=1e-12)


def test_padding_is_normalized_with_the_others_statistics(ragged):
    x, _, mask = ragged
    y, cache = batch_norm_forward(x, mask=mask, eps=0.0)
    expected = (x - cache.mean[:, None]) / np.sqrt(cache.var)[:, None]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_gradients_against_central_differences(ragged, rng, numerical_gradient):
    """With gradients on the padding too: it has a path through gamma x_hat, none through them."""
    x, dy, mask = ragged
    gamma, beta = rng.standard_normal((2, 4))

    def loss(x_, g=gamma, b=beta):
        return float(np.sum(dy * batch_norm_forward(x_, g, b, eps=0.1, mask=mask)[0]))

    got = batch_norm_backward(dy, batch_norm_forward(x, gamma, beta, eps=0.1, mask=mask)[1])
    numeric = (
        numerical_gradient(loss, x),
        numerical_gradient(lambda g: loss(x, g=g), gamma),
        numerical_gradient(lambda b: loss(x, b=b), beta),
    )
    for analytic, expected in zip(got, numeric, strict=True):
        np.testing.assert_allclose(analytic, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e300])
def test_padding_may_hold_anything(ragged, garbage):
    x, _, mask = ragged
    clean = batch_norm_forward(x, mask=mask)
    y, cache = batch_norm_forward(np.where(mask, x, garbage), mask=mask)
    np.testing.assert_array_equal(cache.mean, clean[1].mean)
    np.testing.assert_array_equal(cache.var, clean[1].var)
    np.testing.assert_array_equal(counted(y, mask), counted(clean[0], mask))
    layer = BatchNorm(4)
    layer.forward(np.where(mask, x, garbage), mask)
    assert np.isfinite(layer.running_var).all()


def test_a_mask_of_true_is_no_mask(ragged):
    x, dy, _ = ragged
    one, two = batch_norm_forward(x), batch_norm_forward(x, mask=np.array(True))
    np.testing.assert_array_equal(one[0], two[0])
    for a, b in zip(batch_norm_backward(dy, one[1]), batch_norm_backward(dy, two[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_channel_may_have_its_own_count(rng):
    x = rng.standard_normal((6, 2))
    mask = np.ones((6, 2), bool)
    mask[4:, 1] = False
    _, cache = batch_norm_forward(x, mask=mask)
    np.testing.assert_array_equal(cache.count, [6, 4])
    np.testing.assert_allclose(cache.var, [x[:, 0].var(), x[:4, 1].var()], rtol=1e-12)


def test_a_large_mean_costs_no_digits_under_a_mask(rng):
    x = (1e6 + rng.standard_normal((64, 3))).astype(np.float32)
    mask = rng.random((64, 1)) < 0.7
    y, _ = batch_norm_forward(x, mask=mask)
    chosen = x[mask[:, 0]].astype(np.longdouble)
    exact = (x - chosen.mean(axis=0)) / np.sqrt(chosen.var(axis=0) + np.longdouble(1e-5))
    assert np.abs(y - exact).max() < 1e-6


def test_a_large_mean_of_dy_costs_no_digits_under_a_mask(rng):
    """Padding that gets no gradient does not count in the mean that is subtracted."""
    case = large_mean.drawn(rng, (64, 3), "float32")
    mask = np.arange(96)[:, None] < 64
    padded = [np.concatenate([a, np.zeros((32, 3), a.dtype)]) for a in (case.x, case.dy)]
    got = batch_norm_backward(padded[1], batch_norm_forward(padded[0], mask=mask)[1])
    wide = batch_norm_forward(case.x.astype(np.float64))[1]
    expected = batch_norm_backward(case.d.astype(np.float64), wide)
    large_mean.check((got[0][:64], *got[1:]), expected, case, np.ones(3))


def test_the_layer_counts_what_the_mask_lets_through(ragged):
    x, _, mask = ragged
    layer, alone = BatchNorm(4, momentum=1.0), BatchNorm(4, momentum=1.0)
    layer.forward(x, mask)
    alone.forward(counted(x, mask))
    np.testing.assert_allclose(layer.running_mean, alone.running_mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, alone.running_var, rtol=1e-12)  # 10/9, not 15/14


@pytest.mark.parametrize(
    ("mask", "error", "says"),
    [
        (np.ones((3, 1, 5)), TypeError, "dtype float64, expected bool"),
        (np.ones((3, 2, 5), bool), ValueError, r"\(3, 2, 5\).*\(3, 4, 5\)"),
        (np.zeros((3, 1, 5), bool), ValueError, "0 values of channel 0"),
        (np.arange(15).reshape(3, 1, 5) == 7, ValueError, "1 values of channel 0"),
    ],
)
def test_errors(ragged, mask, error, says):
    with pytest.raises(error, match=says):
        batch_norm_forward(ragged[0], mask=mask)
