"""The interface of the contract suite, and the implementations that it runs on.

To put another implementation under the contract, write an adapter with these members and add
it to IMPLEMENTATIONS. Arrays are NumPy's on both sides of the interface.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
import torch

from bn import kernels, pytorch, reference

MISSING = kernels.problem("numba_cpu")  # Numba is optional
if MISSING is None:
    from bn.kernels import numba_cpu


@dataclass
class Step:
    """One training step of the bare function."""

    y: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray


class LayerUnderTest(Protocol):
    training: bool

    def forward(self, x: np.ndarray) -> np.ndarray: ...
    def backward(self, dy: np.ndarray) -> np.ndarray: ...
    @property
    def running_mean(self) -> np.ndarray: ...
    @property
    def running_var(self) -> np.ndarray: ...
    @property
    def num_batches(self) -> int: ...


class Implementation(Protocol):
    name: str
    dtypes: tuple[str, ...]
    errors: tuple[type[Exception], ...]  # what it raises for bad arguments

    def step(
        self, x: np.ndarray, dy: np.ndarray, gamma: Any = None, beta: Any = None, **options: Any
    ) -> Step: ...

    def inference(
        self,
        x: np.ndarray,
        mean: Any,
        var: Any,
        gamma: Any = None,
        beta: Any = None,
        **options: Any,
    ) -> np.ndarray: ...

    # None where there are only functions
    layer: Callable[..., LayerUnderTest] | None


class Reference:
    name = "reference"
    dtypes = ("float16", "float32", "float64")
    errors = (ValueError, TypeError)

    def step(self, x, dy, gamma=None, beta=None, **options):
        y, cache = reference.batch_norm_forward(x, gamma, beta, **options)
        return Step(y, cache.mean, cache.var, *reference.batch_norm_backward(dy, cache))

    def inference(self, x, mean, var, gamma=None, beta=None, **options):
        return reference.batch_norm_inference(x, mean, var, gamma, beta, **options)

    def layer(self, num_features, **options):
        return reference.BatchNorm(num_features, **options)


def to_tensor(array):
    """A tensor that shares the array's memory, or the value itself where torch has no such type."""
    array = None if array is None else np.asarray(array)
    if array is None or array.dtype.kind not in "biufc":
        return array
    if min(array.strides, default=0) < 0:  # torch has no negative strides
        array = array.copy(order="K")
    return torch.from_numpy(array)


class Pytorch:
    name = "pytorch"
    dtypes = ("float16", "float32", "float64")
    errors = (ValueError, TypeError)

    def step(self, x, dy, gamma=None, beta=None, **options):
        tensors = [to_tensor(value) for value in (x, gamma, beta)]
        learned = [t for t in tensors if torch.is_tensor(t) and t.dtype.is_floating_point]
        for t in learned:
            t.requires_grad_()
        y, cache = pytorch.batch_norm_forward(*tensors, **options)
        gradients = pytorch.batch_norm_backward(to_tensor(dy), cache)
        by_autograd = iter(torch.autograd.grad(y, learned, to_tensor(dy)))
        for tensor, gradient in zip(tensors, gradients, strict=True):
            if tensor is not None:  # autograd must arrive at the same numbers
                torch.testing.assert_close(
                    next(by_autograd), gradient.to(tensor.dtype), rtol=0, atol=0, equal_nan=True
                )
        results = (y, cache.mean, cache.var, *gradients)
        return Step(*(result.detach().numpy() for result in results))

    def inference(self, x, mean, var, gamma=None, beta=None, **options):
        tensors = [to_tensor(value) for value in (x, mean, var, gamma, beta)]
        return pytorch.batch_norm_inference(*tensors, **options).numpy()

    def layer(self, num_features, **options):
        return PytorchLayer(num_features, **options)


class PytorchLayer:
    """A module, in float64, with autograd for the backward pass."""

    def __init__(self, num_features, **options):
        self.module = pytorch.BatchNorm1d(num_features, dtype=torch.float64, **options)

    def forward(self, x):
        self.x = to_tensor(x).requires_grad_()
        self.y = self.module.train(self.training)(self.x)
        return self.y.detach().numpy()

    def backward(self, dy):
        return torch.autograd.grad(self.y, self.x, to_tensor(dy))[0].numpy()

    training = True
    running_mean = property(lambda self: self.module.running_mean.numpy())
    running_var = property(lambda self: self.module.running_var.numpy())
    num_batches = property(lambda self: self.module.num_batches_tracked.item())


class Numba:
    """The compiled functions; they have no layer."""

    name = "numba"
    dtypes = ("float16", "float32", "float64")
    errors = (ValueError, TypeError)
    layer = None

    def step(self, x, dy, gamma=None, beta=None, **options):
        y, cache = numba_cpu.batch_norm_forward(x, gamma, beta, **options)
        return Step(y, cache.mean, cache.var, *numba_cpu.batch_norm_backward(dy, cache))

    def inference(self, x, mean, var, gamma=None, beta=None, **options):
        return numba_cpu.batch_norm_inference(x, mean, var, gamma, beta, **options)


IMPLEMENTATIONS = [Reference(), Pytorch(), *([] if MISSING else [Numba()])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every implementation; one about layers on those that have a layer."""
    if "bn" in metafunc.fixturenames:
        layers = metafunc.module.__name__.endswith("test_layer")
        given = [bn for bn in IMPLEMENTATIONS if bn.layer or not layers]
        metafunc.parametrize("bn", given, ids=lambda implementation: implementation.name)


class Truth:
    """Batch norm by the textbook, in extended precision where the platform has it."""

    def step(self, x, dy, gamma=None, beta=None, *, eps=1e-5, axis=1) -> Step:
        wide = np.longdouble
        others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
        shape = [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
        channels = x.shape[axis]
        x, dy = x.astype(wide), dy.astype(wide)
        gamma = (np.ones(channels) if gamma is None else gamma).astype(wide).reshape(shape)
        beta = (np.zeros(channels) if beta is None else beta).astype(wide).reshape(shape)
        mean = x.mean(axis=others, keepdims=True)
        var = ((x - mean) ** 2).mean(axis=others, keepdims=True)
        m = x.size // channels
        std = np.sqrt(var + wide(eps))
        x_hat = (x - mean) / std
        # The Jacobian of the paper's equations, as a sum over all pairs of values of a channel:
        # d x_hat_i / d x_j = (delta_ij - 1/m - x_hat_i x_hat_j / m) / std
        dx_hat = dy * gamma
        flat = np.moveaxis(x_hat, axis, 0).reshape(channels, m)
        upstream = np.moveaxis(dx_hat, axis, 0).reshape(channels, m)
        dx = np.empty_like(flat)
        for c in range(channels):
            jacobian = np.eye(m) - wide(1) / m - np.outer(flat[c], flat[c]) / m
            dx[c] = jacobian.T @ upstream[c] / std.reshape(-1)[c]
        moved = np.moveaxis(x, axis, 0).shape
        return Step(
            y=gamma * x_hat + beta,
            mean=mean.reshape(-1),
            var=var.reshape(-1),
            dx=np.moveaxis(dx.reshape(moved), 0, axis),
            dgamma=(dy * x_hat).sum(axis=others),
            dbeta=dy.sum(axis=others),
        )


@pytest.fixture
def truth() -> Truth:
    return Truth()
