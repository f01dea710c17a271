"""Folding: the two maps in a row and the folded one are the same, where that can be."""

import numpy as np
import pytest

from bn.layers import AvgPool2d, Conv2d, Flatten, Linear, ReLU, Sequential, fold
from bn.reference import BatchNorm, batch_norm_inference, fold_batch_norm


def settled(channels, rng, **settings):
    """Return a batch norm as after training, with everything away from its start."""
    norm = BatchNorm(channels, **settings)
    norm.running_mean = rng.standard_normal(channels)
    norm.running_var = rng.uniform(0.3, 3, channels)
    if norm.gamma is not None:
        norm.gamma, norm.beta = rng.uniform(-2, 2, channels), rng.standard_normal(channels)
    norm.training = False
    return norm


# paper: eq-affine, s32-inference
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("padding", "stride"), [(0, 1), (1, 1), (2, 2)])
def test_a_convolution(rng, bias, affine, padding, stride):
    conv = Conv2d(
        3, 4, 3, std=0.5, rng=rng, bias=bias, padding=padding, stride=stride, dtype=np.float64
    )
    if bias:
        conv.bias = rng.standard_normal(4)
    norm = settled(4, rng, affine=affine, eps=0.1)
    network = Sequential([conv, norm, ReLU()])
    network.train(False)
    folded = fold(network)
    assert len(folded.layers) == 2
    x = rng.standard_normal((2, 3, 6, 5))
    np.testing.assert_allclose(folded.forward(x), network.forward(x), atol=1e-12)
    assert len(network.layers) == 3
    assert (conv.bias is None) != bias


def test_a_whole_network_and_what_stays(rng):
    layers = [
        Conv2d(1, 4, 3, std=0.5, rng=rng, bias=False),
        settled(4, rng),
        ReLU(),
        settled(4, rng),  # behind a nonlinearity
        AvgPool2d(2),
        Flatten(),
        Linear(16, 5, std=0.5, rng=rng),
        settled(5, rng),
    ]
    network = Sequential(layers)
    network.train(False)
    folded = fold(network)
    assert [type(layer) for layer in folded.layers] == [
        Conv2d, ReLU, BatchNorm, AvgPool2d, Flatten, Linear
    ]  # fmt: skip
    x = rng.standard_normal((3, 1, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(folded.forward(x), network.forward(x), rtol=1e-4, atol=1e-5)
    assert not folded.training


def test_channels_elsewhere_are_refused(rng):
    network = Sequential([Linear(3, 4, std=1.0, rng=rng), settled(4, rng, axis=-1)])
    with pytest.raises(ValueError, match="has axis -1, expected 1"):
        fold(network)


def test_float16_is_rounded_once(rng):
    weight, mean = rng.standard_normal((4, 3)).astype(np.float16), rng.standard_normal(4)
    var = rng.uniform(0.5, 2, 4)
    folded, shift = fold_batch_norm(weight, None, mean, var, eps=0.0)
    assert folded.dtype == shift.dtype == np.float16
    exact = weight.astype(float) / np.sqrt(var)[:, None]
    np.testing.assert_array_equal(folded, exact.astype(np.float16))


def test_a_large_mean_costs_digits_once_folded(rng):
    """y = a x + b is the difference of two terms of size mean / std, which float32 rounds."""
    ones = np.eye(1, dtype=np.float32)
    x = 1e4 + rng.standard_normal((1000, 1)).astype(np.float32)
    right = batch_norm_inference(x.astype(float), [1e4], [1.0])
    weight, bias = fold_batch_norm(ones, None, [1e4], [1.0])
    folded = x @ weight + bias
    apart = batch_norm_inference(x, [1e4], [1.0])
    assert abs(apart - right).max() < 1e-6
    assert 1e-5 < abs(folded - right).max() < 1e-2


def test_as_torch_folds(rng):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    conv, norm = torch.nn.Conv2d(3, 4, 3, padding=1).double(), torch.nn.BatchNorm2d(4).double()
    norm.running_mean.copy_(torch.tensor(rng.standard_normal(4)))
    norm.running_var.copy_(torch.tensor(rng.uniform(0.5, 2, 4)))
    theirs = fuse_conv_bn_eval(conv.eval(), norm.eval())
    weight, bias = fold_batch_norm(
        conv.weight.detach().numpy(), conv.bias.detach().numpy(), norm.running_mean.numpy(),
        norm.running_var.numpy(), norm.weight.detach().numpy(), norm.bias.detach().numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(weight, theirs.weight.detach().numpy())
    np.testing.assert_allclose(bias, theirs.bias.detach().numpy())


def test_what_does_not_fit(rng):
    with pytest.raises(ValueError, match="mean has shape"):
        fold_batch_norm(np.ones((4, 3)), None, np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="var"):
        fold_batch_norm(np.ones((4, 3)), None, np.zeros(4), -np.ones(4))
