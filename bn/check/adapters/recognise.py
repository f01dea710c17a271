"""What was given: a class, an instance, a function, or several; and of which framework."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from bn.check.adapters.arrays import NumpyArrays
from bn.check.adapters.functions import FunctionCandidate
from bn.check.adapters.objects import ObjectCandidate
from bn.check.candidate import Candidate, Kind
from bn.check.names import NAMES, UsageError, attribute, build, required

EXPECTED = (
    "expected a function f(x, gamma, beta, eps), a tuple (forward, backward), a class or an "
    "instance with forward, a torch.nn.Module, a Keras layer or a Flax module, or a function "
    "without arguments that returns one"
)


def recognise(candidate: Any, framework: str | None = None) -> Candidate:
    """Return the candidate behind the adapter that fits it.

    Parameters
    ----------
    candidate : object
        What the user gave.
    framework : {"numpy", "torch"}, optional
        What the arrays of a function are, where its code does not show it.

    Raises
    ------
    UsageError
        If nothing fits.
    """
    if isinstance(candidate, (tuple, list)):
        if not 1 <= len(candidate) <= 3 or not all(map(callable, candidate)):
            raise UsageError("a tuple has to hold forward, backward and perhaps double backward")
        return _functions(tuple(candidate), framework)
    if isinstance(candidate, type):
        return _made(candidate, None, partial(build, candidate))
    if family(type(candidate)) != "numpy" or hasattr(candidate, "forward") or _is_layer(candidate):
        return _made(type(candidate), candidate, lambda *_, **__: copy.deepcopy(candidate))
    if not callable(candidate):
        raise UsageError(f"the candidate is of type {type(candidate).__name__}; {EXPECTED}")
    if required(candidate):
        return _functions((candidate,), framework)
    made = candidate()
    if made is None or isinstance(made, (str, int, float, tuple, list, dict)):
        raise UsageError(f"without arguments it returns a {type(made).__name__}; {EXPECTED}")
    return _made(type(made), made, lambda *_, **__: candidate())


def _is_layer(thing: Any) -> bool:
    """Tell an object that normalizes when it is called from a mere function."""
    roles = ("gamma", "running_mean", "eps")
    return callable(thing) and any(attribute(thing, role) for role in roles)


def _made(kind: type, example: Any, make: Callable[..., Any]) -> Candidate:
    """Return the candidate for a class, or for the class of an example; `make` makes others."""
    channels = None if example is None else _channels(example)
    of = family(kind)
    if of == "torch":
        from bn.check.adapters.torch_modules import ModuleCandidate

        halves = ("float16", "bfloat16")
        return ModuleCandidate(make, Kind("torch module", channels=channels, halves=halves))
    if of == "keras":
        from bn.check.adapters.keras_layers import KerasCandidate

        return KerasCandidate(make, channels)
    if of in ("linen", "nnx"):
        from bn.check.adapters.flax_modules import FlaxCandidate

        return FlaxCandidate(make, channels, nnx=of == "nnx")
    if not (hasattr(kind, "forward") or "__call__" in vars(kind)):
        raise UsageError(f"{kind.__name__} has no method forward; {EXPECTED}")
    axis = getattr(make(3, 4) if example is None else example, "axis", None)
    axes = (axis,) if isinstance(axis, int) else (1, -1)
    return ObjectCandidate(make, Kind("NumPy class", axes, channels))


def family(kind: type) -> str:
    """Return "torch", "keras", "linen", "nnx" or "numpy", by what a class inherits from."""
    for base in kind.__mro__:
        package, name = base.__module__.split("."), base.__name__
        if package[0] == "torch" and name == "Module":
            return "torch"
        if package[0] == "keras" and name == "Layer":
            return "keras"
        if package[0] == "flax" and name == "Module":
            return "linen" if "linen" in package else "nnx"
    return "numpy"


def _channels(thing: Any) -> int | None:
    """Return the number of channels of an instance, None if it does not show it."""
    for name in NAMES["channels"][:5]:
        value = getattr(thing, name, None)
        if isinstance(value, int):
            return value
    for role in ("gamma", "running_mean"):
        found = attribute(thing, role)
        if found is not None and hasattr(getattr(thing, found), "shape"):
            size = 1
            for length in getattr(thing, found).shape:
                size *= int(length)
            return size
    return None


def _functions(functions: tuple[Callable[..., Any], ...], framework: str | None) -> Candidate:
    name = framework or framework_of(functions[0])
    plural = "functions" if len(functions) > 1 else "function"
    if name == "numpy":
        return FunctionCandidate(functions, NumpyArrays(), Kind(f"NumPy {plural}"))
    if name == "torch":
        from bn.check.adapters.torch_arrays import TorchArrays
        from bn.check.adapters.torch_modules import TorchFunctionCandidate

        kind = Kind(f"torch {plural}", halves=("float16", "bfloat16"))
        return TorchFunctionCandidate(functions, TorchArrays(), kind)
    raise UsageError(f"framework is {name!r}, expected 'numpy' or 'torch'")


def framework_of(function: Callable[..., Any]) -> str:
    """Tell by a function's own code what its arrays are; NumPy where it does not show."""
    function = inspect.unwrap(getattr(function, "func", function))  # of functools.partial
    package = (getattr(function, "__module__", "") or "").split(".")
    if "torch" in package or "pytorch" in package:
        return "torch"
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    if code is None:
        return "numpy"
    names = set(code.co_names) | {name for c in code.co_consts if hasattr(c, "co_names")
                                  for name in c.co_names}  # fmt: skip
    used = {_package(space[name]) for name in names if name in space}
    if "torch" in used and "numpy" not in used:
        return "torch"
    if "numpy" in used:
        return "numpy"
    hints = {_package(value) for value in space.values()}
    annotated = any("Tensor" in str(hint) for hint in inspect.get_annotations(function).values())
    return "torch" if annotated or ("torch" in hints and "numpy" not in hints) else "numpy"


def _package(value: Any) -> str:
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")
    return str(name or "").split(".")[0]
