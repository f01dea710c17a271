"""Batch norms to be measured beside each other, and the truth to measure them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDE = np.longdouble
EPS = 1e-5


class Step(NamedTuple):
    """What one training step gives."""

    y: Array
    dx: Array
    dgamma: Array
    dbeta: Array


class Implementation(Protocol):
    """A batch norm to be measured; arrays are NumPy's on both sides."""

    def __call__(
        self, x: Array, dy: Array, gamma: Array | None, beta: Array | None, eps: float
    ) -> Step:
        """Return y and the gradients."""
        ...


def reference(x: Array, dy: Array, gamma: Array | None, beta: Array | None, eps: float) -> Step:
    """bn.reference."""
    from bn.reference import batch_norm_backward, batch_norm_forward

    y, cache = batch_norm_forward(x, gamma, beta, eps=eps)
    return Step(y, *batch_norm_backward(dy, cache))


def pytorch(x: Array, dy: Array, gamma: Array | None, beta: Array | None, eps: float) -> Step:
    """bn.pytorch."""
    from bn.pytorch import batch_norm

    return _by_autograd(lambda t, g, b: batch_norm(t, g, b, eps=eps), x, dy, gamma, beta)


def numba(x: Array, dy: Array, gamma: Array | None, beta: Array | None, eps: float) -> Step:
    """bn.kernels.numba_cpu."""
    from bn.kernels.numba_cpu import batch_norm_backward, batch_norm_forward

    y, cache = batch_norm_forward(x, gamma, beta, eps=eps)
    dx, dgamma, dbeta, *_ = batch_norm_backward(dy, cache)
    return Step(y, dx, dgamma, dbeta)


def torch(x: Array, dy: Array, gamma: Array | None, beta: Array | None, eps: float) -> Step:
    """torch.nn.functional.batch_norm."""
    from torch.nn.functional import batch_norm

    def function(t: Any, g: Any, b: Any) -> Any:
        return batch_norm(t, None, None, g, b, training=True, eps=eps)

    return _by_autograd(function, x, dy, gamma, beta)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "reference": reference,
    "pytorch": pytorch,
    "numba": numba,
    "torch": torch,
}


def _by_autograd(
    function: Callable[[Any, Any, Any], Any],
    x: Array,
    dy: Array,
    gamma: Array | None,
    beta: Array | None,
) -> Step:
    from torch import autograd

    wide = np.float64 if x.dtype == np.float64 else np.float32
    channels = x.shape[1]
    gamma = (np.ones(channels) if gamma is None else gamma).astype(wide)
    beta = (np.zeros(channels) if beta is None else beta).astype(wide)
    inputs = [_tensor(a).requires_grad_() for a in (x, gamma, beta)]
    y = function(*inputs)
    return Step(*(_array(t) for t in (y, *autograd.grad(y, inputs, _tensor(dy)))))


def _tensor(array: Array) -> Any:
    """Return a tensor with the array's memory; torch cannot read ml_dtypes' bfloat16."""
    import torch

    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(tensor: Any) -> Array:
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits: Array = tensor.contiguous().view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    out: Array = tensor.numpy()
    return out


def truth(
    x: Array, dy: Array, gamma: Array | None = None, beta: Array | None = None, eps: float = EPS
) -> Step:
    """Return the textbook's formula in extended precision."""
    others = tuple(a for a in range(x.ndim) if a != 1)
    shape = [-1 if a == 1 else 1 for a in range(x.ndim)]
    x, dy = x.astype(WIDE), dy.astype(WIDE)
    gamma = (np.ones(x.shape[1]) if gamma is None else gamma).astype(WIDE).reshape(shape)
    beta = (np.zeros(x.shape[1]) if beta is None else beta).astype(WIDE).reshape(shape)
    centred = x - x.mean(axis=others, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=others, keepdims=True) + WIDE(eps))
    h = centred / std
    mean_dy, mean_dy_h = (a.mean(axis=others, keepdims=True) for a in (dy, dy * h))
    dx = gamma / std * (dy - mean_dy - h * mean_dy_h)
    return Step(gamma * h + beta, dx, (dy * h).sum(axis=others), dy.sum(axis=others))
