"""Which names people give to the same things, and how to call what uses them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

#: What a parameter or an attribute is, by its name. The first name is the book's.
NAMES: dict[str, tuple[str, ...]] = {
    "x": ("x", "input", "inputs", "X", "data", "batch"),
    "gamma": ("gamma", "weight", "scale", "g"),
    "beta": ("beta", "bias", "shift", "offset", "b"),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum", "decay"),
    "running_mean": ("running_mean", "moving_mean", "exp_mean", "ema_mean", "mean_ema"),
    "running_var": (
        "running_var", "moving_var", "moving_variance", "running_variance", "exp_var", "ema_var",
        "var_ema",
    ),
    "training": ("training", "train", "is_training", "train_mode"),
    "mask": ("mask", "padding_mask"),
    "axis": ("axis", "channel_axis"),
    "bn_param": ("bn_param",),
    "dgamma": ("dgamma", "grad_gamma", "gamma_grad", "dweight", "grad_weight", "dw"),
    "dbeta": ("dbeta", "grad_beta", "beta_grad", "dbias", "grad_bias", "db"),
    "dy": ("dy", "dout", "grad", "grad_output", "upstream", "d_out", "dL_dy", "gradient"),
    "cache": ("cache", "ctx", "context", "saved"),
    "channels": (
        "num_features", "features", "channels", "num_channels", "n_features", "n_channels", "dim",
        "size", "num_units", "units", "n_out", "input_size", "in_features", "C", "D", "n", "c",
    ),
    "ndim": ("num_dims", "ndim", "dims", "n_dims"),
}  # fmt: skip

NUMBERS = {"eps", "momentum", "axis"}  # everything else that is kept is an array

ROLES = {name: role for role, names in NAMES.items() for name in names}
# As parameters these are fixed statistics; as attributes they would be those of the last batch.
ROLES |= {"mean": "running_mean", "var": "running_var", "variance": "running_var"}


class UsageError(TypeError):
    """What was given cannot be taken for a batch norm; the message says what would be."""


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that have names."""
    own = isinstance(function, type) and type(function).__call__ is not type.__call__
    try:
        # A metaclass that makes the instances hides what __init__ takes.
        read = inspect.signature(function.__init__ if own else function)
        found = list(read.parameters.values())[int(own) :]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the parameters of {function!r} cannot be read ({error}); wrap it in "
            "def f(x, gamma, beta, eps)"
        ) from None
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def required(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that have no default."""
    return [p.name for p in parameters(function) if p.default is p.empty]


def taking(function: Callable[..., Any], role: str) -> str | None:
    """Return the name of the parameter of this role, None if there is none."""
    try:
        found = parameters(function)
    except UsageError:
        return None
    return next((p.name for p in found if ROLES.get(p.name) == role), None)


def roles(function: Callable[..., Any], first: str, known: Collection[str]) -> dict[str, str]:
    """Return what each parameter of a function is, by role: ``{"gamma": "weight", ...}``.

    The first parameter has the role `first`, whatever its name. Three or four with names that
    are not known are taken to be x, gamma, beta and eps.

    Raises
    ------
    UsageError
        If a parameter without default has none of the `known` roles.
    """
    found, names = parameters(function), required(function)
    if not found:
        raise UsageError(f"{function!r} takes no arguments, expected at least {first}")
    assigned = {first: found[0].name}
    unknown = []
    for parameter in found[1:]:
        role = ROLES.get(parameter.name, "")
        if role in known and role not in assigned:
            assigned[role] = parameter.name
        elif parameter.name in names:
            unknown.append(parameter.name)
    plain = ("x", "gamma", "beta", "eps")
    mask = {role: name for role, name in assigned.items() if role == "mask"}
    positional = [name for name in names if name not in mask.values()]
    others = set(assigned) - set(plain) - set(mask)
    if first == "x" and unknown and len(positional) in (3, 4) and not others:
        return dict(zip(plain, positional, strict=False)) | mask
    if unknown:
        raise UsageError(
            f"{getattr(function, '__name__', function)!s} needs {', '.join(unknown)}, which is "
            f"none of the names that bn.check knows ({', '.join(sorted(known))}); wrap it in a "
            "function of (x, gamma, beta, eps)"
        )
    return assigned


def attribute(thing: Any, role: str) -> str | None:
    """Return the name under which `thing` keeps a value of this role, or None."""
    for name in NAMES[role]:
        value = getattr(thing, name, None)
        fits = isinstance(value, float | int) if role in NUMBERS else hasattr(value, "shape")
        if fits and not callable(value):
            return name
    return None


def build(make: Callable[..., Any], channels: int, ndim: int, **known: Any) -> Any:
    """Call a class (or a factory) with what it requires.

    Raises
    ------
    UsageError
        If it requires something else than a number of channels or of axes.
    """
    arguments: dict[str, Any] = {}
    unknown = []
    for name in required(make):
        if name in known:
            arguments[name] = known[name]
        elif ROLES.get(name) == "ndim":
            arguments[name] = ndim
        elif ROLES.get(name) == "channels":
            arguments[name] = channels
        else:
            unknown.append(name)
    if len(unknown) == 1 and channels not in arguments.values():
        arguments[unknown.pop()] = channels  # a lone argument is the number of channels
    if unknown:
        raise UsageError(
            f"{getattr(make, '__name__', make)!s} needs {', '.join(unknown)}; name a function "
            "without arguments that returns an instance"
        )
    return make(**arguments)
