"""Modules of torch. Importing this imports torch."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bn.check.adapters.arrays import is_first_of_many
from bn.check.adapters.functions import FunctionCandidate, FunctionSubject
from bn.check.adapters.torch_arrays import TorchArrays, differentiate, differentiate_twice
from bn.check.candidate import Candidate, Kind, NotOffered, Subject
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients, SecondGradients, Upstream
from bn.check.names import attribute, taking

Make = Callable[[int, int], nn.Module]


class ModuleCandidate(Candidate):
    """Makes modules."""

    def __init__(self, make: Make, kind: Kind) -> None:
        self.make, self.kind = make, kind

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a fresh module; in half precision its parameters stay in float32."""
        return ModuleSubject(self.make(channels, ndim), self.make, (channels, ndim), dtype)


class ModuleSubject(Subject):
    """One module."""

    modes: tuple[str, ...] = ("training", "inference")

    def __init__(self, module: nn.Module, make: Make, size: tuple[int, int], dtype: str) -> None:
        self.make, self.size, self.dtype = make, size, dtype
        small = dtype if dtype in ("float32", "float64") else "float32"
        self.module = module.to(getattr(torch, small))
        tensors = [*module.parameters(), *module.buffers()]
        self.arrays = TorchArrays(tensors[0].device if tensors else torch.device("cpu"))
        self.mask_name = taking(module.forward, "mask")
        self.masked = self.mask_name is not None
        eps = attribute(module, "eps")
        self.eps = None if eps is None else float(getattr(module, eps))
        self.momentum = getattr(module, "momentum", self.momentum)
        self.unbiased = getattr(module, "unbiased", None)
        self.affine = all(self._tensor(role) is not None for role in ("gamma", "beta"))
        if self._tensor("running_mean") is None and not any(True for _ in module.buffers()):
            self.modes = ("training",)  # no running statistics under any name

    def _tensor(self, role: str) -> Tensor | None:
        name = attribute(self.module, role)
        value = None if name is None else getattr(self.module, name)
        fits = isinstance(value, Tensor) and value.numel() == self.size[0]
        return value if fits else None

    def _set(self, role: str, values: Array) -> None:
        tensor = self._tensor(role)
        if tensor is None:
            raise NotOffered(f"no {role} was found on the module")
        with torch.no_grad():
            tensor.copy_(self.arrays.give(values, "float64").reshape(tensor.shape))

    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Set the parameters."""
        if self.affine:
            self._set("gamma", gamma)
            self._set("beta", beta)

    def _run(self, x: Tensor, training: bool, graph: bool = True) -> Any:
        before = x.detach().clone()
        given = {}
        if self.mask_name and self.mask is not None:
            given[self.mask_name] = self.arrays.give(self.mask, self.mask.dtype.name)
        with torch.set_grad_enabled(graph):
            y = self.module.train(training)(x, **given)
        if not torch.equal(before.nan_to_num(), x.detach().nan_to_num()):
            self.changed = "x"
        return y[0] if is_first_of_many(y) else y

    def _take_y(self, y: Any) -> Array:
        numbers, self.returned = self.arrays.take(y, "y")
        return numbers

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call the module in its mode."""
        return self._take_y(self._run(self.arrays.give(x, self.dtype), training, graph))

    def _parts(self, x: Array, training: bool) -> tuple[Tensor, list[Tensor]]:
        """Return y and what it can be differentiated by: x, gamma, beta."""
        given = self.arrays.give(x, self.dtype).requires_grad_()
        inputs = [given]
        for role in ("gamma", "beta") if self.affine else ():
            parameter = self._tensor(role)
            assert parameter is not None
            inputs.append(parameter.requires_grad_())
        y = self._run(given, training)
        self._take_y(y)  # raises unless it is a tensor
        return y, inputs

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Let autograd do it."""
        y, inputs = self._parts(x, training)
        found = differentiate(y, inputs, self.arrays.give(dy, self.dtype))
        names = ("dx", "dgamma", "dbeta")
        taken = (self.arrays.take(v, n)[0] for v, n in zip(found, names, strict=False))
        return Gradients(*taken)

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Let autograd do it twice."""
        y, inputs = self._parts(x, training=True)
        above = (upstream.ddx, upstream.ddgamma, upstream.ddbeta)[: len(inputs)]
        given = [self.arrays.give(each, self.dtype) for each in above]
        found = differentiate_twice(y, inputs, self.arrays.give(dy, self.dtype), given)
        taken = (self.arrays.take(each, "a second gradient")[0] for each in found[:3])
        return SecondGradients(*taken)

    def running(self) -> Statistics | None:
        """Read buffers, or attributes."""
        values = [self._tensor(role) for role in ("running_mean", "running_var")]
        if any(each is None for each in values):
            return None
        taken = (self.arrays.take(each, "a running statistic")[0].reshape(-1) for each in values)
        return Statistics(*taken)

    def set_running(self, statistics: Statistics) -> None:
        """Set them in place."""
        self._set("running_mean", statistics.mean)
        self._set("running_var", statistics.var)

    def reloaded(self) -> tuple[Subject, str]:
        """Save the state_dict as a file is saved, and load it into a fresh module."""
        stream = io.BytesIO()
        torch.save(self.module.state_dict(), stream)
        stream.seek(0)
        new = ModuleSubject(self.make(*self.size), self.make, self.size, self.dtype)
        new.module.load_state_dict(torch.load(stream, weights_only=True))
        return new, "state_dict"

    def relaid(self, x: Array) -> dict[str, Array]:
        """Return y for the numbers of x in other memory layouts."""
        given = self.arrays.relaid(x, self.dtype)
        return {name: self._take_y(self._run(each, True)) for name, each in given.items()}


def copies(module: nn.Module) -> Make:
    """Return what makes copies of an instance."""
    return lambda channels, ndim: copy.deepcopy(module)


class TorchFunctionCandidate(FunctionCandidate):
    """Functions of tensors; autograd stands in for a backward function."""

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a new state: gamma 1, beta 0, running statistics 0 and 1."""
        return TorchFunctionSubject(self, channels, axis, dtype)


class TorchFunctionSubject(FunctionSubject):
    """As with NumPy, and gradients by autograd."""

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call the function, with or without a graph."""
        with torch.set_grad_enabled(graph):
            return super().forward(x, training=training)

    def _parts(self, x: Array, training: bool) -> tuple[Tensor, list[Tensor]]:
        given = self.arrays.give(x, self.dtype).requires_grad_()
        inputs = [given]
        if self.affine:
            inputs += [self.gamma.requires_grad_(), self.beta.requires_grad_()]
        y = self.call(given, training=training)
        self.take_y(y)
        return y, inputs

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Call the backward function if there is one, else let autograd do it."""
        if len(self.candidate.functions) > 1:
            return super().backward(x, dy, training=training)
        y, inputs = self._parts(x, training)
        return self.read(differentiate(y, inputs, self.arrays.give(dy, self.dtype)))

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Call the third function if there is one, else let autograd do it twice."""
        if len(self.candidate.functions) > 2:
            return super().second(x, dy, upstream)
        y, inputs = self._parts(x, training=True)
        if len(self.candidate.functions) > 1 and not y.requires_grad:
            raise NotOffered("a backward function without a backward function of its own")
        above = (upstream.ddx, upstream.ddgamma, upstream.ddbeta)[: len(inputs)]
        given = [self.arrays.give(each, self.dtype) for each in above]
        found = differentiate_twice(y, inputs, self.arrays.give(dy, self.dtype), given)
        return SecondGradients(*(self.arrays.take(e, "a second gradient")[0] for e in found[:3]))
