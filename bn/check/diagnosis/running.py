"""How running statistics move: which convention, or which mistake.

Each statistic is taken to move as ``old + weight·(new - old)``. What "new" is, is one of a list
of rules; the weight is measured from the first step, and must explain the further steps too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.formula import Array, Batch, Statistics

#: Declared momentum: a number, None for the average of all batches, or not declared at all.
Momentum = float | str | None
UNDECLARED = "undeclared"


@dataclass(frozen=True)
class Movement:
    """One step of training: the batch, and the running statistics before and after it."""

    batch: Batch
    before: Statistics
    after: Statistics
    own: Statistics | None = None  # what a wrong forward pass takes for the batch's statistics


@dataclass(frozen=True)
class Convention:
    """What moves the running statistics.

    Attributes
    ----------
    mistake : str or None
        None if a convention explains all that came.
    weight : float or None
        Of the new value; None where all batches count alike (or nothing fits).
    cumulative : bool
        Whether all batches count alike.
    unbiased : bool or None
        Whether ``m/(m-1) var`` enters the running variance.
    """

    mistake: str | None
    weight: float | None = None
    cumulative: bool = False
    unbiased: bool | None = None


@dataclass(frozen=True)
class _Fit:
    rule: str  # "" where it is right
    weight: float | None  # None: 1/n
    unbiased: bool | None = None

    @property
    def cumulative(self) -> bool:
        return self.weight is None


def explain_running(
    movements: Sequence[Movement], eps: float, declared: Momentum, tolerance: float
) -> Convention:
    """Return the convention, or the mistake, that explains every movement.

    `movements` begin at a fresh instance; their batches differ in size, so that the average of
    all batches can be told from a fixed weight, and m from the batch size.
    """
    still = {
        name: all(
            np.array_equal(getattr(each.before, name), getattr(each.after, name))
            for each in movements
        )
        for name in ("mean", "var")
    }
    if all(still.values()):
        return Convention("running-statistics-not-updated")
    if still["mean"] or still["var"]:
        return Convention("running-var-only" if still["mean"] else "running-mean-only")
    means = _fits("mean", movements, eps, tolerance)
    variances = _fits("var", movements, eps, tolerance)
    if not means or not variances:
        named = [fits[0].rule for fits in (means, variances) if fits and fits[0].rule]
        return Convention("+".join(named) if named else UNIDENTIFIED)
    mean = means[0]
    same = [each for each in variances if each.weight == mean.weight or _near(each, mean)]
    var = (same or variances)[0]
    rules = {mean.rule, var.rule} - {""}
    mistake = "+".join(sorted(rules)) or _weight_mistake(mean, var, declared)
    return Convention(mistake or None, mean.weight, mean.cumulative, var.unbiased)


def _near(one: _Fit, two: _Fit, tolerance: float = 1e-3) -> bool:
    if one.weight is None or two.weight is None:
        return one.weight is two.weight
    return abs(one.weight - two.weight) <= tolerance


def _weight_mistake(mean: _Fit, var: _Fit, declared: Momentum) -> str:
    """Return what is wrong with the weights, "" if nothing is."""
    if mean.weight is None or var.weight is None:
        if mean.weight is not var.weight:
            return "momentum-mixed"
        return "" if declared is None or isinstance(declared, str) else "momentum-ignored"
    if not _near(mean, var):
        opposite = abs(mean.weight + var.weight - 1) <= 1e-3
        return "momentum-mixed" if opposite else UNIDENTIFIED
    if declared is None:
        return "momentum-ignored"
    if isinstance(declared, str):
        return "running-statistics-replaced" if abs(mean.weight - 1) < 1e-6 else ""
    if min(abs(mean.weight - declared), abs(mean.weight - (1 - declared))) > 1e-3:
        replaced = abs(mean.weight - 1) < 1e-6
        return "running-statistics-replaced" if replaced else "momentum-ignored"
    return ""


def _fits(name: str, movements: Sequence[Movement], eps: float, tolerance: float) -> list[_Fit]:
    """Return every rule and weight that explain how one statistic moved; right ones first."""
    values = [(getattr(each.before, name), getattr(each.after, name)) for each in movements]
    rules = [(_mean_rules if name == "mean" else _var_rules)(each, eps) for each in movements]
    fits = []
    for position, (rule, unbiased, _) in enumerate(rules[0]):
        news = [of_movement[position][2] for of_movement in rules]
        (before, after), new = values[0], news[0]
        distance = new - before
        square = float((distance * distance).sum())
        weight = float((distance * (after - before)).sum()) / square if square else 0.0
        constant = [weight] * len(movements)
        average = [1 / (n + 1) for n in range(len(movements))]
        late = [1 / (n + 2) for n in range(len(movements))]
        for weights, kept, named in (
            (average, None, rule),
            (constant, weight, rule),
            (late, None, rule or "average-off-by-one"),
        ):
            moved = [b + w * (n - b) for w, n, (b, _) in zip(weights, news, values, strict=True)]
            if all(close(a, e, tolerance) for (_, a), e in zip(values, moved, strict=True)):
                fits.append(_Fit(named, kept, unbiased))
                break
        added = [close(a - b, n, tolerance) for n, (b, a) in zip(news, values, strict=True)]
        if all(added):
            fits.append(_Fit(rule or "running-sum", 1.0, unbiased))
    return fits


def _mean_rules(movement: Movement, eps: float) -> list[tuple[str, bool | None, Array]]:
    batch = movement.batch
    mean, m, n = batch.mean, batch.m, batch.x.shape[0]
    rules = [
        ("", mean),
        ("running-mean-not-divided", mean * m),
        ("running-mean-over-batch-size", mean * m / n),
        ("running-statistics-swapped", batch.var),
        ("running-statistics-swapped", batch.var * m / (m - 1)),
        ("running-statistics-wrong-axes", np.full_like(mean, batch.x.mean())),
    ]
    if movement.own is not None:
        rules.insert(1, ("", movement.own.mean))
    return [(name, None, values) for name, values in rules]


def _var_rules(movement: Movement, eps: float) -> list[tuple[str, bool | None, Array]]:
    batch = movement.batch
    var, m, n = batch.var, batch.m, batch.x.shape[0]
    around = [
        var + np.square(batch.mean - which.mean) for which in (movement.before, movement.after)
    ]
    rules = [
        ("running-var-stores-std", np.sqrt(var)),
        ("running-var-stores-std", np.sqrt(var * m / (m - 1))),
        ("running-var-stores-std", np.sqrt(var + eps)),
        ("running-var-stores-inverse", 1 / np.sqrt(var + eps)),
        ("running-var-bessel-inverted", var * (m - 1) / m),
        ("running-var-over-m-plus-1", var * m / (m + 1)),
        ("running-var-over-m-plus-1", var * (m + 1) / m),
        ("running-var-bessel-twice", var * (m / (m - 1)) ** 2),
        ("running-var-over-batch-size", var * n / max(n - 1, 1)),
        ("running-var-over-batch-size", var * m / n),
        ("running-var-over-batch-size", var * m / max(n - 1, 1)),
        ("running-var-not-divided", var * m),
        ("running-var-not-centred", var + np.square(batch.mean)),
        ("running-var-around-running-mean", around[0]),
        ("running-var-around-running-mean", around[1]),
        ("running-var-with-eps", var + eps),
        ("running-var-with-eps", var * m / (m - 1) + eps),
        ("running-statistics-swapped", batch.mean),
        ("running-statistics-wrong-axes", np.full_like(var, batch.x.var())),
    ]
    conventions = [("", True, var * m / (m - 1)), ("", False, var)]
    if movement.own is not None:
        conventions += [("", True, movement.own.var * m / (m - 1)), ("", False, movement.own.var)]
    return [*conventions, *((name, None, values) for name, values in rules)]
