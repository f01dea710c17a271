"""How fast this machine's memory is: copies, and what memory costs that is new.

A copy of n bytes counts as 2 n: n read and n written. What the caches do behind that, such as
reading a line before it is overwritten, is not counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from bn.bench.plan import Item, Result, Section, Settings, columns
from bn.bench.timing import Limits, Timer, measure

MEGABYTES = 64
#: Name: title, passes over the memory that count.
TITLES = {
    "torch-copy": ("torch copy_, into mapped memory", 2),
    "numpy-copy": ("numpy.copyto, one thread", 2),
    "numpy-copy-threads": ("numpy.copyto, a thread for each core", 2),
    "torch-sum": ("torch sum: reading", 1),
    "torch-fill": ("torch fill_, mapped memory: writing", 1),
    "torch-clone": ("torch clone: a copy into new memory", 2),
    "torch-new": ("torch empty and fill_: writing new memory", 1),
    "numpy-new": ("numpy empty and fill: writing new memory, one thread", 1),
}


def functions(megabytes: float) -> dict[str, Callable[[], object]]:
    """Return what is timed, on so many megabytes."""
    import torch

    count = int(megabytes * 1e6 / 4)
    x, out = torch.ones(count), torch.ones(count)
    a, b = x.numpy(), out.numpy()
    threads = torch.get_num_threads()
    parts = [slice(count * i // threads, count * (i + 1) // threads) for i in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return {
        "torch-copy": lambda: out.copy_(x),
        "numpy-copy": lambda: np.copyto(b, a),
        "numpy-copy-threads": lambda: list(pool.map(lambda s: np.copyto(b[s], a[s]), parts)),
        "torch-sum": x.sum,
        "torch-fill": lambda: out.fill_(2.0),
        "torch-clone": x.clone,
        "torch-new": lambda: torch.empty(count).fill_(2.0),
        "numpy-new": lambda: np.empty(count, np.float32).fill(2.0),
    }


@dataclass(frozen=True)
class Copy:
    """Bandwidth of torch's copy into mapped memory, bytes per second; False if disturbed."""

    rate: float
    quiet: bool


_copy: dict[float, Copy] = {}


def copy_bandwidth(quick: bool = False) -> Copy:
    """Return what the section has measured; measure it now where it has not been run."""
    megabytes = 1 if quick else MEGABYTES
    if megabytes not in _copy:
        _run(megabytes, Limits(4, 8.0, most=2 if quick else 100))
    return _copy[megabytes]


def _run(megabytes: float, limits: Limits) -> Result:
    result = Result()
    timer = Timer(functions(megabytes), limits.span)
    made = measure(timer, limits)
    result.count(f"{megabytes} MB", made)
    result.skipped |= timer.failed
    copy = made.figures["torch-copy"]
    _copy[megabytes] = Copy(2 * megabytes * 1e6 / (copy.ms / 1e3), copy.quiet)
    for name, figure in made.figures.items():
        title, passes = TITLES[name]
        rate = passes * megabytes * 1e6 / (figure.ms / 1e3) / 1e9
        counted = {"megabytes": megabytes, "passes": passes, "gb_per_s": rate}
        result.rows.append({"name": name, "title": title, **columns(figure), **counted})
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    megabytes = 1 if settings.quick else MEGABYTES
    return [Item(f"{megabytes} MB", functools.partial(_run, megabytes))]


SECTION = Section("bandwidth", "Memory bandwidth", _items)
