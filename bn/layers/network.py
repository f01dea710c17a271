"""What ties layers into a network that learns: the chain, the loss, the step."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bn.layers.dense import Array, Layer


class Sequential:
    """Layers one after another.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of the forward pass.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.train(True)

    def train(self, training: bool = True) -> None:
        """Set every layer to training (True) or inference (False)."""
        self.training = training
        for layer in self.layers:
            layer.training = training

    def forward(self, x: Array) -> Array:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        """Return the gradient for the input; each layer keeps those for its parameters."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameters(self) -> dict[str, Array]:
        """Return every parameter, named like ``0.weight`` by the number of its layer."""
        return {
            f"{i}.{name}": value
            for i, layer in enumerate(self.layers)
            for name, value in layer.parameters().items()
        }

    def gradients(self) -> dict[str, Array]:
        """Return every gradient under the name of its parameter."""
        return {
            f"{i}.{name}": value
            for i, layer in enumerate(self.layers)
            for name, value in layer.gradients().items()
        }


def softmax_cross_entropy(logits: Array, labels: NDArray[np.integer]) -> tuple[float, Array]:
    """Return the mean cross-entropy of a batch and its gradient for the logits.

    Parameters
    ----------
    logits : array, shape (N, K)
        Scores before the softmax.
    labels : integer array, shape (N,)
        The true classes, from 0 to K - 1.

    Returns
    -------
    loss : float
        In nats.
    dlogits : array, shape (N, K)
        ``(softmax(logits) - onehot(labels)) / N``.

    Raises
    ------
    ValueError
        If the shapes do not fit or a label is not a class.
    """
    if logits.ndim != 2 or labels.shape != (len(logits),):
        raise ValueError(
            f"logits and labels have shapes {logits.shape} and {labels.shape}, "
            "expected (N, K) and (N,)"
        )
    if labels.dtype.kind not in "iu" or not logits.size:
        raise ValueError(
            f"labels have dtype {labels.dtype} and logits shape {logits.shape}, expected integers "
            "and at least one example of one class"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be from 0 to {logits.shape[1] - 1}")
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp cannot overflow
    exp = np.exp(shifted)
    total = exp.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(total[:, 0]) - shifted[rows, labels]))
    dlogits = exp / total
    dlogits[rows, labels] -= 1
    return loss, dlogits / len(logits)


# paper: s1-mini-batch
class SGD:
    """Stochastic gradient descent with momentum, ``v = momentum·v + g; w = w - lr·v``.

    Parameters
    ----------
    network : Sequential or Layer
        Whose parameters are changed in place.
    lr : float
        The learning rate.
    momentum : float
        From 0 (plain SGD) to below 1.
    """

    def __init__(self, network: Sequential | Layer, *, lr: float, momentum: float = 0.0) -> None:
        if not (np.isfinite(lr) and lr > 0) or not 0 <= momentum < 1:
            raise ValueError(
                f"lr is {lr} and momentum {momentum}, expected lr > 0 and 0 <= momentum < 1"
            )
        self.network, self.lr, self.momentum = network, lr, momentum
        self.velocity = {name: np.zeros_like(w) for name, w in network.parameters().items()}

    def step(self) -> None:
        """Move every parameter by the gradients of the last backward pass."""
        gradients = self.network.gradients()
        for name, weight in self.network.parameters().items():
            if self.momentum:
                velocity = self.velocity[name]
                velocity *= self.momentum
                velocity += gradients[name]
                weight -= self.lr * velocity
            else:
                weight -= self.lr * gradients[name]
