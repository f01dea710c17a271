"""What is made of the times of a bench: rounds that count, medians, slopes. No clock in here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: A round does not count if others, or the host, took more than this part of the CPU.
DISTURBED = 0.05
#: With fewer rounds than this that count, figures are said to rest on few.
ENOUGH = 5


@dataclass(frozen=True)
class Load:
    """What the machine did during a round.

    Attributes
    ----------
    wall : float
        Seconds that it lasted.
    cores : int
    others, stolen : float or None
        CPU seconds used by other processes, and those that the host gave to other machines. None
        where it cannot be seen.
    tick : float
        Seconds to which the two are exact.
    """

    wall: float
    cores: int
    others: float | None = None
    stolen: float | None = None
    tick: float = 0.01

    @property
    def share(self) -> float:
        """The part of the CPU that was not ours; 0 where it cannot be seen."""
        lost = (self.others or 0.0) + (self.stolen or 0.0)
        return lost / (self.cores * self.wall)

    @property
    def disturbed(self) -> str | None:
        """Who disturbed the round most, "others" or "stolen"; None if nobody did."""
        allowed = DISTURBED + self.tick / (self.cores * self.wall)
        if self.share <= allowed:
            return None
        return "others" if (self.others or 0.0) >= (self.stolen or 0.0) else "stolen"


@dataclass(frozen=True)
class Round:
    """One round: the median time in seconds, and the page faults, of a call of each function."""

    load: Load
    seconds: dict[str, float]
    faults: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, made: Mapping[str, Any]) -> Round:
        """Undo :meth:`to_dict`."""
        return cls(Load(**made["load"]), dict(made["seconds"]), dict(made["faults"]))


@dataclass(frozen=True)
class Figure:
    """The time of a call over the rounds that count: median and quartiles, in milliseconds.

    `faults` is how many pages of memory the system had to hand out; None where it does not tell.
    `quiet` is False if no round counts, and these are the least disturbed ones.
    """

    ms: float
    low: float
    high: float
    rounds: int
    faults: float | None
    quiet: bool


@dataclass(frozen=True)
class Measurement:
    """What came of the rounds.

    Attributes
    ----------
    figures : dict of str to Figure
    wanted, kept, dropped_others, dropped_stolen : int
        Rounds that were asked for; that count; that others, or the host, disturbed.
    quiet : bool
        False if not one round counts: a figure is then that of the least disturbed three.
    seen : bool
        False where the load cannot be seen, so that no round can be dropped.
    """

    figures: dict[str, Figure]
    wanted: int
    kept: int
    dropped_others: int
    dropped_stolen: int
    quiet: bool
    seen: bool

    def counts(self) -> dict[str, Any]:
        """Return all but the figures."""
        return {name: value for name, value in vars(self).items() if name != "figures"}


def summarize(rounds: Sequence[Round], wanted: int) -> Measurement:
    """Drop the rounds that were disturbed; return medians and quartiles over the others."""
    reasons = [each.load.disturbed for each in rounds]
    kept = [each for each, reason in zip(rounds, reasons, strict=True) if reason is None]
    used = kept or sorted(rounds, key=lambda each: each.load.share)
    names = {name: None for each in used for name in each.seconds}  # in order, each once
    return Measurement(
        figures={name: _figure(name, used, bool(kept)) for name in names},
        wanted=wanted,
        kept=len(kept),
        dropped_others=reasons.count("others"),
        dropped_stolen=reasons.count("stolen"),
        quiet=bool(kept),
        seen=any(each.load.others is not None for each in rounds),
    )


def _figure(name: str, rounds: Sequence[Round], quiet: bool) -> Figure:
    took_part = [each for each in rounds if name in each.seconds]
    if not quiet:
        took_part = took_part[:3]
    times = sorted(1e3 * each.seconds[name] for each in took_part)
    faults = [each.faults[name] for each in took_part if name in each.faults]
    low, high = quartiles(times)
    return Figure(
        ms=statistics.median(times),
        low=low,
        high=high,
        rounds=len(times),
        faults=statistics.median(faults) if faults else None,
        quiet=quiet,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0]
    cut = statistics.quantiles(values, n=4, method="inclusive")
    return cut[0], cut[2]


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Return the exponent p of the power law times = a sizes^p that fits best in logarithms.

    Raises
    ------
    ValueError
        If there are fewer than two different sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError(f"a slope needs two different sizes, got {list(sizes)}")
    logs = [math.log(size) for size in sizes], [math.log(time) for time in times]
    return statistics.linear_regression(*logs).slope


def calls_per_round(estimates: Mapping[str, float], span: float) -> dict[str, int]:
    """Return how often a round calls each function, so that it lasts about `span` seconds.

    The time is shared equally; what takes longer than its share is called once.
    """
    share = span / max(1, len(estimates))
    return {
        name: max(1, min(100, math.ceil(share / max(seconds, 1e-7))))
        for name, seconds in estimates.items()
    }


def slow(estimates: Mapping[str, float]) -> set[str]:
    """Return the functions that are far slower than most; they take part in fewer rounds."""
    if not estimates:
        return set()
    limit = 3 * statistics.median(estimates.values())
    return {name for name, seconds in estimates.items() if seconds > max(limit, 0.02)}
