"""Tensors as NumPy arrays, and gradients by autograd. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bn.check.adapters.arrays import wrong_type
from bn.check.candidate import WrongReturn
from bn.check.formula import Array

CPU = torch.device("cpu")


class TorchArrays:
    """Tensors of torch, on one device."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device

    def give(self, array: Array, dtype: str) -> Tensor:  # noqa: D102
        tensor = torch.tensor(np.asarray(array, np.float64), dtype=getattr(torch, dtype))
        return tensor.to(self.device)

    def take(self, value: Any, what: str) -> tuple[Array, str]:  # noqa: D102
        if not isinstance(value, Tensor):
            raise wrong_type(value, what, "a tensor")
        name = str(value.dtype).removeprefix("torch.")
        if not value.dtype.is_floating_point:
            raise WrongReturn(
                "returns-wrong-type", f"{what} has dtype {name}", "floating-point numbers"
            )
        return value.detach().to(CPU, torch.float64).numpy().copy(), name

    def relaid(self, array: Array, dtype: str) -> dict[str, Tensor]:  # noqa: D102
        given = self.give(array, dtype)
        layouts = {"a transposed view": given.transpose(0, -1).contiguous().transpose(0, -1)}
        for ndim, name in ((4, "channels_last"), (5, "channels_last_3d")):
            if given.dim() == ndim:
                layouts[name] = given.to(memory_format=getattr(torch, name))
        return layouts

    def is_array(self, value: Any) -> bool:  # noqa: D102
        return isinstance(value, Tensor)


def differentiate(
    y: Tensor, inputs: Sequence[Tensor], dy: Tensor, *, twice: bool = False
) -> list[Tensor]:
    """Return the gradients of sum(dy·y), zeros where none arrives.

    With `twice` they can be differentiated again.
    """
    if not y.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    found = torch.autograd.grad(y, inputs, dy.to(y.dtype), create_graph=twice, allow_unused=True)
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(tensor) if each is None else each for each, tensor in pairs]


def differentiate_twice(
    y: Tensor, inputs: Sequence[Tensor], dy: Tensor, upstream: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of ``sum(upstream·gradients)`` for dy and then for `inputs`."""
    leaves = [dy.to(y.dtype).requires_grad_(), *inputs]
    first = differentiate(y, inputs, leaves[0], twice=True)
    pairs = zip(upstream, first, strict=True)
    total = sum((above.reshape(each.shape) * each).sum() for above, each in pairs)
    assert isinstance(total, Tensor)
    for leaf in leaves:
        leaf.grad = None
    if total.requires_grad:
        # Not torch.autograd.grad: it goes only where it is asked to, and so would pass by the
        # error that once_differentiable has put in the way.
        total.backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
