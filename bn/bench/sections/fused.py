"""Batch norm with the ReLU and the addition that follow it, beside the best eager form."""

from __future__ import annotations

import functools
import time
from contextlib import ExitStack

from bn.bench.cases import IMAGES, SMALL_SHAPES, draw, name_of
from bn.bench.fusions import FORMS, KINDS, best_eager, makers
from bn.bench.plan import Item, Result, Section, Settings, columns, prepare
from bn.bench.sections.bandwidth import copy_bandwidth
from bn.bench.timing import Limits, Timer, measure


def _run(shape: tuple[int, ...], kind: str, quick: bool, limits: Limits) -> Result:
    end = time.perf_counter() + limits.seconds
    case, result = draw(shape), Result()
    makes, result.skipped = makers(kind, case, quick)
    prepared = prepare(makes, result)
    timer = Timer(
        {name: each.both for name, each in prepared.items()},
        limits.span,
        enough=lambda: time.perf_counter() > end,
    )
    result.skipped |= timer.failed
    made = measure(timer, limits._replace(seconds=end - time.perf_counter()))
    result.count(f"{KINDS[kind]} {name_of(shape)}", made)
    ms = {name: figure.ms for name, figure in made.figures.items()}
    best = best_eager(ms)
    for name, figure in made.figures.items():
        row = {"shape": name_of(shape), "kind": kind, "contender": name, "title": FORMS[name].title}
        ratios = {"best_eager": best, "ratio_to_best_eager": figure.ms / ms[best]}
        passes = {"passes": figure.ms / 1e3 * copy_bandwidth(quick).rate / case.nbytes}
        result.rows.append(row | columns(figure) | passes | ratios)
        if FORMS[name].compile:
            result.rows[-1]["first_call_s"] = timer.first[name]
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    return [
        Item(
            f"{KINDS[kind]} {name_of(shape)}",
            functools.partial(_run, shape, kind, settings.quick),
        )
        for shape in (SMALL_SHAPES[1:] if settings.quick else IMAGES)
        for kind in KINDS
    ]


SECTION = Section("fused", "With ReLU and addition, forward and backward", _items)
