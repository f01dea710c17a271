"""Layers of Keras. Gradients are taken where its backend is torch.

Importing this imports nothing; making a candidate imports keras, which the user's code has done.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bn.check.adapters.arrays import check_kind
from bn.check.candidate import Candidate, Kind, NotOffered, Subject, WrongReturn
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients, SecondGradients, Upstream
from bn.check.names import attribute, taking

Make = Callable[[int, int], Any]


class KerasCandidate(Candidate):
    """Makes layers."""

    def __init__(self, make: Make, channels: int | None) -> None:
        self.make = make
        self.keras: Any = importlib.import_module("keras")
        self.backend = str(self.keras.backend.backend())
        axis = getattr(make(3, 4), "axis", None)
        axes = (axis,) if isinstance(axis, int) else (-1, 1)
        # In float64 Keras computes in float32 and casts back.
        self.kind = Kind(f"Keras layer on {self.backend}", axes, channels, dtypes=("float32",))

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a fresh layer, of the type that is asked for if it can be made so."""
        policy = {"float16": "mixed_float16"}.get(dtype, dtype)
        layer = self.make(channels, ndim)
        with contextlib.suppress(Exception):  # without a configuration it keeps its own type
            layer = type(layer).from_config(layer.get_config() | {"dtype": policy})
        shape: list[int | None] = [None] * ndim
        shape[axis] = channels
        if not layer.built:
            layer.build(tuple(shape))
        return KerasSubject(self, layer, (channels, ndim, axis), dtype)


class KerasSubject(Subject):
    """One layer."""

    def __init__(
        self, candidate: KerasCandidate, layer: Any, size: tuple[int, int, int], dtype: str
    ) -> None:
        self.candidate, self.layer, self.size, self.dtype = candidate, layer, size, dtype
        eps = attribute(layer, "eps")
        self.eps = None if eps is None else float(getattr(layer, eps))
        self.momentum = getattr(layer, "momentum", self.momentum)
        self.affine = all(self._has(role) for role in ("gamma", "beta"))
        self.masked = taking(layer.call, "mask") == "mask"  # Keras's own argument
        self.flag = taking(layer.call, "training") == "training"
        if self.flag:
            self.modes = ("training", "inference")

    def _variable(self, role: str) -> Any:
        name = attribute(self.layer, role)
        return None if name is None else getattr(self.layer, name)

    def _has(self, role: str) -> bool:
        value = self._variable(role)
        return value is not None and int(np.prod(value.shape)) == self.size[0]

    def _read(self, role: str) -> Array:
        return self._take(self._variable(role), role).reshape(-1)

    def _assign(self, role: str, values: Array) -> None:
        variable = self._variable(role)
        variable.assign(values.reshape(variable.shape))

    def _take(self, value: Any, what: str) -> Array:
        try:
            array = self.candidate.keras.ops.convert_to_numpy(value)
        except Exception:
            name = type(value).__name__
            mistake = "returns-nothing" if value is None else "returns-wrong-type"
            raise WrongReturn(mistake, f"{what} is of type {name}", "a tensor") from None
        check_kind(array.dtype.kind, array.dtype.name, what)
        if what == "y":
            self.returned = array.dtype.name
        return np.asarray(array, np.float64)

    def _run(self, x: Any, training: bool) -> Any:
        given: dict[str, Any] = {"training": training} if self.flag else {}
        if self.mask is not None:
            given["mask"] = self.candidate.keras.ops.convert_to_tensor(self.mask)
        return self.layer(x, **given)

    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Assign the variables."""
        if self.affine:
            self._assign("gamma", gamma)
            self._assign("beta", beta)

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call the layer."""
        given = self.candidate.keras.ops.convert_to_tensor(x, dtype=self.dtype)
        return self._take(self._run(given, training), "y")

    def _torch(self) -> Any:
        if self.candidate.backend != "torch":
            raise NotOffered(
                f"gradients are checked with KERAS_BACKEND=torch, this is {self.candidate.backend}"
            )
        return importlib.import_module("bn.check.adapters.torch_arrays")

    def _parts(self, x: Array, training: bool) -> tuple[Any, list[Any]]:
        inputs = [self._torch().TorchArrays().give(x, self.dtype).requires_grad_()]
        if self.affine:
            inputs += [self._variable(role).value for role in ("gamma", "beta")]
        y = self._run(inputs[0], training)
        self._take(y, "y")
        return y, inputs

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Let torch's autograd do it."""
        torch_arrays = self._torch()
        y, inputs = self._parts(x, training)
        given = torch_arrays.TorchArrays().give(dy, self.dtype)
        return Gradients(*map(self._detached, torch_arrays.differentiate(y, inputs, given)))

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Let torch's autograd do it twice."""
        torch_arrays = self._torch()
        y, inputs = self._parts(x, training=True)
        give = torch_arrays.TorchArrays().give
        given = (upstream.ddx, upstream.ddgamma, upstream.ddbeta)[: len(inputs)]
        above = [give(each, self.dtype) for each in given]
        found = torch_arrays.differentiate_twice(y, inputs, give(dy, self.dtype), above)
        return SecondGradients(*map(self._detached, found[:3]))

    def _detached(self, tensor: Any) -> Array:
        return self._take(tensor.detach(), "a gradient")

    def running(self) -> Statistics | None:
        """Read the variables."""
        if not (self._has("running_mean") and self._has("running_var")):
            return None
        return Statistics(self._read("running_mean"), self._read("running_var"))

    def set_running(self, statistics: Statistics) -> None:
        """Assign the variables."""
        if self.running() is None:
            raise NotOffered("no running statistics were found on the layer")
        self._assign("running_mean", statistics.mean)
        self._assign("running_var", statistics.var)

    def reloaded(self) -> tuple[Subject, str]:
        """Carry the weights over to a fresh layer."""
        channels, ndim, axis = self.size
        new = self.candidate.subject(channels, ndim, axis, self.dtype)
        assert isinstance(new, KerasSubject)
        new.layer.set_weights(self.layer.get_weights())
        return new, "get_weights and set_weights"
