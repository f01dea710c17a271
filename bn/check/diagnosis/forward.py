"""Mistakes of the transform: one field of the formula changed, or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.formula import INFERENCE, TRAINING, Array, Batch, Formula, Statistics

COMMON_EPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-2)

Change = dict[str, Any]

#: Mistakes of the transform that training and inference share.
SHARED: dict[str, Change] = {
    "mean-not-subtracted": {"centred": False},
    "eps-outside-root": {"eps": "outside"},
    "eps-missing": {"eps": "missing"},
    "eps-squared": {"eps": "squared"},
    "root-missing": {"divide": "variance"},
    "multiplied-by-std": {"divide": "multiply"},
    "gamma-beta-swapped": {"affine": "swapped"},
    "gamma-missing": {"affine": "no gamma"},
    "beta-missing": {"affine": "no beta"},
    "beta-scaled": {"affine": "beta inside"},
    "beta-subtracted": {"affine": "minus beta"},
    "gamma-plus-one": {"affine": "one plus gamma"},
}
IN_TRAINING: dict[str, Change] = {
    "statistics-over-batch-only": {"over": "batch"},
    "statistics-over-positions-only": {"over": "positions"},
    "statistics-over-everything": {"over": "everything"},
    "statistics-per-example": {"over": "example"},
    "statistics-per-position": {"over": "features"},
    "wrong-channel-axis": {"over": "last"},
    "gamma-along-last-axis": {"over": "second"},
    "bessel-in-normalization": {"variance": "unbiased"},
    "variance-over-m-plus-1": {"variance": "m+1"},
    "variance-shrunk": {"variance": "shrunk"},
    "variance-not-divided": {"variance": "sum"},
    "variance-not-centred": {"variance": "uncentred"},
    "variance-over-batch-size": {"variance": "batch-size"},
    "variance-over-everything": {"variance": "everything"},
    "variance-around-positions": {"variance": "per position"},
    "running-statistics-in-training": {"mean_from": "running", "var_from": "running"},
    "running-mean-in-training": {"mean_from": "running"},
    "running-var-in-training": {"var_from": "running"},
}
IN_INFERENCE: dict[str, Change] = {
    "batch-statistics-in-inference": {"mean_from": "batch", "var_from": "batch"},
    "batch-mean-in-inference": {"mean_from": "batch"},
    "batch-var-in-inference": {"var_from": "batch"},
}


@dataclass(frozen=True)
class Seen:
    """One call: the input, and the y that came."""

    batch: Batch
    y: Array
    running: Statistics | None = None  # before the call
    updated: Statistics | None = None  # and after it


@dataclass(frozen=True)
class Explanation:
    """Mistakes, joined by "+", and the formula that they make."""

    mistake: str
    formula: Formula | None = None


def explain_forward(
    seen: Sequence[Seen], eps: float, tolerance: float, *, training: bool
) -> Explanation | None:
    """Return None if every y is right, else the mistakes whose formula gives every y."""
    right = TRAINING if training else INFERENCE

    def fits(formula: Formula) -> bool:
        for each in seen:
            y = formula(each.batch, eps, each.updated if formula.updated else each.running)
            if y is None or not close(each.y, y, tolerance):
                return False
        return True

    if fits(right):
        return None
    for mistake, change in _forward_changes(training):
        formula = replace(right, **change)
        if fits(formula):
            return Explanation(mistake, formula)
    return Explanation(UNIDENTIFIED)


def _forward_changes(training: bool) -> Iterator[tuple[str, Change]]:
    """Yield single mistakes, another eps, then every two mistakes together."""
    table = {**SHARED, **(IN_TRAINING if training else IN_INFERENCE)}
    other_eps = [("eps-not-the-given", {"hard_coded": value}) for value in COMMON_EPS]
    yield from table.items()
    if training:
        both = {"mean_from": "running", "var_from": "running", "updated": True}
        yield "running-statistics-in-training", both
    yield from other_eps
    for (one, first), (two, second) in combinations([*table.items(), *other_eps], 2):
        if not first.keys() & second.keys():
            yield f"{one}+{two}", first | second
