"""NumPy objects with ``forward`` and ``backward``, such as :class:`bn.reference.BatchNorm`.

gamma, beta and the running statistics are attributes, under one of the names in
``bn.check.names``. The mode is an argument of ``forward``, an attribute ``training``, or set by
``train()`` and ``eval()``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from bn.check.adapters.arrays import NumpyArrays, is_first_of_many
from bn.check.candidate import Candidate, Kind, NotOffered, Subject, WrongReturn
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients
from bn.check.names import NAMES, attribute, taking

Make = Callable[[int, int], Any]  # of the number of channels and of axes


class ObjectCandidate(Candidate):
    """Makes NumPy objects."""

    def __init__(self, make: Make, kind: Kind) -> None:
        self.make, self.kind = make, kind

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a fresh object."""
        return ObjectSubject(self.make(channels, ndim), self.make, (channels, ndim), dtype)


class ObjectSubject(Subject):
    """One object."""

    arrays = NumpyArrays()

    def __init__(self, thing: Any, make: Make, size: tuple[int, int], dtype: str) -> None:
        self.thing, self.make, self.size, self.dtype = thing, make, size, dtype
        self.call = getattr(thing, "forward", thing)
        self.flag, self.mask_name = taking(self.call, "training"), taking(self.call, "mask")
        self.masked = self.mask_name is not None
        switch = [hasattr(thing, name) for name in ("train", "eval")]
        if self.flag or isinstance(getattr(thing, "training", None), bool) or all(switch):
            self.modes = ("training", "inference")
        eps = attribute(thing, "eps")
        self.eps = None if eps is None else float(getattr(thing, eps))
        self.momentum = getattr(thing, "momentum", self.momentum)
        self.unbiased = getattr(thing, "unbiased", None)
        self.affine = all(self._has(role) for role in ("gamma", "beta"))

    def _has(self, role: str) -> bool:
        name = attribute(self.thing, role)
        return name is not None and np.size(getattr(self.thing, name)) == self.size[0]

    def _get(self, role: str) -> Array:
        return np.array(getattr(self.thing, str(attribute(self.thing, role))), dtype=np.float64)

    def _set(self, role: str, values: Array) -> None:
        name = str(attribute(self.thing, role))
        old = np.asarray(getattr(self.thing, name))
        setattr(self.thing, name, values.reshape(old.shape).astype(old.dtype))

    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Replace the attributes."""
        if self.affine:
            self._set("gamma", gamma)
            self._set("beta", beta)

    def _run(self, x: Any, training: bool) -> Any:
        given: dict[str, Any] = {}
        if self.mask_name and self.mask is not None:
            given[self.mask_name] = self.mask.copy()
        if self.flag:
            given[self.flag] = training
        elif isinstance(getattr(self.thing, "training", None), bool):
            self.thing.training = training
        elif "inference" in self.modes:
            getattr(self.thing, "train" if training else "eval")()
        before = np.array(x)
        y = self.call(x, **given)
        if not np.array_equal(before, x, equal_nan=True):
            self.changed = "x"
        return y[0] if is_first_of_many(y) else y

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call ``forward``, or the object itself."""
        y = self._run(self.arrays.give(x, self.dtype), training)
        numbers, self.returned = self.arrays.take(y, "y")
        return numbers

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Call both; dgamma and dbeta are returned, or attributes."""
        if not hasattr(self.thing, "backward"):
            raise NotOffered("it has no method backward")
        self._run(self.arrays.give(x, self.dtype), training)
        came = self.thing.backward(self.arrays.give(dy, self.dtype))
        rest: list[Any] = []
        if isinstance(came, (tuple, list)):
            came, *rest = came
        dx = self.arrays.take(came, "dx")[0]
        if not self.affine:
            return Gradients(dx)
        if not rest:
            rest = [self._gradient("dgamma"), self._gradient("dbeta")]
        if len(rest) != 2:
            raise WrongReturn(
                "returns-wrong-type", f"backward returned {1 + len(rest)} values",
                "dx, or dx, dgamma, dbeta",
            )  # fmt: skip
        values = (self.arrays.take(v, n)[0] for v, n in zip(rest, ("dgamma", "dbeta"), strict=True))
        return Gradients(dx, *values)

    def _gradient(self, role: str) -> Any:
        name = attribute(self.thing, role)
        if name is None:
            raise WrongReturn(
                "returns-nothing", f"backward left no {role}: neither returned nor kept",
                f"an attribute {' or '.join(NAMES[role][:2])}",
            )  # fmt: skip
        return getattr(self.thing, name)

    def running(self) -> Statistics | None:
        """Read the attributes."""
        if not (self._has("running_mean") and self._has("running_var")):
            return None
        return Statistics(
            self._get("running_mean").reshape(-1), self._get("running_var").reshape(-1)
        )

    def set_running(self, statistics: Statistics) -> None:
        """Replace the attributes."""
        self._set("running_mean", statistics.mean)
        self._set("running_var", statistics.var)

    def reloaded(self) -> tuple[Subject, str]:
        """Go through ``state_dict`` if there is one, else through pickle."""
        if hasattr(self.thing, "state_dict") and hasattr(self.thing, "load_state_dict"):
            new = self.make(*self.size)
            new.load_state_dict(pickle.loads(pickle.dumps(self.thing.state_dict())))
            return ObjectSubject(new, self.make, self.size, self.dtype), "state_dict"
        try:
            new = pickle.loads(pickle.dumps(self.thing))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise NotOffered(f"it has no state_dict, and cannot be pickled: {error}") from None
        return ObjectSubject(new, self.make, self.size, self.dtype), "pickle"

    def relaid(self, x: Array) -> dict[str, Array]:
        """Return y for the numbers of x in other memory layouts."""
        given = self.arrays.relaid(x, self.dtype)
        return {
            name: self.arrays.take(self._run(each, True), "y")[0] for name, each in given.items()
        }
