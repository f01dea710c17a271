"""Functions of the statistics of mini-batches: ``f(means, variances, counts) -> mean, var``.

Parameters are told by their names, or taken in this order. A function of six, for two shards
(``mean_a, var_a, n_a, mean_b, var_b, n_b``), is applied to one shard after the other.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from bn.check.adapters.arrays import Arrays, NumpyArrays
from bn.check.candidate import NotOffered, WrongReturn
from bn.check.diagnosis.population import Shards, Task
from bn.check.formula import Array, Statistics
from bn.check.names import UsageError, parameters

NAMES = {
    "means": ("means", "mean", "mus", "mu", "batch_means"),
    "variances": (
        "variances", "variance", "vars", "var", "batch_vars", "batch_variances", "sigma2",
    ),
    "counts": ("counts", "count", "m", "n", "ms", "ns", "sizes", "size", "batch_sizes",
               "batch_size"),
}  # fmt: skip
ROLES = {name: role for role, names in NAMES.items() for name in names}
#: What tells the two shards of a function of six apart.
SIDE = re.compile(r"(_?[abAB12xy]|_(old|new|left|right))$")
MERGES = ("merge", "combine", "sync", "gather", "aggregate", "reduce")
#: How counts are handed over: an array (B,), (B, 1), or one number for all.
Form = Literal["(B,)", "(B, 1)", "one number"]
FORMS: tuple[Form, ...] = ("(B,)", "(B, 1)", "one number")


def roles_of(function: Callable[..., Any]) -> dict[str, str] | None:
    """Return the roles of the parameters by their names; None if it is no such function."""
    found = {}
    for parameter in parameters(function):
        base = SIDE.sub("", parameter.name)
        role = ROLES.get(parameter.name) or ROLES.get(base)
        if role:
            found[parameter.name] = role
        elif parameter.default is parameter.empty:
            return None
    roles = list(found.values())
    often = {roles.count(role) for role in NAMES}
    is_one = {"means", "variances"} <= set(roles) and len(set(roles)) == len(roles)
    return found if is_one or often == {2} else None


def is_estimator(candidate: Any) -> bool:
    """Tell by the names of its parameters whether a candidate takes statistics, and no x."""
    function = candidate.func if isinstance(candidate, partial) else candidate
    return inspect.isroutine(function) and roles_of(candidate) is not None


class Estimator:
    """A candidate, and how it is called."""

    def __init__(self, function: Callable[..., Any], arrays: Arrays, task: Task | None) -> None:
        self.function, self.arrays = function, arrays
        roles = roles_of(function)
        if roles is None:
            needed = [p.name for p in parameters(function) if p.default is p.empty]
            if len(needed) not in (2, 3):
                raise UsageError(
                    f"the function needs {', '.join(needed) or 'nothing'}, expected means, "
                    "variances and counts; wrap it in a function of these three"
                )
            roles = dict(zip(needed, NAMES, strict=False))
        self.roles = roles
        self.pairs = len(roles) == 6
        plain = function.func if isinstance(function, partial) else function
        name = getattr(plain, "__name__", "").lower()
        merges = self.pairs or any(word in name for word in MERGES)
        self.task: Task = task or ("merge" if merges else "population")
        self.form: Form = FORMS[0]

    def __call__(self, shards: Shards) -> tuple[Statistics, Array | None]:
        """Return what it makes of shards: the statistics, and a count if it returns one."""
        if not self.pairs:
            return self._read(self._all(shards))
        came, count = Statistics(shards.means[0], shards.variances[0]), None
        for i in range(1, len(shards.means)):
            two = Shards(
                np.stack([came.mean, shards.means[i]]),
                np.stack([came.var, shards.variances[i]]),
                np.array([shards.counts[:i].sum(), shards.counts[i]]),
            )
            came, count = self._read(self._two(two))
        return came, count

    def _all(self, shards: Shards) -> Any:
        counts: Any = shards.counts
        if self.form == "one number":
            if len(set(shards.counts.tolist())) > 1:
                raise NotOffered("sizes that differ cannot be told to it")
            counts = int(counts[0])
        else:
            shape = (-1, 1) if self.form == "(B, 1)" else (-1,)
            # Whole numbers in NumPy; torch would divide those in float32.
            dtype = "int64" if isinstance(self.arrays, NumpyArrays) else "float64"
            counts = self.arrays.give(counts.reshape(shape), dtype)
        given = {
            "means": self.arrays.give(shards.means, "float64"),
            "variances": self.arrays.give(shards.variances, "float64"),
            "counts": counts,
        }
        return self.function(**{name: given[role] for name, role in self.roles.items()})

    def _two(self, shards: Shards) -> Any:
        given: dict[str, Any] = {}
        for name, role in self.roles.items():
            side = int(role in [self.roles[other] for other in given])  # the first, or the second
            values = getattr(shards, role)[side]
            given[name] = int(values) if role == "counts" else self.arrays.give(values, "float64")
        return self.function(**given)

    def _read(self, came: Any) -> tuple[Statistics, Array | None]:
        if came is None:
            raise WrongReturn("returns-nothing", "None", "mean, var")
        if not isinstance(came, (tuple, list)) or len(came) not in (2, 3):
            raise WrongReturn("returns-wrong-type", f"a {type(came).__name__}", "mean, var")
        mean, var = (self.arrays.take(came[i], name)[0] for i, name in enumerate(("mean", "var")))
        count = None
        if len(came) == 3:
            third = came[2]
            count = np.asarray(
                self.arrays.take(third, "count")[0] if self.arrays.is_array(third) else third
            )
        return Statistics(mean.reshape(-1), var.reshape(-1)), count
