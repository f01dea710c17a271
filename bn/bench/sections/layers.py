"""The layer by itself: every contender on every shape, forward, and forward and backward."""

from __future__ import annotations

import functools
import time
from contextlib import ExitStack

from bn.bench.cases import SHAPES, SMALL_SHAPES, draw, name_of
from bn.bench.contenders import COMPILE, fitting
from bn.bench.plan import Item, Result, Row, Section, Settings, columns, prepare
from bn.bench.sections.bandwidth import copy_bandwidth
from bn.bench.timing import Limits, Timer, measure

OPERATIONS = {"forward": "forward", "both": "forward and backward"}


def _run(shape: tuple[int, ...], quick: bool, limits: Limits) -> Result:
    import torch

    end = time.perf_counter() + limits.seconds
    case, result = draw(shape), Result()
    contenders, result.skipped = fitting(shape, quick)
    prepared = prepare(
        ((each.name, functools.partial(each.make, case)) for each in contenders), result
    )
    # what compiles comes last: if it takes all the time, the others have been warmed up
    functions = {
        f"{name}/{operation}": getattr(prepared[name], operation)
        for name in sorted(prepared, key=COMPILE.__contains__)
        for operation in OPERATIONS
    }
    x, out = torch.from_numpy(case.x), torch.from_numpy(case.x.copy())
    functions["copy/forward"] = lambda: out.copy_(x)
    timer = Timer(functions, limits.span, enough=lambda: time.perf_counter() > end)
    result.skipped |= timer.failed
    made = measure(timer, limits._replace(seconds=end - time.perf_counter()))
    result.count(name_of(shape), made)
    titles = {each.name: each.title for each in contenders} | {"copy": "torch copy_ of x"}
    for key, figure in made.figures.items():
        name, _, operation = key.partition("/")
        row: Row = {
            "shape": name_of(shape),
            "operation": "copy" if name == "copy" else operation,
            "contender": name,
            "title": titles[name],
            **columns(figure),
            "passes": figure.ms / 1e3 * copy_bandwidth(quick).rate / case.nbytes,
        }
        if name in COMPILE:
            row["first_call_s"] = timer.first[key]
        result.rows.append(row)
    order = {name: i for i, name in enumerate(titles)}
    result.rows.sort(key=lambda row: order[row["contender"]])
    add_ratios(result.rows)
    return result


def add_ratios(rows: list[Row]) -> None:
    """Give each row the ratio of its time to that of each other contender, same operation."""
    for operation in OPERATIONS:
        times = {row["contender"]: row["ms"] for row in rows if row["operation"] == operation}
        for row in rows:
            if row["operation"] == operation:
                row["ratio_to"] = {
                    name: row["ms"] / ms for name, ms in times.items() if name != row["contender"]
                }


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    return [
        Item(name_of(shape), functools.partial(_run, shape, settings.quick), 1.5)
        for shape in (SMALL_SHAPES if settings.quick else SHAPES)
    ]


SECTION = Section("layers", "The layer, float32", _items)
