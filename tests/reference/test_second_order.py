"""The gradient of the gradient, against differences of the backward pass and against torch."""

import numpy as np
import pytest
import torch

from bn.reference import batch_norm_backward, batch_norm_double_backward, batch_norm_forward
from tests import large_mean

SHAPES = [((5, 3), 1), ((3, 4, 5), 1), ((4, 6, 2), -1), ((2, 3, 2, 3), 1)]


def draw(rng, shape, axis):
    x, dy, u = rng.standard_normal((3, *shape))
    gamma, v, w = rng.standard_normal((3, shape[axis]))
    return 3 + 2 * x, dy, gamma, u, v, w


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_against_differences_of_the_backward(rng, numerical_gradient, shape, axis, masked):
    x, dy, gamma, u, v, w = draw(rng, shape, axis)
    mask = rng.random(shape) < 0.8 if masked else None
    if mask is not None:  # two values at least
        np.moveaxis(mask, axis, -1).reshape(-1, shape[axis])[:2] = True
        mask.reshape(-1)[:] |= np.arange(mask.size) < 2 * shape[-1]

    def s(dy_=dy, x_=x, gamma_=gamma):
        cache = batch_norm_forward(x_, gamma_, eps=0.1, axis=axis, mask=mask)[1]
        dx, dgamma, dbeta = batch_norm_backward(dy_, cache)
        return float(np.sum(u * dx) + np.sum(v * dgamma) + np.sum(w * dbeta))

    cache = batch_norm_forward(x, gamma, eps=0.1, axis=axis, mask=mask)[1]
    got = batch_norm_double_backward(u, v, w, dy, cache)
    numeric = (
        numerical_gradient(lambda value: s(dy_=value), dy),
        numerical_gradient(lambda value: s(x_=value), x),
        numerical_gradient(lambda value: s(gamma_=value), gamma),
    )
    for name, analytic, expected in zip(("dy", "x", "gamma"), got, numeric, strict=True):
        np.testing.assert_allclose(analytic, expected, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("shape", "axis"), [s for s in SHAPES if s[1] == 1])
def test_against_torchs_second_gradient(rng, shape, axis):
    x, dy, gamma, u, v, w = draw(rng, shape, axis)
    tensors = [torch.tensor(value, requires_grad=True) for value in (dy, x, gamma)]
    beta = torch.zeros(shape[axis], dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.batch_norm(tensors[1], None, None, tensors[2], beta, True, eps=1e-3)
    first = torch.autograd.grad(y, (*tensors[1:], beta), tensors[0], create_graph=True)
    s = sum((g * torch.tensor(k)).sum() for g, k in zip(first, (u, v, w), strict=True))
    second = torch.autograd.grad(s, tensors)
    cache = batch_norm_forward(x, gamma, eps=1e-3)[1]
    for got, expected in zip(batch_norm_double_backward(u, v, w, dy, cache), second, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-10, atol=1e-11)


def test_the_second_derivative_is_linear_in_what_it_is_given(rng):
    x, dy, gamma, u, v, w = draw(rng, (6, 3), 1)
    cache = batch_norm_forward(x, gamma)[1]
    whole = batch_norm_double_backward(u, v, w, dy, cache)
    zero = np.zeros_like(u)
    parts = [
        batch_norm_double_backward(u, None, None, dy, cache),
        batch_norm_double_backward(zero, v, None, dy, cache),
        batch_norm_double_backward(zero, None, w, dy, cache),
    ]
    for i in range(3):
        np.testing.assert_allclose(whole[i], sum(p[i] for p in parts), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(parts[2][1], 0)  # dbeta does not depend on x


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("added", [(True, False), (False, True), (True, True)])
def test_large_means_of_ddx_and_dy_change_nothing(rng, added, masked):
    """They are exact here, and so is their subtraction in float64 but for 2 c / 2^53 < 2e-9."""
    to_ddx, to_dy = added
    one, two = (large_mean.drawn(rng, (64, 3), "float32") for _ in range(2))
    mask = rng.random((64, 1)) < 0.8 if masked else None
    cache = batch_norm_forward(one.x, mask=mask)[1]
    expected = batch_norm_double_backward(two.d, None, None, one.d, cache)
    dy = one.dy if mask is None else np.where(mask, one.dy, one.d)
    got = batch_norm_double_backward(
        two.dy if to_ddx else two.d, None, None, dy if to_dy else one.d, cache
    )
    for a, b in zip(got, expected, strict=True):  # rounded to float32, perhaps not to the same one
        np.testing.assert_allclose(a, b, rtol=2**-23, atol=1e-6)


def test_types_and_errors(rng):
    x, dy, gamma, u, v, w = draw(rng, (6, 3), 1)
    cache = batch_norm_forward(x.astype(np.float16), gamma)[1]
    for_dy, for_x, for_gamma = batch_norm_double_backward(u, v, w, dy, cache)
    assert (for_dy.dtype, for_x.dtype, for_gamma.dtype) == (np.float16, np.float16, np.float32)
    with pytest.raises(ValueError, match=r"ddx has shape \(5, 3\)"):
        batch_norm_double_backward(u[:5], v, w, dy, cache)
    with pytest.raises(ValueError, match=r"ddgamma has shape \(2,\)"):
        batch_norm_double_backward(u, v[:2], w, dy, cache)
