"""Batch norms as functions without arguments, ready to be timed.

One computes y in training mode; the other y and all gradients, as a training step does. What is
kept for the way back can be asked for, too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from bn.bench.cases import EPS, Array, Case, channels_last


class Prepared(NamedTuple):
    """A batch norm that holds its mini-batch.

    Attributes
    ----------
    forward, both : function
        Return y; y, dx, dgamma and dbeta.
    saved : function
        Returns the bytes that are kept between the two passes, x among them.
    """

    forward: Callable[[], Any]
    both: Callable[[], Sequence[Any]]
    saved: Callable[[], int]


# --- what is kept ----------------------------------------------------------------------------


def kept_bytes(cache: Any) -> int:
    """Return the bytes of all arrays in a cache; memory that two of them share counts once."""
    blocks: dict[int, int] = {}

    def look(value: Any) -> None:
        if isinstance(value, np.ndarray):
            while isinstance(value.base, np.ndarray):
                value = value.base
            blocks[value.ctypes.data] = value.nbytes
        elif isinstance(value, list | tuple):
            for part in value:
                look(part)
        elif is_dataclass(value):
            for field in fields(value):
                look(getattr(value, field.name))

    look(cache)
    return sum(blocks.values())


def saved_by_autograd(forward: Callable[[], Any]) -> int:
    """Return the bytes that autograd keeps for the way back; shared memory counts once."""
    import torch

    blocks: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        blocks[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward()  # held here, or its memory could be given to something else
    del y
    return sum(blocks.values())


# --- kinds -----------------------------------------------------------------------------------

Forward = Callable[[Array, Array, Array], tuple[Array, Any]]
Backward = Callable[[Array, Any], Sequence[Array]]


def with_numpy(forward: Forward, backward: Backward, case: Case) -> Prepared:
    """Prepare a pair of functions that hand a cache on."""
    x, dy, gamma, beta = case.x, case.dy, case.gamma, case.beta

    def both() -> Sequence[Array]:
        y, cache = forward(x, gamma, beta)
        return y, *backward(dy, cache)

    return Prepared(
        lambda: forward(x, gamma, beta)[0], both, lambda: kept_bytes(forward(x, gamma, beta)[1])
    )


def with_numba(last: bool, mapped: bool, case: Case) -> Prepared:
    """Prepare the kernels; `mapped`: they write into memory that was written before."""
    from bn.kernels.numba_cpu import arrays

    lay = channels_last if last else np.copy
    x, dy, gamma, beta = lay(case.x), lay(case.dy), case.gamma, case.beta
    y_out, dx_out = (lay(case.x), lay(case.x)) if mapped else (None, None)

    def forward() -> tuple[Array, arrays.Statistics]:
        return arrays.forward(x, gamma, beta, eps=EPS, out=y_out)

    def both() -> Sequence[Array]:
        y, statistics = forward()
        made = arrays.backward(dy, x, gamma, beta, statistics, out=dx_out)
        return y, made.dx, made.dgamma, made.dbeta

    return Prepared(lambda: forward()[0], both, lambda: kept_bytes((x, forward()[1])))


def with_torch(function: Callable[[Any, Any, Any], Any], last: bool, case: Case) -> Prepared:
    """Prepare a function of tensors that autograd differentiates."""
    import torch

    def tensor(array: Array) -> Any:
        made = torch.from_numpy(array.copy())
        return made.contiguous(memory_format=torch.channels_last) if last else made

    x, dy = tensor(case.x), tensor(case.dy)
    gamma, beta = torch.from_numpy(case.gamma.copy()), torch.from_numpy(case.beta.copy())
    inputs = [t.clone().requires_grad_() for t in (x, gamma, beta)]

    def forward() -> Any:
        with torch.no_grad():
            return function(x, gamma, beta)

    def both() -> Sequence[Any]:
        y = function(*inputs)
        return y, *torch.autograd.grad(y, inputs, dy)

    return Prepared(forward, both, lambda: saved_by_autograd(lambda: function(*inputs)))


def torch_function() -> Callable[[Any, Any, Any], Any]:
    """Return torch's own batch norm, without running statistics."""
    from torch.nn.functional import batch_norm

    return lambda x, gamma, beta: batch_norm(x, None, None, gamma, beta, True, 0.1, EPS)


def our_function(backend: Any) -> Callable[[Any, Any, Any], Any]:
    """Return ours on a backend."""
    from bn.pytorch import batch_norm

    return lambda x, gamma, beta: batch_norm(x, gamma, beta, eps=EPS, backend=backend)


def compiled(function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Compile a function anew for one shape."""
    import torch

    torch._dynamo.config.recompile_limit = 64  # a shape more must not fall back to eager
    return torch.compile(function, dynamic=False)


def with_jax(case: Case) -> Prepared:
    """Prepare textbook batch norm in JAX, compiled by XLA."""
    jax = importlib.import_module("jax")  # its types are of no use where it is not installed
    jnp = jax.numpy
    axes = tuple(axis for axis in range(case.x.ndim) if axis != 1)
    shape = (-1, *[1] * (case.x.ndim - 2))

    def function(x: Any, gamma: Any, beta: Any) -> Any:
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        x_hat = (x - mean) / jnp.sqrt(var + EPS)
        return gamma.reshape(shape) * x_hat + beta.reshape(shape)

    def with_gradients(x: Any, gamma: Any, beta: Any, dy: Any) -> Any:
        y, back = jax.vjp(function, x, gamma, beta)
        return y, *back(dy)

    arguments = [jnp.asarray(array) for array in (case.x, case.gamma, case.beta)]
    dy = jnp.asarray(case.dy)
    forward, both = jax.jit(function), jax.jit(with_gradients)
    # one program does both passes: what lies between them is XLA's, and cannot be counted
    return Prepared(
        lambda: forward(*arguments).block_until_ready(),
        lambda: jax.block_until_ready(both(*arguments, dy)),
        lambda: 0,
    )
