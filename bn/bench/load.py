"""Who else uses the machine, and what a call costs in pages: what the operating system counts."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from bn.bench.rounds import Load

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STAT = Path("/proc/stat")


class Instant(NamedTuple):
    """The counters at one moment, in seconds since some start."""

    clock: float
    own: float
    busy: float | None
    stolen: float | None
    cores: int


def parse(stat: str, ticks: int) -> tuple[float, float, int]:
    """Return busy and stolen CPU seconds, and the number of cores, from the text of /proc/stat."""
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    # user nice system idle iowait irq softirq steal; guests are counted in user already
    values = [int(value) for value in lines[0][1:9]]
    stolen = values[7] if len(values) > 7 else 0
    busy = sum(values[:7]) - values[3] - values[4]
    return busy / ticks, stolen / ticks, max(1, len(lines) - 1)


def now() -> Instant:
    """Read the counters."""
    busy = stolen = None
    cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, AttributeError):  # not Linux: nothing can be seen
        busy, stolen, cores = parse(STAT.read_text(encoding="ascii"), os.sysconf("SC_CLK_TCK"))
    return Instant(time.perf_counter(), time.process_time(), busy, stolen, cores)


def since(start: Instant) -> Load:
    """Return what happened since `start`."""
    end = now()
    wall = end.clock - start.clock
    if start.busy is None or end.busy is None or start.stolen is None or end.stolen is None:
        return Load(wall, end.cores)
    others = end.busy - start.busy - (end.own - start.own)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return Load(wall, end.cores, max(0.0, others), end.stolen - start.stolen, tick)


def faults() -> int | None:
    """Return how many pages this process has been given so far; None where it is not told."""
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
