"""How far each contender is from float64, where the mean is 0 and where it is large."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any

import numpy as np

from bn.bench.cases import SMALL_SHAPES, Array, draw, name_of, truth
from bn.bench.contenders import fitting
from bn.bench.plan import Item, Result, Row, Section, Settings, prepare
from bn.bench.timing import Limits, brief

SHAPE = (128, 256, 8, 8)
MEANS = (0.0, 1e4)


def as_array(made: Any) -> Array:
    """Return an array of NumPy's from anybody's."""
    made = made.detach() if hasattr(made, "detach") else made
    return np.asarray(made)


def errors(y: Array, dx: Array, expected: tuple[Array, Array]) -> tuple[float, float]:
    """Return the largest error of y, and that of dx in units of the largest entry of dx."""
    of_y = np.abs(y - expected[0]).max()
    of_dx = np.abs(dx - expected[1]).max() / np.abs(expected[1]).max()
    return float(of_y), float(of_dx)


def _run(shape: tuple[int, ...], mean: float, quick: bool, limits: Limits) -> Result:
    case, result = draw(shape, mean), Result()
    expected = truth(case)
    contenders, result.skipped = fitting(shape, quick)
    for each in contenders:
        ready = prepare([(each.name, functools.partial(each.make, case))], result)
        for name, prepared in ready.items():
            try:
                y, dx = (as_array(made) for made in prepared.both()[:2])
            except Exception as error:
                result.skipped[name] = brief(error)
                continue
            of_y, of_dx = errors(y, dx, expected)
            row: Row = {"shape": name_of(shape), "contender": name, "title": each.title}
            result.rows.append(row | {"mean": mean, "error_y": of_y, "error_dx": of_dx})
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    shape = SMALL_SHAPES[1] if settings.quick else SHAPE
    return [
        Item(f"mean {mean:g}", functools.partial(_run, shape, mean, settings.quick), 0.2)
        for mean in MEANS
    ]


SECTION = Section("accuracy", "Accuracy against float64", _items)
