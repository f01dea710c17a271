"""Whitening: what comes out is white, and the gradient is the right one."""

import numpy as np
import pytest

from bn.experiments.whitening import whiten_backward, whiten_forward
from bn.reference import batch_norm_backward, batch_norm_forward


def batch(rng, m, d):
    """Correlated features of different scales and means."""
    return rng.standard_normal((m, d)) @ rng.standard_normal((d, d)) + 10 * rng.standard_normal(d)


# paper: s2-whitening-cost
def test_mean_0_and_covariance_i(rng):
    y, cache = whiten_forward(batch(rng, 50, 6), eps=0.0)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.T @ y / 50, np.eye(6), atol=1e-10)
    np.testing.assert_allclose(cache.matrix, cache.matrix.T, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_one_feature_is_batch_norm(rng, eps):
    x, dy = batch(rng, 7, 1), rng.standard_normal((7, 1))
    y, cache = whiten_forward(x, eps=eps)
    expected, bn = batch_norm_forward(x, eps=eps)
    np.testing.assert_allclose(y, expected)
    np.testing.assert_allclose(whiten_backward(dy, cache), batch_norm_backward(dy, bn)[0])


# paper: s2-two-jacobians
@pytest.mark.parametrize(("m", "eps"), [(12, 0.0), (12, 0.2), (4, 0.2)])
def test_the_gradient_is_that_of_difference_quotients(rng, numerical_gradient, m, eps):
    x, weight = batch(rng, m, 5), rng.standard_normal((m, 5))
    _, cache = whiten_forward(x, eps=eps)
    numeric = numerical_gradient(
        lambda at: float(np.sum(weight * whiten_forward(at, eps=eps)[0])), x
    )
    scale = np.abs(numeric).max()
    np.testing.assert_allclose(whiten_backward(weight, cache), numeric, atol=1e-6 * scale)


def test_equal_eigenvalues_do_no_harm(rng, numerical_gradient):
    """The eigenvectors jump where eigenvalues meet; the symmetric root does not."""
    x, _ = whiten_forward(batch(rng, 9, 3), eps=0.0)  # covariance I: all of them equal
    weight = rng.standard_normal((9, 3))
    _, cache = whiten_forward(x, eps=0.0)
    numeric = numerical_gradient(
        lambda at: float(np.sum(weight * whiten_forward(at, eps=0.0)[0])), x
    )
    np.testing.assert_allclose(whiten_backward(weight, cache), numeric, atol=1e-8)


def test_as_many_features_as_examples_make_all_distances_equal(rng):
    x = batch(rng, 6, 10)
    y, _ = whiten_forward(x, eps=1e-9)
    distances = np.linalg.norm(y[:, None] - y[None], axis=2)
    np.testing.assert_allclose(distances[~np.eye(6, dtype=bool)], np.sqrt(12), rtol=1e-6)


def test_a_singular_covariance_is_refused(rng):
    for m in (5, 6):  # rank at most m - 1, below d = 6
        with pytest.raises(ValueError, match=f"m = {m} examples with d = 6"):
            whiten_forward(batch(rng, m, 6), eps=0.0)
    whiten_forward(batch(rng, 7, 6), eps=0.0)


def test_other_errors(rng):
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        whiten_forward(np.ones(3))
    _, cache = whiten_forward(batch(rng, 7, 3))
    with pytest.raises(ValueError, match=r"expected \(7, 3\)"):
        whiten_backward(np.ones((7, 4)), cache)
