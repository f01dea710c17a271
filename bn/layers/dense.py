"""Fully connected layers and the nonlinearities."""

from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating]


class Layer(Protocol):
    """What a network needs of a layer."""

    training: bool

    def forward(self, x: Array) -> Array:
        """Return the output for a batch, and keep what the backward pass needs."""

    def backward(self, dy: Array) -> Array:
        """Return the gradient for the input of the last forward; keep those for parameters."""

    def parameters(self) -> dict[str, Array]:
        """Return the parameters by name; the optimizer changes them in place."""

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of the last backward, under the names of the parameters."""


class Parameterless:
    """A layer with nothing to learn; the nonlinearities and pooling build on it."""

    training = True

    def parameters(self) -> dict[str, Array]:
        """Return nothing."""
        return {}

    def gradients(self) -> dict[str, Array]:
        """Return nothing."""
        return {}


class Weighted:
    """A layer with a weight and perhaps a bias; Linear and Conv2d build on it."""

    weight: Array
    bias: Array | None
    dweight: Array
    dbias: Array

    def parameters(self) -> dict[str, Array]:
        """Return `weight`, and `bias` if there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def gradients(self) -> dict[str, Array]:
        """Return the gradients under the names of the parameters."""
        return {"weight": self.dweight} | ({} if self.bias is None else {"bias": self.dbias})


# paper: eq-layer
class Linear(Weighted):
    """``y = x W + b``, for x of shape (N, in_features).

    Parameters
    ----------
    in_features, out_features : int
        Sizes; W has shape (in_features, out_features).
    std : float
        Standard deviation of the Gaussian from which W is drawn; b starts at 0.
    rng : numpy.random.Generator
        Where the Gaussian comes from.
    bias : bool
        False before batch normalization, which subtracts any constant again (section 3.2).
    dtype : dtype
        Type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        std: float,
        rng: np.random.Generator,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"sizes are {in_features} and {out_features}, expected at least 1")
        self.training = True
        self.weight = (std * rng.standard_normal((in_features, out_features))).astype(dtype)
        self.bias = np.zeros(out_features, dtype) if bias else None
        self.dweight = np.zeros_like(self.weight)
        self.dbias = np.zeros(out_features, dtype)

    def forward(self, x: Array) -> Array:
        """Return y, shape (N, out_features)."""
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"x has shape {x.shape}, expected (N, {self.weight.shape[0]})")
        self.x = x
        y: Array = x @ self.weight
        return y if self.bias is None else y + self.bias

    def backward(self, dy: Array) -> Array:
        """Return dx, shape (N, in_features)."""
        self.dweight = self.x.T @ dy
        self.dbias = dy.sum(axis=0)
        dx: Array = dy @ self.weight.T
        return dx


# paper: s1-saturation
class Sigmoid(Parameterless):
    """``y = 1 / (1 + exp(-x))``, element by element."""

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x."""
        # tanh saturates where exp(-x) would overflow
        y: Array = 0.5 * np.tanh(0.5 * x) + 0.5
        self.y = y
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        dx: Array = dy * self.y * (1 - self.y)
        return dx


class ReLU(Parameterless):
    """``y = max(x, 0)``, element by element."""

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x."""
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x; 0 at the kink."""
        return np.where(self.positive, dy, 0)


class Flatten(Parameterless):
    """(N, C, H, W) to (N, C·H·W), between convolutions and a Linear."""

    def forward(self, x: Array) -> Array:
        """Return y, shape (N, everything else)."""
        self.shape = x.shape
        y: Array = x.reshape(len(x), -1)
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        dx: Array = dy.reshape(self.shape)
        return dx
