"""From the statistics of mini-batches to those of all: what is right, by convention, and what not.

With B mini-batches of n values each (their sizes may differ), biased variances v, and N values in
all: the total variance is the mean of the v plus the variance of the means, both weighted by n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.formula import Array, Statistics

Task = Literal["population", "merge"]


@dataclass(frozen=True)
class Shards:
    """Statistics of mini-batches, or of shards."""

    means: Array  # (B, C)
    variances: Array  # (B, C), biased
    counts: Array  # (B,), whole numbers

    @property
    def n(self) -> Array:
        """The sizes, as a column."""
        return np.asarray(self.counts[:, None], np.float64)

    @property
    def total(self) -> float:
        """How many values there are in all."""
        return float(self.counts.sum())

    def average(self, values: Array, *, weighted: bool) -> Array:
        """Return the average over the shards."""
        return np.asarray(np.average(values, axis=0, weights=self.counts if weighted else None))

    def between(self, *, weighted: bool) -> Array:
        """Return the variance of the means."""
        distance = self.means - self.average(self.means, weighted=weighted)
        return self.average(np.square(distance), weighted=weighted)


@dataclass(frozen=True)
class Estimate:
    """What gives the numbers that came: a mistake, or, where that is "", a convention."""

    mistake: str
    convention: str = ""


def explain_population(
    seen: Sequence[tuple[Shards, Statistics]], task: Task, tolerance: float
) -> Estimate:
    """Return the convention, or the mistake, that gives what came in every case."""
    tables = [_estimates(shards) for shards, _ in seen]
    for names in (RIGHT[task], WRONG[task]):
        for name, word in names.items():
            if all(
                close(came.mean, table[name].mean, tolerance)
                and close(came.var, table[name].var, tolerance)
                for (_, came), table in zip(seen, tables, strict=True)
            ):
                return Estimate("", word) if names is RIGHT[task] else Estimate(word)
    moving = _moving(seen, tolerance) if task == "population" else ""
    return Estimate("", moving) if moving else Estimate(UNIDENTIFIED)


def expected(shards: Shards, task: Task) -> dict[str, Statistics]:
    """Return what may come, by the most usual conventions."""
    estimates, words = _estimates(shards), RIGHT[task]
    usual = ("plain", "pooled-unbiased") if task == "population" else ("pooled",)
    return {words[name]: estimates[name] for name in usual}


#: Conventions, by the names in `_estimates`.
RIGHT: dict[Task, dict[str, str]] = {
    "population": {
        "plain": "Algorithm 2: the averages of the means and of m/(m-1)·var, batch by batch",
        "weighted": "the averages of the means and of m/(m-1)·var, weighted by the sizes",
        "within": "the variance within the mini-batches alone, with N - B degrees of freedom",
        "pooled-unbiased": "pooled: the unbiased variance of all values together, N/(N-1)·var",
        "pooled": "pooled: the biased variance of all values together",
    },
    "merge": {
        "pooled": "biased variances in, the biased variance of all values out",
        "pooled-unbiased": "biased variances in, the unbiased variance of all values out",
        "from-unbiased": "unbiased variances in, the unbiased variance of all values out",
    },
}
WRONG: dict[Task, dict[str, str]] = {
    "population": {
        "plain-biased": "algorithm-2-biased",
        "within-biased": "algorithm-2-biased",
        "within-unbiased": "between-forgotten",
        "unweighted": "unweighted-merge",
        "unweighted-unbiased": "unweighted-merge",
    },
    "merge": {
        "within-biased": "between-forgotten",
        "within-unbiased": "between-forgotten",
        "within": "between-forgotten",
        "unweighted": "unweighted-merge",
        "unweighted-unbiased": "unweighted-merge",
        "plain-biased": "between-forgotten+unweighted-merge",
        "plain": "between-forgotten+unweighted-merge",
    },
}


def _estimates(shards: Shards) -> dict[str, Statistics]:
    """Return every estimate, right or wrong."""
    s, n, total = shards, shards.n, shards.total
    with np.errstate(all="ignore"):
        unbiased = s.variances * n / (n - 1)
        bessel = total / (total - 1)
        freedom = total / (total - len(s.means))
    found = {}
    for weighted, name in ((False, "plain"), (True, "weighted")):
        mean = s.average(s.means, weighted=weighted)
        within = s.average(s.variances, weighted=weighted)
        whole = within + s.between(weighted=weighted)
        found[name] = Statistics(mean, s.average(unbiased, weighted=weighted))
        kind = "pooled" if weighted else "unweighted"
        found[kind] = Statistics(mean, whole)
        found[f"{kind}-unbiased"] = Statistics(mean, bessel * whole)
        found["within-biased" if weighted else "plain-biased"] = Statistics(mean, within)
        if weighted:
            found["within"] = Statistics(mean, freedom * within)
            found["within-unbiased"] = Statistics(mean, bessel * within)
            squares = ((n - 1) * s.variances + n * np.square(s.means - mean)).sum(axis=0)
            found["from-unbiased"] = Statistics(mean, squares / (total - 1))
    return found


def _moving(seen: Sequence[tuple[Shards, Statistics]], tolerance: float) -> str:
    """Return the words for an exponential moving average that starts at 0 and 1, or ""."""
    alone = [came.mean / shards.means[0] for shards, came in seen if len(shards.means) == 1]
    weight = float(alone[0][0]) if alone else 0.0
    if not 0 < weight < 1:
        return ""
    for unbiased in (True, False):
        fits = True
        for shards, came in seen:
            mean, var = np.zeros_like(came.mean), np.ones_like(came.var)
            for new, v, n in zip(shards.means, shards.variances, shards.counts, strict=True):
                mean = mean + weight * (new - mean)
                var = var + weight * ((v * n / (n - 1) if unbiased else v) - var)
            fits = fits and close(came.mean, mean, tolerance) and close(came.var, var, tolerance)
        if fits:
            kind = "unbiased" if unbiased else "biased"
            return f"a moving average, {kind}; the new value has the weight {weight:.4g}"
    return ""
