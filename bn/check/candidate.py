"""What the checks know of a candidate: a recipe for fresh instances, NumPy arrays in and out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from bn.check.diagnosis.running import UNDECLARED, Momentum
from bn.check.formula import Array, Statistics
from bn.check.gradients import Gradients, SecondGradients, Upstream


class NotOffered(Exception):  # noqa: N818  it is no error: a function without backward, for one
    """The candidate does not have this."""


class WrongReturn(Exception):  # noqa: N818
    """The candidate returned something else than what it must; `mistake` names it."""

    def __init__(self, mistake: str, came: str, expected: str) -> None:
        super().__init__(f"{came}, expected {expected}")
        self.mistake, self.came, self.expected = mistake, came, expected


@dataclass(frozen=True)
class Kind:
    """What a candidate is by its make, before anything is fed.

    Attributes
    ----------
    name : str
        For people: "torch module", "NumPy function".
    axes : tuple of int
        Where the channels may be; (1, -1) where that has to be found out.
    channels : int or None
        The number of channels, where it is fixed.
    dtypes : tuple of str
        Input types to try, the widest first.
    halves : tuple of str
        Half-precision input types to try.
    """

    name: str
    axes: tuple[int, ...] = (1, -1)
    channels: int | None = None
    dtypes: tuple[str, ...] = ("float64", "float32")
    halves: tuple[str, ...] = ("float16",)


class Subject(ABC):
    """One fresh instance of the candidate, with its state.

    Arrays are float64 on both sides; `dtype` is the type in which the candidate itself sees
    them. ``returned`` is the type of the last y.
    """

    dtype: str = "float64"
    returned: str = ""
    eps: float | None = None  # as declared
    momentum: Momentum = UNDECLARED
    unbiased: bool | None = None  # as declared: which variance the running one holds
    modes: tuple[str, ...] = ("training",)  # and "inference"
    affine: bool = True
    masked: bool = False  # whether it takes a mask
    mask: Array | None = None  # given with every call from now on, as it is
    given: bool = False  # eps and momentum are what the checks gave, not what it declares
    changed: str = ""  # what of the input was overwritten

    @abstractmethod
    def set_affine(self, gamma: Array, beta: Array) -> None:
        """Set gamma and beta, shape (C,). Without parameters: set `affine` to False."""

    @abstractmethod
    def forward(self, x: Array, *, training: bool = True, graph: bool = True) -> Array:
        """Return y. `graph` is False for a call in which no gradient is wanted."""

    def backward(self, x: Array, dy: Array, *, training: bool = True) -> Gradients:
        """Run forward, and return the gradients of sum(dy·y), in the shapes that came."""
        raise NotOffered("no backward pass")

    def second(self, x: Array, dy: Array, upstream: Upstream) -> SecondGradients:
        """Return the gradients of the gradients in training."""
        raise NotOffered("no second backward pass")

    def running(self) -> Statistics | None:
        """Return copies of the running statistics, None if there are none."""
        return None

    def set_running(self, statistics: Statistics) -> None:
        """Set the running statistics."""
        raise NotOffered("the running statistics cannot be set")

    def reloaded(self) -> tuple[Subject, str]:
        """Save the state, restore it in a new instance; return that, and how it was done."""
        raise NotOffered("it has no state")

    def relaid(self, x: Array) -> dict[str, Array]:
        """Return y in training for the numbers of x in other memory layouts, by their name."""
        return {}


class Candidate(ABC):
    """Makes subjects."""

    kind: Kind

    @abstractmethod
    def subject(self, channels: int, ndim: int, axis: int, dtype: str) -> Subject:
        """Return a fresh instance for inputs of this kind."""
