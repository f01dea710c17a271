"""Every layer against central differences in float64, and against torch where it has a twin."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from bn.layers import (
    SGD,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    softmax_cross_entropy,
)
from bn.reference import BatchNorm

F64 = np.float64


def away_from_zero(rng, shape):
    """Numbers of both signs with magnitude from 0.5 to 1.5: no kink of ReLU is near."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)


def perturb(network, rng):
    """Move every parameter away from 0 and 1, so that no error hides behind them."""
    for value in network.parameters().values():
        value[...] = away_from_zero(rng, value.shape)


CASES = {
    "Linear": ((4, 3), lambda g: Linear(3, 5, std=1, rng=g, dtype=F64)),
    "Linear without bias": ((4, 3), lambda g: Linear(3, 5, std=1, rng=g, bias=False, dtype=F64)),
    "Sigmoid": ((4, 3), lambda g: Sigmoid()),
    "ReLU": ((4, 3), lambda g: ReLU()),
    "Flatten": ((2, 3, 2, 2), lambda g: Flatten()),
    "BatchNorm": ((4, 3), lambda g: BatchNorm(3, eps=0.1)),
    "BatchNorm on maps": ((2, 3, 2, 2), lambda g: BatchNorm(3, eps=0.1)),
    "Conv2d": ((2, 3, 5, 4), lambda g: Conv2d(3, 2, 3, std=1, rng=g, dtype=F64)),
    "Conv2d stride padding": (
        (2, 2, 5, 6),
        lambda g: Conv2d(2, 3, 3, std=1, rng=g, stride=2, padding=1, dtype=F64),
    ),
    "Conv2d 1x1": (
        (2, 3, 4, 4),
        lambda g: Conv2d(3, 2, 1, std=1, rng=g, bias=False, dtype=F64),
    ),
    "AvgPool2d": ((2, 2, 4, 4), lambda g: AvgPool2d(2)),
    "AvgPool2d overlapping": ((2, 2, 5, 5), lambda g: AvgPool2d(3, stride=1)),
    "MaxPool2d": ((2, 2, 4, 4), lambda g: MaxPool2d(2)),
    "MaxPool2d overlapping, rest left out": ((2, 2, 6, 5), lambda g: MaxPool2d(3, stride=2)),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, rng, numerical_gradient):
    shape, make = CASES[name]
    layer = make(rng)
    perturb(layer, rng)
    x = away_from_zero(rng, shape)
    weight = rng.standard_normal(layer.forward(x).shape)

    def loss(_=None):
        return float(np.sum(weight * layer.forward(x)))

    loss()
    dx = layer.backward(weight)
    gradients = {k: v.copy() for k, v in layer.gradients().items()}
    assert dx.shape == x.shape
    np.testing.assert_allclose(
        dx,
        numerical_gradient(lambda v: float(np.sum(weight * layer.forward(v))), x),
        rtol=1e-6,
        atol=1e-8,
    )
    assert gradients.keys() == layer.parameters().keys()
    for key, value in layer.parameters().items():

        def moved(new, value=value):
            old = value.copy()
            value[...] = new
            result = loss()
            value[...] = old
            return result

        numeric = numerical_gradient(moved, value.copy())
        np.testing.assert_allclose(gradients[key], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, 2)])
def test_convolution_is_torchs(rng, stride, padding):
    x = rng.standard_normal((2, 3, 9, 8))
    layer = Conv2d(3, 4, 3, std=1, rng=rng, stride=stride, padding=padding, dtype=F64)
    perturb(layer, rng)
    expected = functional.conv2d(
        *map(torch.tensor, (x, layer.weight, layer.bias)), stride=stride, padding=padding
    )
    np.testing.assert_allclose(layer.forward(x), expected.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 1), (3, 2)])
def test_pooling_is_torchs(rng, size, stride):
    x = rng.standard_normal((2, 3, 7, 6))
    for ours, theirs in ((MaxPool2d, functional.max_pool2d), (AvgPool2d, functional.avg_pool2d)):
        expected = theirs(torch.tensor(x), size, stride).numpy()
        np.testing.assert_allclose(ours(size, stride=stride).forward(x), expected, rtol=1e-12)


def test_cross_entropy(rng, numerical_gradient):
    logits, labels = 3 * rng.standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])
    loss, dlogits = softmax_cross_entropy(logits, labels)
    expected = functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    numeric = numerical_gradient(lambda v: softmax_cross_entropy(v, labels)[0], logits)
    np.testing.assert_allclose(dlogits, numeric, rtol=1e-6, atol=1e-9)


def test_cross_entropy_does_not_overflow():
    loss, dlogits = softmax_cross_entropy(np.array([[1e4, -1e4], [0.0, 0.0]]), np.array([1, 0]))
    assert loss == pytest.approx((2e4 + np.log(2)) / 2)
    assert np.isfinite(dlogits).all()


def test_sigmoid_does_not_overflow():
    y = Sigmoid().forward(np.array([-1e4, 0.0, 1e4]))
    np.testing.assert_array_equal(y, [0, 0.5, 1])


# paper: s31-insert, eq-layer
def test_a_whole_network(rng, numerical_gradient):
    """The kind of network that section 4.1 trains, and a convolutional one, end to end."""
    labels = np.array([0, 1, 2, 1])
    fully = Sequential(
        [
            Linear(6, 5, std=1, rng=rng, bias=False, dtype=F64),
            BatchNorm(5, eps=0.1),
            Sigmoid(),
            Linear(5, 3, std=1, rng=rng, dtype=F64),
        ]
    )
    convolutional = Sequential(
        [
            Conv2d(2, 3, 3, std=1, rng=rng, padding=1, bias=False, dtype=F64),
            BatchNorm(3, eps=0.1),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear(12, 3, std=1, rng=rng, dtype=F64),
        ]
    )
    for network, shape in ((fully, (4, 6)), (convolutional, (4, 2, 4, 4))):
        perturb(network, rng)
        x = rng.standard_normal(shape)
        network.backward(softmax_cross_entropy(network.forward(x), labels)[1])
        gradients = {k: v.copy() for k, v in network.gradients().items()}
        for key, value in network.parameters().items():

            def loss(new, value=value, network=network, x=x):
                old = value.copy()
                value[...] = new
                result = softmax_cross_entropy(network.forward(x), labels)[0]
                value[...] = old
                return result

            numeric = numerical_gradient(loss, value.copy())
            np.testing.assert_allclose(gradients[key], numeric, rtol=1e-5, atol=1e-9)


# paper: s1-mini-batch
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(rng, momentum):
    layer = Linear(3, 2, std=1, rng=rng, dtype=F64)
    twin = {k: torch.tensor(v, requires_grad=True) for k, v in layer.parameters().items()}
    ours = SGD(layer, lr=0.1, momentum=momentum)
    theirs = torch.optim.SGD(twin.values(), lr=0.1, momentum=momentum)
    x = rng.standard_normal((4, 3))
    for _ in range(5):
        layer.backward(layer.forward(x))  # gradient of sum(y**2) / 2
        ours.step()
        theirs.zero_grad()
        ((torch.tensor(x) @ twin["weight"] + twin["bias"]) ** 2).sum().div(2).backward()
        theirs.step()
    for key, value in layer.parameters().items():
        np.testing.assert_allclose(value, twin[key].detach().numpy(), rtol=1e-10)


def test_training_and_inference_reach_every_layer(rng):
    network = Sequential([Linear(2, 2, std=1, rng=rng), BatchNorm(2), Sigmoid()])
    network.train(False)
    assert [layer.training for layer in network.layers] == [False] * 3
    network.train()
    assert all(layer.training for layer in network.layers)


def test_equal_generators_draw_equal_weights():
    one, two = (Linear(4, 3, std=0.1, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)
    assert one.weight.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda g: Linear(0, 3, std=1, rng=g), "at least 1"),
        (lambda g: Linear(2, 3, std=1, rng=g).forward(np.ones((4, 3))), r"\(4, 3\).*\(N, 2\)"),
        (lambda g: Conv2d(2, 3, 3, std=1, rng=g, stride=0), "at least 1"),
        (lambda g: Conv2d(2, 3, 3, std=1, rng=g).forward(np.ones((1, 3, 4, 4))), r"\(N, 2, H, W\)"),
        (lambda g: Conv2d(1, 1, 5, std=1, rng=g).forward(np.ones((1, 1, 4, 4))), "does not fit"),
        (lambda g: MaxPool2d(0), "at least 1"),
        (lambda g: MaxPool2d(2).forward(np.ones((4, 4))), r"\(4, 4\)"),
        (lambda g: SGD(Linear(2, 2, std=1, rng=g), lr=0), "lr is 0"),
        (lambda g: SGD(Linear(2, 2, std=1, rng=g), lr=1, momentum=1), "momentum 1"),
        (lambda g: softmax_cross_entropy(np.ones((2, 3)), np.array([0, 3])), "from 0 to 2"),
        (lambda g: softmax_cross_entropy(np.ones((2, 3)), np.array([0])), r"\(2, 3\)"),
    ],
)
def test_errors(call, says, rng):
    with pytest.raises(ValueError, match=says):
        call(rng)
