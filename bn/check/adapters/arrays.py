"""Arrays of a framework, given and taken as NumPy's; here those of NumPy itself."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bn.check.candidate import WrongReturn
from bn.check.formula import Array


class Arrays(Protocol):
    """How to hand arrays to a candidate, and to read what it returns."""

    def give(self, array: Array, dtype: str) -> Any:
        """Return the candidate's kind of array, a copy."""

    def take(self, value: Any, what: str) -> tuple[Array, str]:
        """Return the numbers in float64, and the type they came in."""

    def relaid(self, array: Array, dtype: str) -> dict[str, Any]:
        """Return the same numbers in other memory layouts."""

    def is_array(self, value: Any) -> bool:
        """Tell whether `take` would take it."""


class NumpyArrays:
    """NumPy's own."""

    def give(self, array: Array, dtype: str) -> Array:  # noqa: D102
        return np.array(array, dtype=dtype, order="C")

    def take(self, value: Any, what: str) -> tuple[Array, str]:  # noqa: D102
        if not isinstance(value, (np.ndarray, np.generic)):
            raise wrong_type(value, what, "a NumPy array")
        check_kind(value.dtype.kind, value.dtype.name, what)
        return np.array(value, dtype=np.float64), value.dtype.name

    def relaid(self, array: Array, dtype: str) -> dict[str, Array]:  # noqa: D102
        given = self.give(array, dtype)
        every_other = np.zeros((2 * given.shape[0], *given.shape[1:]), given.dtype)
        every_other[::2] = given
        return {
            "in Fortran's order": np.asfortranarray(given),
            "every other row of a larger array": every_other[::2],
            "with a negative stride": given[::-1].copy()[::-1],
        }

    def is_array(self, value: Any) -> bool:  # noqa: D102
        return isinstance(value, np.ndarray)


def wrong_type(value: Any, what: str, expected: str) -> WrongReturn:
    """Return the error for a value of another type."""
    if value is None:
        return WrongReturn("returns-nothing", f"{what} is None", expected)
    name = type(value).__name__
    return WrongReturn("returns-wrong-type", f"{what} is of type {name}", expected)


def check_kind(kind: str, name: str, what: str) -> None:
    """Raise unless a type is one of floating-point numbers."""
    if kind not in "fV":  # V: bfloat16 of the ml_dtypes package
        raise WrongReturn(
            "returns-wrong-type", f"{what} has dtype {name}", "floating-point numbers"
        )


def is_first_of_many(value: Any) -> bool:
    """Tell whether a function returned y and more: a cache, or running statistics."""
    return isinstance(value, (tuple, list)) and len(value) > 0
