"""Training steps of whole networks, on images drawn at random: their content costs no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

#: Sizes of mini-batches: the paper's for MNIST, this book's for CIFAR-10.
MNIST_BATCH, CIFAR_BATCH = 60, 128


class CifarForm(NamedTuple):
    """How the network for CIFAR-10 is built: whose modules, in which layout and precision."""

    ours: bool
    last: bool
    precision: str

    @property
    def title(self) -> str:
        """In tables."""
        whose = "BatchNormReLU" if self.ours else "torch.nn"
        return f"{whose}, {self.precision}" + (", channels_last" if self.last else "")


CIFAR_FORMS = {
    "-".join([whose, precision, *(["last"] if last else [])]): CifarForm(
        whose == "ours", last, precision
    )
    for whose in ("torch", "ours")
    for precision in ("float32", "bfloat16")
    for last in (False, True)
}


def cifar_step(name: str, batch_size: int = CIFAR_BATCH) -> Callable[[], object]:
    """Return one training step: forward, backward, and SGD with Nesterov momentum."""
    import torch

    from bn.experiments.cifar import Config
    from bn.experiments.device import autocast
    from bn.experiments.torch_networks import cifar_network
    from bn.pytorch import fuse

    form, recipe = CIFAR_FORMS[name], Config(batch_norm=True, lr=0.1)
    network = cifar_network(batch_norm=True, generator=torch.Generator().manual_seed(0))
    if form.ours:
        fuse(network)
    layout = torch.channels_last if form.last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    drawn = torch.randn(batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x, labels = drawn.contiguous(memory_format=layout), torch.arange(batch_size) % 10
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )

    def step() -> None:
        optimizer.zero_grad()
        with autocast(x.device, form.precision):
            loss = torch.nn.functional.cross_entropy(
                network(x), labels, label_smoothing=recipe.label_smoothing
            )
        torch.autograd.backward(loss)
        optimizer.step()

    return step


MNIST_FORMS = {
    "numpy-plain": "NumPy, without batch norm",
    "numpy-bn": "NumPy, with bn.reference",
    "torch": "torch.nn",
    "ours": "bn.pytorch",
}


def mnist_step(name: str, batch_size: int = MNIST_BATCH) -> Callable[[], object]:
    """Return one training step of the network of section 4.1."""
    from bn.experiments.networks import mnist_network

    rng = np.random.default_rng(0)
    network = mnist_network(batch_norm=name != "numpy-plain", std=0.1, rng=rng)
    images = rng.integers(0, 2, (batch_size, 784), dtype=np.uint8)
    labels = np.arange(batch_size) % 10
    if not name.startswith("numpy"):
        return _torch_mnist_step(name, network, images, labels)

    from bn.layers import SGD, softmax_cross_entropy

    optimizer = SGD(network, lr=0.1)

    def step() -> None:
        logits = network.forward(images.astype(np.float32))
        _, dlogits = softmax_cross_entropy(logits, labels)
        network.backward(dlogits)
        optimizer.step()

    return step


def _torch_mnist_step(name: str, network: Any, images: Any, labels: Any) -> Callable[[], object]:
    import torch

    from bn.experiments.torch_networks import from_numpy
    from bn.pytorch import convert

    twin: Any = from_numpy(network)
    if name == "torch":
        twin = convert(twin, "torch")
    x, wanted = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(x.float()), wanted)
        torch.autograd.backward(loss)
        optimizer.step()

    return step
