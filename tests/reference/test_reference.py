"""What is particular to the reference: its cache, its other backward forms."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bn import reference
from bn.reference import (
    BatchNorm,
    backward_by_equations,
    backward_by_graph,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference_backward,
)

FORMS = [backward_by_graph, backward_by_equations]


# paper: eq-backward-x-hat, eq-backward-var, eq-backward-mean
# paper: eq-backward-x, eq-backward-gamma, eq-backward-beta
@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    m=st.integers(2, 12),
    channels=st.integers(1, 4),
    eps=st.sampled_from([0.1, 1e-2, 1.0]),
)
def test_three_forms_of_the_backward_agree(data, m, channels, eps):
    number = st.floats(-10, 10, allow_subnormal=False)
    x, dy = (data.draw(arrays(np.float64, (m, channels), elements=number)) for _ in range(2))
    gamma = data.draw(arrays(np.float64, channels, elements=number))
    closed = batch_norm_backward(dy, batch_norm_forward(x, gamma, eps=eps)[1])
    for form in FORMS:
        for got, expected in zip(form(dy, x, gamma, eps=eps), closed, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


# paper: alg-1, s3-differentiable
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 4)])
def test_agrees_with_torch_in_float64(rng, shape):
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    gamma, beta = rng.standard_normal(3), rng.standard_normal(3)
    tensors = [torch.tensor(v, requires_grad=True) for v in (x, gamma, beta)]
    out = torch.nn.functional.batch_norm(
        tensors[0], None, None, tensors[1], tensors[2], training=True, eps=1e-3
    )
    out.backward(torch.tensor(dy))
    y, cache = batch_norm_forward(x, gamma, beta, eps=1e-3)
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-11, atol=1e-12)
    for got, tensor in zip(batch_norm_backward(dy, cache), tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-10, atol=1e-11)


def test_the_layer_keeps_the_same_books_as_torch(rng):
    ours, theirs = BatchNorm(3, momentum=0.3), torch.nn.BatchNorm1d(3, momentum=0.3).double()
    for _ in range(5):
        x = 4 + 2 * rng.standard_normal((7, 3))
        np.testing.assert_allclose(
            ours.forward(x), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-10, atol=1e-11
        )
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-12)
    ours.training = False
    theirs.eval()
    np.testing.assert_allclose(
        ours.forward(x), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-10, atol=1e-11
    )


def test_the_cache_names_its_parts(rng):
    x = rng.standard_normal((6, 3)).astype(np.float32)
    _, cache = batch_norm_forward(x, np.array([1.0, 2.0, 3.0]), eps=0.5)
    assert cache.x_hat.shape == x.shape
    assert cache.mean.shape == cache.var.shape == cache.inv_std.shape == cache.gamma.shape == (3,)
    assert cache.axis == 1
    np.testing.assert_allclose(cache.var, x.var(axis=0), rtol=1e-6)  # biased
    np.testing.assert_allclose(cache.inv_std, 1 / np.sqrt(cache.var + 0.5), rtol=1e-6)
    np.testing.assert_array_equal(cache.gamma, [1, 2, 3])


def test_inference_backward_against_central_differences(rng, numerical_gradient):
    x, dy = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    mean, var, gamma = rng.standard_normal(2), rng.uniform(1, 2, 2), rng.standard_normal(2)

    def loss(v, g=gamma, b=(0.0, 0.0)):
        return float(np.sum(dy * reference.batch_norm_inference(v, mean, var, g, np.asarray(b))))

    dx, dgamma, dbeta = batch_norm_inference_backward(dy, x, mean, var, gamma)
    np.testing.assert_allclose(dx, numerical_gradient(loss, x), rtol=1e-7)
    np.testing.assert_allclose(dgamma, numerical_gradient(lambda g: loss(x, g=g), gamma), rtol=1e-7)
    np.testing.assert_allclose(
        dbeta, numerical_gradient(lambda b: loss(x, b=b), np.zeros(2)), rtol=1e-7
    )


def test_backward_needs_a_successful_forward(rng):
    layer = BatchNorm(3)
    with pytest.raises(RuntimeError, match="forward"):
        layer.backward(np.ones((2, 3)))
    layer.forward(rng.standard_normal((4, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        layer.forward(np.ones((1, 3)))
    with pytest.raises(RuntimeError, match="forward"):
        layer.backward(np.ones((4, 3)))  # not silently that of the batch before


def test_without_affine_there_is_nothing_to_learn(rng):
    layer = BatchNorm(3, affine=False)
    x = rng.standard_normal((4, 3))
    np.testing.assert_array_equal(layer.forward(x), batch_norm_forward(x)[0])
    layer.backward(x)
    assert layer.parameters() == layer.gradients() == {}


def test_public_functions_say_what_they_take_give_and_raise():
    for name in reference.__all__:
        text = inspect.getdoc(getattr(reference, name))
        assert text, f"{name} has no docstring"
        if not name.endswith("Error"):
            assert "shape" in text, f"{name} does not state shapes"


def test_gamma_changed_in_place_does_not_reach_an_earlier_forward(rng):
    x, gamma = rng.standard_normal((6, 3)), np.ones(3)
    _, cache = batch_norm_forward(x, gamma)
    before = batch_norm_backward(x, cache)[0]
    gamma *= 2  # as an optimizer does
    np.testing.assert_array_equal(batch_norm_backward(x, cache)[0], before)


@pytest.mark.parametrize(("mean", "var", "name"), [(None, [1.0], "mean"), ([0.0], None, "var")])
def test_inference_backward_needs_the_statistics_too(mean, var, name):
    x = np.ones((4, 1))
    with pytest.raises(TypeError, match=f"{name} is None.*statistics of the population"):
        batch_norm_inference_backward(x, x, mean, var)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_running_statistics_of_one_channel_are_not_those_of_three(rng, name):
    layer = BatchNorm(3)
    setattr(layer, name, np.ones(1))
    with pytest.raises(ValueError, match=rf"{name} has shape \(1,\), expected \(3,\)"):
        layer.forward(rng.standard_normal((5, 3)))
    assert layer.num_batches == 0


def test_inference_backward_is_of_the_forward_that_was(rng):
    layer = BatchNorm(3)
    layer.training = False
    x = rng.standard_normal((6, 3))
    layer.forward(x)
    before = layer.backward(x)
    layer.running_var *= 4
    layer.gamma *= 2
    np.testing.assert_array_equal(layer.backward(x), before)


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        (np.ma.masked_array(np.ones((4, 2))), {}, "masked"),
        (np.ones((4, 0)), {}, "no channels"),
        (np.array([[1e-40], [2e-40]], np.float32), {"eps": 0.0}, "too small to divide"),
    ],
)
def test_inputs_that_would_pass_silently(x, options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        batch_norm_forward(x, **options)


def test_values_too_far_apart_for_their_type():
    x = np.array([[3e38], [-3e38], [1e38]], np.float32)
    with pytest.raises(OverflowError, match="float32"):
        batch_norm_forward(x)


def test_a_wrong_number_of_channels_is_told_as_such():
    with pytest.raises(ValueError, match=r"5 channels.*num_features = 3"):
        BatchNorm(3).forward(np.ones((4, 5)))
    for bad in ({"num_features": "3"}, {"num_features": 3, "axis": 1.5}):
        with pytest.raises(ValueError, match="expected"):
            BatchNorm(**bad)
