"""Functions: ``f(x, gamma, beta, eps) -> y`` and what else people write, with a backward pass.

Parameters are told by their names (``bn.check.names``). A forward function returns y, or a
tuple that begins with y. A backward function takes the cache that came with y, or arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bn.check.adapters.arrays import Arrays, is_first_of_many
from bn.check.candidate import Candidate, Kind, NotOffered, Subject, WrongReturn
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients, SecondGradients, Upstream
from bn.check.names import required, roles

FORWARD = {
    "gamma", "beta", "eps", "momentum", "running_mean", "running_var", "training", "axis",
    "bn_param", "mask",
}  # fmt: skip
BACKWARD = {"cache", "x", "gamma", "beta", "eps", "axis", "running_mean", "running_var", "mask"}

#: What is given where a function asks for it: values that are nobody's default.
EPS = 0.01
MOMENTUM = 0.2


class FunctionCandidate(Candidate):
    """One to three functions: forward, backward, and the backward pass of the backward pass."""

    def __init__(self, functions: Sequence[Callable[..., Any]], arrays: Arrays, kind: Kind) -> None:
        self.functions, self.arrays, self.kind = functions, arrays, kind
        self.roles = roles(functions[0], "x", FORWARD)
        self.backward_roles: dict[str, str] | None = None
        if len(functions) > 1:
            self.backward_roles = roles(functions[1], "dy", BACKWARD)

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a new state: gamma 1, beta 0, running statistics 0 and 1."""
        return FunctionSubject(self, channels, axis, dtype)


class FunctionSubject(Subject):
    """What a function is given besides x, kept from call to call."""

    given = True

    def __init__(self, candidate: FunctionCandidate, channels: int, axis: int, dtype: str) -> None:
        self.candidate, self.arrays = candidate, candidate.arrays
        self.channels, self.axis, self.dtype = channels, axis, dtype
        self.known = candidate.roles
        in_dict = "bn_param" in self.known
        self.affine = "gamma" in self.known
        self.masked = "mask" in self.known
        self.eps = EPS if in_dict or "eps" in self.known else None
        if in_dict or "momentum" in self.known:
            self.momentum = MOMENTUM
        self.tracks = in_dict or "running_mean" in self.known
        if self.tracks:
            updates = in_dict or "momentum" in self.known or "training" in self.known
            self.modes = ("training", "inference") if updates else ("inference",)
        # Statistics and parameters are few: in half precision they stay in float32.
        self.small = dtype if dtype in ("float32", "float64") else "float32"
        self.gamma, self.beta = self._small(np.ones(channels)), self._small(np.zeros(channels))
        mean, var = self._small(np.zeros(channels)), self._small(np.ones(channels))
        self.state = {"running_mean": mean, "running_var": var}

    def _small(self, values: Array) -> Any:
        return self.arrays.give(values, self.small)

    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Keep gamma and beta for the next call."""
        self.gamma, self.beta = self._small(gamma), self._small(beta)

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call the function; return y."""
        return self.take_y(self.call(self.arrays.give(x, self.dtype), training=training))

    def take_y(self, y: Any) -> Array:
        """Return y as numbers, and keep its type."""
        numbers, self.returned = self.arrays.take(y, "y")
        return numbers

    def call(self, x: Any, *, training: bool) -> Any:
        """Call the function; keep what it returned besides y."""
        given: dict[str, Any] = {
            "gamma": self.gamma, "beta": self.beta, "eps": EPS, "momentum": MOMENTUM,
            "training": training, "axis": self.axis, **self.state,
        }  # fmt: skip
        if "bn_param" in self.known:
            given["bn_param"] = self.bn_param = {
                "mode": "train" if training else "test", "eps": EPS, "momentum": MOMENTUM,
                **self.state,
            }  # fmt: skip
        arguments = {name: given[role] for role, name in self.known.items() if role in given}
        arguments |= self._mask(self.candidate.functions[0], self.known, x)
        before = self.arrays.take(x, "x")[0]
        result = self.candidate.functions[0](x, **arguments)
        if not np.array_equal(before, self.arrays.take(x, "x")[0], equal_nan=True):
            self.changed = "x"
        self.cache: Any = None
        if is_first_of_many(result):
            self._keep(result[1:])
            result = result[0]
        if "bn_param" in self.known:
            self.state = {name: self.bn_param[name] for name in self.state}
        return result

    def _mask(self, function: Callable[..., Any], known: dict[str, str], x: Any) -> dict[str, Any]:
        """Return the mask as an argument; one that leaves nothing out where one is required."""
        name, mask = known.get("mask"), self.mask
        if mask is None and name in required(function):
            mask = np.ones([1 if a == self.axis else n for a, n in enumerate(x.shape)], bool)
        if name is None or mask is None:
            return {}
        return {name: self.arrays.give(mask, mask.dtype.name)}

    def _keep(self, rest: Sequence[Any]) -> None:
        """Keep the cache, or the running statistics, that came with y."""
        self.cache = rest[0] if len(rest) == 1 else tuple(rest)
        news = [each for each in rest if self.arrays.is_array(each)]
        sizes = [int(np.prod(each.shape)) for each in news]
        if self.tracks and len(news) == 2 and sizes == [self.channels] * 2:
            self.state = dict(zip(self.state, news, strict=True))

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Call forward and the backward function."""
        if len(self.candidate.functions) < 2:
            raise NotOffered("no backward function was given")
        return self.read(self.run_backward(x, dy, training))

    def run_backward(self, x: Array, dy: Array, training: bool) -> Any:
        """Return what the backward function returns."""
        given: dict[str, Any] = {
            "x": self.arrays.give(x, self.dtype), "dy": self.arrays.give(dy, self.dtype),
            "gamma": self.gamma, "beta": self.beta, "eps": EPS, "axis": self.axis, **self.state,
        }  # fmt: skip
        self.call(self.arrays.give(x, self.dtype), training=training)
        given["cache"] = self.cache
        known = self.candidate.backward_roles or {}
        if "cache" in known and self.cache is None:
            if not training:
                raise NotOffered("no backward pass in inference")
            raise WrongReturn("returns-nothing", "y alone, or None as the cache", "y and a cache")
        arguments = {name: given[role] for role, name in known.items() if role in given}
        arguments |= self._mask(self.candidate.functions[1], known, given["x"])
        return self.candidate.functions[1](**arguments)

    def read(self, came: Any) -> Gradients:
        """Return what a backward function returned as gradients."""
        if not isinstance(came, (tuple, list)):
            came = (came,)
        if len(came) not in (1, 3):
            raise WrongReturn(
                "returns-wrong-type", f"backward returned {len(came)} values", "dx, dgamma, dbeta"
            )
        names = ("dx", "dgamma", "dbeta")[: 3 if self.affine else 1]
        values = [self.arrays.take(each, name)[0] for name, each in zip(names, came, strict=False)]
        return Gradients(*values)

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Call forward and the third function, if there is one."""
        if len(self.candidate.functions) < 3:
            raise NotOffered("no function for the second gradient was given")
        self.call(self.arrays.give(x, self.dtype), training=True)
        given = (upstream.ddx, upstream.ddgamma, upstream.ddbeta, dy)
        came = self.candidate.functions[2](
            *(self.arrays.give(each, self.dtype) for each in given), self.cache
        )
        names = ("for dy", "for x", "for gamma")
        return SecondGradients(
            *(self.arrays.take(each, name)[0] for name, each in zip(names, came, strict=True))
        )

    def running(self) -> Statistics | None:
        """Return what the function did to the arrays it was given, or returned."""
        if not self.tracks:
            return None
        values = [self.arrays.take(each, name)[0] for name, each in self.state.items()]
        return Statistics(*(each.reshape(-1) for each in values))

    def set_running(self, statistics: Statistics) -> None:
        """Keep them for the next call."""
        mean, var = self._small(statistics.mean), self._small(statistics.var)
        self.state = {"running_mean": mean, "running_var": var}

    def relaid(self, x: Array) -> dict[str, Array]:
        """Return y for the numbers of x in other memory layouts."""
        given = self.arrays.relaid(x, self.dtype)
        return {name: self.take_y(self.call(each, training=True)) for name, each in given.items()}
