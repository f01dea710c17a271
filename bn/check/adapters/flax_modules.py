"""Modules of Flax, both kinds: linen (state outside) and nnx (state inside).

Importing this imports nothing; making a candidate imports jax, which the user's code has done.
Both kinds are turned into one pure function of (variables, x), which jax differentiates.
"""

from __future__ import annotations

import importlib
import pickle
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bn.check.adapters.arrays import wrong_type
from bn.check.candidate import Candidate, Kind, NotOffered, Subject, WrongReturn
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients, SecondGradients, Upstream
from bn.check.names import parameters, taking

Make = Callable[..., Any]
LEAVES = {
    "gamma": ("scale", "gamma", "weight"),
    "beta": ("bias", "beta", "shift"),
    "running_mean": ("mean", "running_mean", "moving_mean"),
    "running_var": ("var", "running_var", "moving_var"),
}


class FlaxCandidate(Candidate):
    """Makes modules of linen or nnx."""

    def __init__(self, make: Make, channels: int | None, *, nnx: bool) -> None:
        self.make, self.nnx = make, nnx
        self.jax: Any = importlib.import_module("jax")
        self.jnp: Any = importlib.import_module("jax.numpy")
        if nnx:
            rngs = importlib.import_module("flax.nnx").Rngs(0)
            self.make = lambda channels, ndim: make(channels, ndim, rngs=rngs)
        axis = getattr(self.make(channels or 3, 4), "axis", None)
        dtypes = ("float64", "float32") if self.jax.config.jax_enable_x64 else ("float32",)
        self.kind = Kind(
            f"Flax module ({'nnx' if nnx else 'linen'})",
            (axis,) if isinstance(axis, int) else (-1, 1),
            channels,
            dtypes=dtypes,
            halves=("float16", "bfloat16"),
        )

    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a fresh module and its variables."""
        make = NnxSubject if self.nnx else LinenSubject
        return make(self, (channels, ndim, axis), dtype)


class FlaxSubject(Subject):
    """What linen and nnx share: leaves by name, and calls of a pure function."""

    variables: dict[tuple[str, ...], Any]
    modes: tuple[str, ...] = ("training", "inference")

    def __init__(self, candidate: FlaxCandidate, size: tuple[int, int, int], dtype: str) -> None:
        self.candidate, self.size, self.dtype = candidate, size, dtype
        self.jax, self.jnp = candidate.jax, candidate.jnp
        self.module = candidate.make(*size[:2])
        self.masked = taking(type(self.module).__call__, "mask") == "mask"
        eps = getattr(self.module, "epsilon", getattr(self.module, "eps", None))
        self.eps = None if eps is None else float(eps)
        self.momentum = getattr(self.module, "momentum", self.momentum)
        self.variables = dict(self.initial())
        self.affine = all(self.path(role) for role in ("gamma", "beta"))

    @abstractmethod
    def initial(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield the variables of a fresh module, each with its path."""

    @abstractmethod
    def pure(
        self, variables: dict[tuple[str, ...], Any], x: Any, training: bool
    ) -> tuple[Any, dict[tuple[str, ...], Any]]:
        """Return y and the variables after the call."""

    def _mask(self) -> dict[str, Any]:
        return {} if self.mask is None else {"mask": self.jnp.asarray(self.mask)}

    def path(self, role: str) -> tuple[str, ...] | None:
        """Return where a value of this role is kept."""
        for path, value in self.variables.items():
            names = [part for part in path if part not in ("value", "raw_value")]
            if names and names[-1] in LEAVES[role] and np.size(value) == self.size[0]:
                return path
        return None

    def _set(self, role: str, values: Array) -> None:
        path = self.path(role)
        if path is None:
            raise NotOffered(f"no {role} was found among the variables")
        old = self.variables[path]
        self.variables[path] = self.jnp.asarray(values.reshape(old.shape), old.dtype)

    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Replace the variables."""
        if self.affine:
            self._set("gamma", gamma)
            self._set("beta", beta)

    def _take(self, value: Any, what: str) -> Array:
        if not isinstance(value, self.jax.Array):
            raise wrong_type(value, what, "an array of jax")
        if not self.jnp.issubdtype(value.dtype, self.jnp.floating):
            came = f"{what} has dtype {value.dtype}"
            raise WrongReturn("returns-wrong-type", came, "floating-point numbers")
        if what == "y":
            self.returned = str(value.dtype)
        return np.asarray(value.astype(self.jnp.float32) if value.dtype.itemsize < 4 else value,
                          np.float64)  # fmt: skip

    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Call the module, and keep the variables that come out."""
        given = self.jnp.asarray(x, self.dtype)
        y, variables = self.pure(self.variables, given, training)
        numbers = self._take(y, "y")
        self.variables = variables
        return numbers

    def _function(self, training: bool) -> tuple[Callable[..., Any], list[Any]]:
        """Return y as a function of x and, if there are, gamma and beta; and the latter two."""
        found = [self.path("gamma"), self.path("beta")] if self.affine else []
        paths = [path for path in found if path is not None]

        def function(x: Any, *affine: Any) -> Any:
            changed = dict(zip(paths, affine, strict=True)) if affine else {}
            return self.pure(self.variables | changed, x, training)[0]

        return function, [self.variables[path] for path in paths]

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Let jax do it."""
        function, affine = self._function(training)
        y, pull = self.jax.vjp(function, self.jnp.asarray(x, self.dtype), *affine)
        found = pull(self.jnp.asarray(dy, y.dtype))
        return Gradients(*(self._take(each, "a gradient") for each in found))

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Let jax do it twice."""
        function, affine = self._function(training=True)
        above = (upstream.ddx, upstream.ddgamma, upstream.ddbeta)[: 1 + len(affine)]

        def total(dy: Any, x: Any, *affine: Any) -> Any:
            first = self.jax.vjp(function, x, *affine)[1](dy)
            pairs = zip(above, first, strict=True)
            return sum((self.jnp.asarray(a.reshape(g.shape), g.dtype) * g).sum() for a, g in pairs)

        given = [self.jnp.asarray(each, self.dtype) for each in (dy, x)]
        found = self.jax.grad(total, argnums=(0, 1, 2)[: 2 + bool(affine)])(*given, *affine)
        return SecondGradients(*(self._take(each, "a second gradient") for each in found))

    def running(self) -> Statistics | None:
        """Read the variables."""
        paths = [self.path("running_mean"), self.path("running_var")]
        values = [self.variables[path] for path in paths if path is not None]
        if len(values) < 2:
            return None
        return Statistics(*(self._take(each, "a statistic").reshape(-1) for each in values))

    def set_running(self, statistics: Statistics) -> None:
        """Replace the variables."""
        self._set("running_mean", statistics.mean)
        self._set("running_var", statistics.var)

    def reloaded(self) -> tuple[Subject, str]:
        """Carry the variables over to a fresh module, through pickle."""
        new = type(self)(self.candidate, self.size, self.dtype)
        as_arrays = {path: np.asarray(value) for path, value in self.variables.items()}
        loaded = pickle.loads(pickle.dumps(as_arrays))
        new.variables = {path: self.jnp.asarray(value) for path, value in loaded.items()}
        return new, "its variables"


class LinenSubject(FlaxSubject):
    """A module of linen: variables go in and come out."""

    def _mode(self, training: bool) -> dict[str, bool]:
        names = [p.name for p in parameters(type(self.module).__call__)]
        for name, value in (
            ("use_running_average", not training), ("train", training), ("training", training),
            ("is_training", training),
        ):  # fmt: skip
            if name in names:
                return {name: value}
        self.modes = ("training",)
        return {}

    def initial(self) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: D102
        channels, ndim, axis = self.size
        shape = [2] * ndim
        shape[axis] = channels
        x = self.jnp.zeros(shape, self.dtype)
        tree = self.module.init(self.jax.random.key(0), x, **self._mode(True))
        return _flat(tree)

    def pure(  # noqa: D102
        self, variables: dict[tuple[str, ...], Any], x: Any, training: bool
    ) -> tuple[Any, dict[tuple[str, ...], Any]]:
        collections = sorted({path[0] for path in variables} - {"params"})
        y, changed = self.module.apply(
            _nested(variables), x, mutable=collections, **self._mode(training), **self._mask()
        )
        return y, variables | dict(_flat(changed))


class NnxSubject(FlaxSubject):
    """A module of nnx: taken apart before each call, and put together again."""

    def initial(self) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: D102
        nnx = importlib.import_module("flax.nnx")
        self.graph, state = nnx.split(self.module)
        self.leaves, self.shape = self.jax.tree.flatten_with_path(state)
        for path, value in self.leaves:
            yield tuple(_key(part) for part in path), value

    def pure(  # noqa: D102
        self, variables: dict[tuple[str, ...], Any], x: Any, training: bool
    ) -> tuple[Any, dict[tuple[str, ...], Any]]:
        nnx = importlib.import_module("flax.nnx")
        module = nnx.merge(self.graph, self.jax.tree.unflatten(self.shape, variables.values()))
        (module.train if training else module.eval)()
        y = module(x, **self._mask())
        leaves = self.jax.tree.leaves(nnx.split(module)[1])
        return y, dict(zip(variables, leaves, strict=True))


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", part)))


def _flat(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the leaves of nested dictionaries, each with its path."""
    if hasattr(tree, "items"):
        for name, branch in tree.items():
            yield from _flat(branch, (*path, str(name)))
    else:
        yield path, tree


def _nested(leaves: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return nested dictionaries: the reverse of :func:`_flat`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = value
    return tree
