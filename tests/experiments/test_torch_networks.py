"""The PyTorch twin of a NumPy network computes the same."""

import numpy as np
import pytest
import torch

from bn.experiments.networks import mnist_network
from bn.experiments.torch_networks import from_numpy
from bn.layers import ReLU, Sequential, softmax_cross_entropy
from bn.reference import BatchNorm


@pytest.mark.parametrize("batch_norm", [True, False])
def test_twins_agree_in_loss_and_gradients(rng, batch_norm):
    network = mnist_network(batch_norm=batch_norm, std=0.1, rng=rng, hidden=20)
    for layer in network.layers:
        for name, value in layer.parameters().items():
            setattr(layer, name, value + 0.1 * rng.standard_normal(value.shape))
    twin = from_numpy(network, dtype=torch.float64)
    x, labels = rng.standard_normal((12, 784)), rng.integers(0, 10, 12)

    loss, dlogits = softmax_cross_entropy(network.forward(x), labels)
    network.backward(dlogits)
    loss_twin = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels))
    loss_twin.backward()

    assert loss_twin.item() == pytest.approx(loss, rel=1e-12)
    ours = [g.T if g.ndim == 2 else g for g in network.gradients().values()]
    theirs = [p.grad.numpy() for p in twin.parameters()]
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-12)
    for layer, module in zip(network.layers, twin, strict=True):
        if isinstance(layer, BatchNorm):
            np.testing.assert_allclose(layer.running_var, module.running_var, rtol=1e-10)


def test_the_twin_has_weights_of_its_own(rng):
    network = mnist_network(batch_norm=True, std=0.1, rng=rng)
    twin = from_numpy(network)
    before = network.layers[0].weight.copy()
    with torch.no_grad():
        twin[0].weight.zero_()
    np.testing.assert_array_equal(network.layers[0].weight, before)


def test_other_layers_are_refused():
    with pytest.raises(TypeError, match="ReLU"):
        from_numpy(Sequential([ReLU()]))
