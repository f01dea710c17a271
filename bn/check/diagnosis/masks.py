"""Mistakes with a mask: what must come is batch norm of the values that count, taken alone.

What comes where the mask leaves something out is a convention, except that it has no share in the
statistics, and so gets no gradient through them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.diagnosis.running import Convention
from bn.check.formula import Array, Batch, Statistics
from bn.check.gradients import Gradients, gradients

IGNORED, NOT_COUNTED, PADDING = "mask-ignored", "mask-not-counted", "padding-in-the-gradient"


@dataclass(frozen=True)
class Masked:
    """A batch, and which of its values count: the same ones in every channel.

    dy is 0 where a value does not count, so that the gradients do not depend on what y is there.
    """

    whole: Batch
    mask: Array  # bool, the shape of x without the axis of the channels

    def take(self, values: Array) -> Array:
        """Return what counts of an array like x, shape (n, C)."""
        return np.asarray(np.moveaxis(values, self.whole.axis, -1)[self.mask])

    @property
    def counted(self) -> Batch:
        """The values that count, as a batch (n, C)."""
        whole = self.whole
        x, dy = self.take(whole.x), self.take(whole.dy)
        return Batch(x, whole.gamma, whole.beta, dy, 1, whole.by_hand)

    @property
    def opposite(self) -> Masked:
        """The same batch, and the other values count."""
        return Masked(self.whole, ~self.mask)

    def normalized(self, eps: float, statistics: Statistics | None = None) -> Array:
        """Return y everywhere, by the statistics of what counts or by others."""
        batch, of = self.whole, statistics or self.statistics
        inv_std = 1 / np.sqrt(batch.along(of.var) + eps)
        x_hat = (batch.x - batch.along(of.mean)) * inv_std
        return batch.along(batch.gamma) * x_hat + batch.along(batch.beta)

    @property
    def statistics(self) -> Statistics:
        """Of the values that count."""
        return Statistics(self.counted.mean, self.counted.var)


def _wrong_statistics(masked: Masked) -> list[tuple[str, Statistics]]:
    whole, counted = masked.whole, masked.counted
    share = counted.m / whole.m
    mean, var = share * counted.mean, share * counted.var
    around = share * (counted.var + np.square(counted.mean - mean))
    zeros = around + (1 - share) * np.square(mean)  # padding set to 0, and counted as such
    apart = np.square(whole.mean - counted.mean)
    return [
        (IGNORED, Statistics(whole.mean, whole.var)),
        (IGNORED, Statistics(counted.mean, whole.var + apart)),
        (IGNORED, Statistics(whole.mean, counted.var)),
        (IGNORED, Statistics(whole.mean, counted.var + apart)),
        (NOT_COUNTED, Statistics(counted.mean, var)),
        (NOT_COUNTED, Statistics(mean, around)),
        (NOT_COUNTED, Statistics(mean, zeros)),
        (NOT_COUNTED, Statistics(mean, counted.var)),
        (NOT_COUNTED, Statistics(mean, var)),
    ]


def explain_masked(cases: Iterable[tuple[Masked, Array]], eps: float, tolerance: float) -> str:
    """Return "" if y is right wherever a value counts, else the mistake."""
    tables = []
    for masked, y in cases:
        right, came = masked.take(masked.normalized(eps)), masked.take(y)
        scale = float(np.abs(right).max())
        rows = [("", close(came, right, tolerance, scale))]
        for name, of in _wrong_statistics(masked):
            wrong = masked.take(masked.normalized(eps, of))
            rows.append((name, close(came, wrong, tolerance, scale)))
        tables.append(rows)
    return _first(tables)


def _first(tables: list[list[tuple[str, bool]]]) -> str:
    """Return the first name that fits in every case; a case is a table (name, does it fit)."""
    for rows in zip(*tables, strict=True):
        if all(fits for _, fits in rows):
            name: str = rows[0][0]
            return name
    return UNIDENTIFIED


def masked_gradients(masked: Masked, eps: float) -> Gradients:
    """Return the right gradients; dx is 0 where a value does not count."""
    own = gradients(masked.counted, eps)
    dx = np.zeros_like(np.moveaxis(masked.whole.x, masked.whole.axis, -1))
    dx[masked.mask] = own.dx
    return Gradients(np.moveaxis(dx, -1, masked.whole.axis), own.dgamma, own.dbeta)


def explain_masked_gradients(
    cases: Iterable[tuple[Masked, Gradients]], eps: float, tolerance: float
) -> dict[str, str]:
    """Return the mistakes by gradient: ``{"dx": "padding-in-the-gradient"}``."""
    tables: dict[str, list[list[tuple[str, bool]]]] = {"dx": [], "dgamma": [], "dbeta": []}
    for masked, came in cases:
        right = masked_gradients(masked, eps)
        of_all = gradients(masked.whole, eps)
        for name, table in tables.items():
            got, expected = getattr(came, name), getattr(right, name)
            if got is None:
                continue
            scale = float(np.abs(expected).max())
            variants = [("", expected), (IGNORED, getattr(of_all, name))]
            if name == "dx":
                variants += _wrong_dx(masked, eps)
            table.append([(word, close(got, value, tolerance, scale)) for word, value in variants])
    found = {name: _first(table) for name, table in tables.items() if table}
    return {name: mistake for name, mistake in found.items() if mistake}


def _wrong_dx(masked: Masked, eps: float) -> list[tuple[str, Array]]:
    batch, of = masked.whole, masked.statistics
    dy, others = batch.dy, batch.others
    inv_std = 1 / np.sqrt(batch.along(of.var) + eps)
    x_hat = (batch.x - batch.along(of.mean)) * inv_std
    keep = np.expand_dims(masked.mask, batch.axis)

    def dx(m: int) -> Array:
        """Return the closed form with means over m values, for what does not count too."""
        sums = dy.sum(axis=others, keepdims=True), (dy * x_hat).sum(axis=others, keepdims=True)
        inner = dy - sums[0] / m - x_hat * sums[1] / m
        return np.asarray(batch.along(batch.gamma) * inv_std * inner)

    n, m = masked.counted.m, batch.m
    return [
        (PADDING, dx(n)),
        (NOT_COUNTED, np.where(keep, dx(m), 0)),
        (f"{NOT_COUNTED}+{PADDING}", dx(m)),
    ]


def masked_running(masked: Masked, before: Statistics, convention: Convention) -> Statistics:
    """Return the running statistics that one step must leave."""
    return _moved(before, convention, masked.statistics, masked.counted.m)


def explain_masked_running(
    masked: Masked,
    before: Statistics,
    after: Statistics,
    convention: Convention,
    tolerance: float,
) -> str:
    """Return "" if the running statistics moved as they do without a mask, else the mistake."""
    m = masked.whole.m
    variants = [("", masked_running(masked, before, convention))]
    variants += [(NOT_COUNTED, _moved(before, convention, masked.statistics, m))]
    variants += [
        (name, _moved(before, convention, of, count))
        for name, of in _wrong_statistics(masked)
        for count in (m, masked.counted.m)
    ]
    for name, right in variants:
        if close(after.mean, right.mean, tolerance) and close(after.var, right.var, tolerance):
            return name
    return UNIDENTIFIED


def _moved(before: Statistics, convention: Convention, to: Statistics, m: int) -> Statistics:
    weight = 1.0 if convention.weight is None else convention.weight
    var = to.var * m / (m - 1) if convention.unbiased else to.var
    return Statistics(
        before.mean + weight * (to.mean - before.mean), before.var + weight * (var - before.var)
    )
