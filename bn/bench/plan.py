"""What a bench is made of: sections of items, each of which gives rows for the record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bn.bench.prepared import Prepared
from bn.bench.rounds import Figure, Measurement
from bn.bench.timing import Limits, brief

#: One line of a record's table.
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How a bench is run; `quick` is for trying out the bench itself, on tiny arrays.

    A quick run uses one thread: on a busy machine two would wait for each other.
    """

    quick: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """Variables of the environment for processes of the bench."""
        return {"OMP_NUM_THREADS": "1"} if self.quick else {}


@dataclass
class Result:
    """What an item gives.

    Attributes
    ----------
    rows : list of dict
    rounds : list of dict
        How many rounds counted, and who disturbed the others.
    skipped : dict of str to str
        What could not be had, and why.
    """

    rows: list[Row] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def count(self, group: str, measurement: Measurement) -> None:
        """Note how many rounds counted."""
        self.rounds.append({"group": group, **measurement.counts()})


@dataclass(frozen=True)
class Item:
    """A step of the progress bar; its share of the time that is left is by `weight`."""

    label: str
    run: Callable[[Limits], Result]
    weight: float = 1.0


@dataclass(frozen=True)
class Section:
    """A part of the bench, with a record of its own.

    Attributes
    ----------
    name, title : str
        In file names and in tables.
    items : function
        Takes the settings, and a stack of what has to be closed after the last item; returns the
        items.
    problem : function
        Returns why it cannot be measured here, or None.
    """

    name: str
    title: str
    items: Callable[[Settings, ExitStack], list[Item]]
    problem: Callable[[], str | None] = lambda: None


def columns(figure: Figure) -> Row:
    """Return a figure as columns of a row."""
    return {
        "ms": figure.ms,
        "low": figure.low,
        "high": figure.high,
        "rounds": figure.rounds,
        "faults": figure.faults,
        "quiet": figure.quiet,
    }


def prepare(
    made: Iterable[tuple[str, Callable[[], Prepared]]], result: Result
) -> dict[str, Prepared]:
    """Make each; note which could not be made, and why."""
    ready = {}
    for name, make in made:
        try:
            ready[name] = make()
        except Exception as error:  # a peer that is broken here must not end the bench
            result.skipped[name] = brief(error)
    return ready
