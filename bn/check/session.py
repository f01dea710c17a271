"""What the checks share: calls that cannot break the report, and how findings are put."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from bn.check.candidate import Candidate, NotOffered, Subject, WrongReturn
from bn.check.diagnosis import Explanation
from bn.check.diagnosis.running import Convention
from bn.check.formula import Array, Batch, Statistics
from bn.check.names import UsageError
from bn.check.report import Finding, Report, Severity
from bn.check.showing import short

T = TypeVar("T")

#: By the type that comes back: how far a right result may be off, relative to its largest value.
TOLERANCE = {"float64": 1e-8, "float32": 2e-4, "float16": 5e-3, "bfloat16": 4e-2}


class TimeUp(BaseException):
    """Raised in the midst of a candidate whose time is over."""


class CandidateError(Exception):
    """The candidate raised an error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def came(self) -> str:
        """The error and the place in the candidate's code, in one line."""
        frames = traceback.extract_tb(self.error.__traceback__)
        own = os.path.dirname(__file__)
        outside = [frame for frame in frames if not frame.filename.startswith(own)]
        users = [frame for frame in outside if "site-packages" not in frame.filename]
        name, text = type(self.error).__name__, " ".join(str(self.error).split())
        place = ""
        if outside:
            last = (users or outside)[-1]
            place = f" ({os.path.basename(last.filename)}, line {last.lineno}, in {last.name})"
        return f"{name}: {text[:300]}{place}" if text else f"{name} without a message{place}"

    @property
    def is_clear(self) -> bool:
        """Whether it is an error with a message, of a type that one raises on purpose."""
        purposely = (ValueError, TypeError, RuntimeError, NotImplementedError, AssertionError)
        accident = (ZeroDivisionError, LookupError, AttributeError)
        is_meant = isinstance(self.error, purposely) or not isinstance(
            self.error, (*accident, ArithmeticError)
        )
        return is_meant and bool(str(self.error).strip())


class Skipped(Exception):  # noqa: N818
    """A check that cannot be made, with the reason."""


class Repeated(Exception):  # noqa: N818
    """A check that finds the mistake of an earlier one again: wrong, but said already."""


class Session:
    """One candidate under check, and what has been found out so far."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.candidate: Candidate
        self.activity = "recognising the candidate"
        self.channels = 3
        self.dtype = "float64"  # fed
        self.returned = "float64"
        self.coarse = False  # float64 that has the digits of float32
        self.layouts: list[tuple[int, int]] = []  # number of axes, axis of the channels
        self.eps = 1e-5
        self.modes: tuple[str, ...] = ()
        self.affine = True
        self.running: Statistics | None = None  # to set before a call; None if it has none
        self.forward: Explanation | None = None  # of what is wrong with it
        self.convention: Convention | None = None  # that moves the running statistics

    # -- calling

    def call(self, activity: str, function: Callable[[], T]) -> T:
        """Call the candidate: only the exceptions of this package come out.

        Raises
        ------
        CandidateError
            If the candidate raised anything.
        """
        self.activity = activity
        try:
            with np.errstate(all="ignore"):
                return function()
        except (NotOffered, WrongReturn, UsageError, TimeUp, KeyboardInterrupt):
            raise
        except BaseException as raised:  # SystemExit too: the report must be finished
            raise CandidateError(raised) from raised

    def subject(
        self,
        ndim: int,
        axis: int,
        *,
        batch: Batch | None = None,
        running: Statistics | None = None,
        dtype: str | None = None,
    ) -> Subject:
        """Return a fresh instance; with gamma and beta of the batch, and running statistics."""
        kind = dtype or self.dtype

        def make() -> Subject:
            subject = self.candidate.subject(self.channels, ndim, axis, kind)
            if batch is not None:
                subject.set_affine(batch.gamma, batch.beta)
            if running is not None:
                subject.set_running(running)
            return subject

        return self.call("making an instance", make)

    def ready(self, batch: Batch) -> Subject:
        """Return a fresh instance for a batch, with running statistics unlike the batch's."""
        return self.subject(batch.x.ndim, batch.axis, batch=batch, running=self.running)

    def y(
        self, subject: Subject, batch: Batch, *, training: bool = True, graph: bool = True
    ) -> Array:
        """Return y for a batch, of its shape."""
        mode = "training" if training else "inference"
        y = self.call(
            f"forward in {mode}, x of shape {batch.x.shape}",
            lambda: subject.forward(batch.x, training=training, graph=graph),
        )
        if y.shape != batch.x.shape:
            raise WrongReturn(
                "returns-wrong-shape", f"y of shape {y.shape} for x of shape {batch.x.shape}",
                f"y of shape {batch.x.shape}",
            )  # fmt: skip
        if subject.changed:
            self.find_once(
                "memory", "wrong", "input-changed", self.fed(batch),
                f"{subject.changed} holds other numbers after the call", "x as it was",
            )  # fmt: skip
        return y

    # -- what holds for the candidate

    @property
    def first(self) -> tuple[int, int]:
        """The simplest layout that it takes."""
        return self.layouts[0]

    @property
    def richest(self) -> tuple[int, int]:
        """A layout with positions, if it takes one."""
        return max(self.layouts, key=lambda layout: (layout[0] == 4, layout[0]))

    @property
    def tolerance(self) -> float:
        """How far a right result may be off."""
        narrow = TOLERANCE["float32"]
        own = TOLERANCE.get(self.returned, narrow)
        return max(own, narrow) if self.coarse else own

    def best(
        self, check: str, explain: Callable[[float], T], rank: Callable[[T], int]
    ) -> tuple[T, float]:
        """Explain to the last digit, or if that fails to those of float32; return the tolerance.

        `rank` is 0 for right, 1 for a known mistake and 2 for an unknown one.
        """
        fine = explain(self.tolerance)
        narrow = TOLERANCE["float32"]
        if rank(fine) < 2 or self.tolerance >= narrow:
            return fine, self.tolerance
        coarse = explain(narrow)
        if rank(coarse) == 2:
            return fine, self.tolerance
        self.coarse = True
        self.find_once(
            check, "weak", "computed-in-float32", f"x of {self.dtype}",
            f"numbers of {self.returned} that are right to some 7 digits", "to some 15 digits",
        )  # fmt: skip
        return coarse, narrow

    @property
    def stopped(self) -> bool:
        """Whether nothing came through, so that no further check can be made."""
        return not self.layouts

    @property
    def trains(self) -> bool:
        """Whether it has a training mode."""
        return "training" in self.modes

    # -- saying it

    def find(
        self,
        check: str,
        severity: Severity,
        mistake: str,
        fed: str,
        came: str,
        expected: str,
        batch: Batch | None = None,
    ) -> None:
        """Add a finding."""
        given = None
        if batch is not None and batch.x.size <= 64:
            given = {
                "x": batch.x.tolist(), "gamma": batch.gamma.tolist(), "beta": batch.beta.tolist(),
                "dy": batch.dy.tolist(), "eps": self.eps, "axis": batch.axis,
            }  # fmt: skip
        self.report.findings.append(Finding(check, severity, mistake, fed, came, expected, given))

    def find_once(
        self, check: str, severity: Severity, mistake: str, fed: str, came: str, expected: str
    ) -> None:
        """Add a finding, unless this mistake was found."""
        if all(each.mistake != mistake for each in self.report.findings):
            self.find(check, severity, mistake, fed, came, expected)

    def fed(self, batch: Batch, channel: int = 0, *, dy: bool = False, dtype: str = "") -> str:
        """Return a batch in words: one channel of x, and its gamma, beta and eps."""
        where = f"channel {channel} of shape {batch.x.shape}, {dtype or self.dtype}"
        parts = [f"x = {short(batch.x, batch.axis, channel)} ({where})"]
        if dy:
            parts.append(f"dy = {short(batch.dy, batch.axis, channel)}")
        if self.affine:
            gamma, beta = float(batch.gamma[channel]), float(batch.beta[channel])
            parts.append(f"gamma = {gamma:.6g}, beta = {beta:.6g}")
        parts.append(f"eps = {self.eps:g}")
        return "; ".join(parts)

    def fact(self, name: str, text: str) -> None:
        """Note a convention."""
        self.report.conventions[name] = text
