"""Say what is wrong first with a reader's answer to an exercise, and why if that can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Function = Callable[..., Any]


def answer(
    candidate: Function,
    expected: Function,
    given: tuple[Any, ...] | Sequence[tuple[Any, ...]],
    *,
    names: Sequence[str],
    guesses: Mapping[str, Function] | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-10,
) -> str:
    """Compare a function with one that is right; name the first thing that differs.

    Parameters
    ----------
    candidate : function
        The reader's. It gets copies of the arguments, so that it may change them.
    expected : function
        What is right, with the same arguments.
    given : tuple, or list of tuple
        The arguments of one call, or of several.
    names : sequence of str
        What the results are called, in their order. With one name the function returns one
        result, otherwise a tuple.
    guesses : dict, optional
        Well-known mistakes: a sentence, and a function that makes it. If its result is the
        candidate's, the sentence is the explanation.
    rtol, atol : float
        How far a value may be off: by ``atol + rtol * abs(expected)``.

    Returns
    -------
    str
        ``"right"``; ``"not written yet"`` if the candidate returns None or ``...``; otherwise
        a sentence.

    Examples
    --------
    >>> import numpy as np
    >>> def variance(x):
    ...     return ((x - x.mean()) ** 2).sum() / (len(x) - 1)
    >>> answer(variance, np.var, (np.array([1.0, 2.0, 3.0, 6.0]),), names=["var"],
    ...        guesses={"it divides by m - 1": lambda x: np.var(x, ddof=1)})
    'var is wrong: got 4.66667, expected 3.5; it divides by m - 1'
    """
    calls = [given] if isinstance(given, tuple) else list(given)
    for arguments in calls:
        right = _results(expected(*_copies(arguments)), names)
        try:
            value = candidate(*_copies(arguments))
        except Exception as error:  # whatever the reader's code raises is the finding
            return f"it raised {type(error).__name__}: {error}"
        if value is None or value is Ellipsis:
            return "not written yet"
        if len(names) > 1 and not (isinstance(value, tuple | list) and len(value) == len(names)):
            what = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
            return f"expected a tuple of {len(names)} results: {', '.join(names)}; got {what}"
        came = _results(value, names)
        fault = _first_fault(came, right, names, rtol, atol)
        if fault:
            return fault + _explanation(came, arguments, guesses or {}, names, rtol, atol)
    return "right"


def _copies(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.copy() if isinstance(each, np.ndarray) else each for each in arguments)


def _results(value: Any, names: Sequence[str]) -> list[Any]:
    return [value] if len(names) == 1 else list(value)


def _first_fault(
    came: list[Any], right: list[Any], names: Sequence[str], rtol: float, atol: float
) -> str:
    """Return a sentence on the first result that is off, or an empty one."""
    for name, got, wanted in zip(names, came, right, strict=True):
        wanted = np.asarray(wanted)
        try:
            got = np.asarray(got)
            numeric = got.dtype.kind in "biufc"
        except ValueError:  # rows of different lengths
            numeric = False
        if not numeric:
            return f"{name} is a {type(got).__name__} that does not hold numbers"
        if got.shape != wanted.shape:
            return f"{name} has shape {got.shape}, expected {wanted.shape}"
        off = ~np.isclose(got, wanted, rtol=rtol, atol=atol)
        if off.any():
            where = tuple(int(i) for i in np.argwhere(off)[0])
            place = f" at [{', '.join(map(str, where))}]" if where else ""
            return f"{name} is wrong{place}: got {got[where]:.6g}, expected {wanted[where]:.6g}"
    return ""


def _explanation(
    came: list[Any],
    arguments: tuple[Any, ...],
    guesses: Mapping[str, Function],
    names: Sequence[str],
    rtol: float,
    atol: float,
) -> str:
    """Return the guess whose results are the ones that came, as the end of a sentence."""
    for sentence, mistaken in guesses.items():
        same = _results(mistaken(*_copies(arguments)), names)
        if not _first_fault(came, same, names, rtol, atol):
            return f"; {sentence}"
    return ""
