"""How the time grows with the examples, the channels, the size of the images, the threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack

from bn.bench.cases import draw, name_of
from bn.bench.contenders import BY_NAME
from bn.bench.machine import usable_cores
from bn.bench.plan import Item, Result, Row, Section, Settings, columns, prepare
from bn.bench.rounds import Measurement, slope
from bn.bench.timing import Limits, Timer, measure

NAMES = ("numpy-closed", "torch", "numba", "bn-auto")
#: From the size to the shape.
AXES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "N": lambda n: (n, 64, 32, 32),
    "C": lambda c: (32, c, 28, 28),
    "H": lambda h: (32, 64, h, h),
}
SIZES = {"N": (4, 8, 16, 32, 64, 128), "C": (8, 16, 32, 64, 128, 256), "H": (7, 14, 28, 42, 56)}
SMALL_SIZES = {"N": (2, 4), "C": (2, 4), "H": (3, 5)}
THREADS_SHAPE = (64, 64, 32, 32)


def _time(shape: tuple[int, ...], limits: Limits, result: Result) -> Measurement:
    case = draw(shape)
    chosen = {name: BY_NAME[name] for name in NAMES}
    result.skipped |= {name: why for name, each in chosen.items() if (why := each.problem())}
    makes = (
        (name, functools.partial(each.make, case))
        for name, each in chosen.items()
        if name not in result.skipped
    )
    timer = Timer({name: p.both for name, p in prepare(makes, result).items()}, limits.span)
    result.skipped |= timer.failed
    # a point of a curve does not need as many rounds as a figure that is quoted
    return measure(timer, limits._replace(rounds=max(1, limits.rounds // 2)))


def _row(axis: str, size: int, shape: tuple[int, ...], name: str) -> Row:
    return {
        "axis": axis,
        "size": size,
        "shape": name_of(shape),
        "contender": name,
        "title": BY_NAME[name].title,
    }


def _sizes(axis: str, sizes: tuple[int, ...], limits: Limits) -> Result:
    result = Result()
    for size in sizes:
        shape = AXES[axis](size)
        made = _time(shape, limits._replace(seconds=limits.seconds / len(sizes)), result)
        result.count(f"{axis} = {size}", made)
        for name, figure in made.figures.items():
            result.rows.append(_row(axis, size, shape, name) | columns(figure))
    add_slopes(result.rows)
    return result


def add_slopes(rows: list[Row]) -> None:
    """Add a row for each contender with the slope of log time over log of the elements of x."""
    for axis, name in sorted({(row["axis"], row["contender"]) for row in rows}):
        points = [r for r in rows if r["axis"] == axis and r["contender"] == name and "ms" in r]
        sizes = [_elements(row["shape"]) for row in points]
        if len(set(sizes)) > 1:
            slopes = slope(sizes, [row["ms"] for row in points])
            rows.append({"axis": axis, "contender": name, "slope": slopes, "points": len(points)})


def _elements(shape: str) -> int:
    count = 1
    for size in shape.split("x"):
        count *= int(size)
    return count


def _threads(shape: tuple[int, ...], counts: tuple[int, ...], limits: Limits) -> Result:
    import torch

    result, before = Result(), torch.get_num_threads()
    try:
        for count in counts:
            torch.set_num_threads(count)  # the kernels use as many
            made = _time(shape, limits._replace(seconds=limits.seconds / len(counts)), result)
            result.count(f"threads = {count}", made)
            for name, figure in made.figures.items():
                result.rows.append(_row("threads", count, shape, name) | columns(figure))
    finally:
        torch.set_num_threads(before)
    return result


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return 1, 2, 4, .. and the number of cores."""
    return tuple(sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores}))


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    sizes = SMALL_SIZES if settings.quick else SIZES
    shape = AXES["N"](2) if settings.quick else THREADS_SHAPE
    series = [
        Item(f"over {axis}", functools.partial(_sizes, axis, sizes[axis]), 1.5) for axis in AXES
    ]
    counts = (1,) if settings.quick else thread_counts(usable_cores())
    return [*series, Item("over threads", functools.partial(_threads, shape, counts), 0.5)]


SECTION = Section("growth", "Growth, forward and backward", _items)
