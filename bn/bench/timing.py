"""Timing several functions by turns, in rounds.

Each round calls every function, in random order, so that whatever changes in the machine changes
for all. A call's time runs from the call until everything that it made is given back: getting
memory and returning it is a good part of what batch norm costs.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from bn.bench import load
from bn.bench.rounds import Measurement, Round, calls_per_round, slow, summarize

Function = Callable[[], object]

#: Seconds that a round lasts at least: /proc/stat counts in hundredths of a second.
SPAN = 0.3
#: Slow functions are called in one of so many rounds that count.
SELDOM = 3


class Limits(NamedTuple):
    """How long to measure: until so many rounds count, so many were made, or the time is up."""

    rounds: int
    seconds: float
    span: float = SPAN
    most: int = 1000


class Timer:
    """Several functions that are timed by turns.

    Parameters
    ----------
    functions : dict of str to function
        Called without arguments. Each is called here, to warm up.
    span : float
        Seconds that a round lasts, unless one call of each function takes longer.
    synchronize : function, optional
        Waits until a device has done what a call has asked for.
    enough : function, optional
        Tells that time is up, so that no more functions are warmed up.

    Attributes
    ----------
    first : dict of str to float
        Seconds of each function's first call, in which it may compile.
    failed : dict of str to str
        Functions that raised an error, and the error. They are not timed.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        span: float = SPAN,
        synchronize: Function | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self.functions = dict(functions)
        self.synchronize = synchronize
        self.first: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self._random = random.Random(0)
        self._kept = 0
        estimates = {}
        for name in functions:
            if enough():
                self.failed[name] = "no time was left"
                continue
            try:
                self.first[name] = self._time(name)
                estimates[name] = self._time(name)
            except Exception as error:  # a peer that cannot do this must not end the bench
                self.failed[name] = brief(error)
        self.calls = calls_per_round(estimates, span)
        self.slow = slow(estimates)

    def _time(self, name: str) -> float:
        function, synchronize = self.functions[name], self.synchronize
        start = time.perf_counter()
        function()  # what it returns is given back at once
        if synchronize:
            synchronize()
        return time.perf_counter() - start

    def round(self) -> Round:
        """Call every function, some several times, in random order."""
        seldom = self._kept % SELDOM != 0
        turns = [
            name
            for name, calls in self.calls.items()
            if not (seldom and name in self.slow)
            for _ in range(calls)
        ]
        self._random.shuffle(turns)
        seconds: dict[str, list[float]] = {name: [] for name in self.calls if name in turns}
        faults: dict[str, list[float]] = {}
        with _no_collection():
            start = load.now()
            for name in turns:
                before = load.faults()
                seconds[name].append(self._time(name))
                after = load.faults()
                if before is not None and after is not None:
                    faults.setdefault(name, []).append(after - before)
            during = load.since(start)
        self._kept += during.disturbed is None
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        pages = {name: statistics.median(values) for name, values in faults.items()}
        return Round(during, medians, pages)


def measure(timer: Timer, limits: Limits) -> Measurement:
    """Go round until enough rounds count, or the time is up."""
    return in_turns({"": timer.round}, limits)[""]


def in_turns(runs: Mapping[str, Callable[[], Round]], limits: Limits) -> dict[str, Measurement]:
    """Go round several timers, each in a process of its own perhaps, by turns."""
    end = time.perf_counter() + limits.seconds
    rounds: dict[str, list[Round]] = {name: [] for name in runs}
    kept = dict.fromkeys(runs, 0)
    order = random.Random(0)
    while min(kept.values()) < limits.rounds:
        names = [name for name in runs if kept[name] < limits.rounds]
        order.shuffle(names)
        disturbed = False
        for name in names:
            made = runs[name]()
            rounds[name].append(made)
            kept[name] += made.load.disturbed is None
            disturbed |= made.load.disturbed is not None
        if time.perf_counter() > end or len(rounds[names[0]]) >= limits.most:
            break
        if disturbed:
            time.sleep(0.2)  # whoever it is may be done soon
    return {name: summarize(made, limits.rounds) for name, made in rounds.items()}


def brief(error: BaseException) -> str:
    """Return the kind and the first line of an error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and not while it is being timed."""
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
