"""The inputs that are fed: first few and short numbers, to be repeated by hand."""

from __future__ import annotations

import numpy as np

from bn.check.formula import Array, Batch, Statistics
from bn.check.gradients import Upstream

SEED = 20150211  # the day of the paper

#: Four values each, in whole numbers: x = (1, 2, 3, 6) is the example of the book.
X = np.array([[1, 2, 3, 6], [6, 0, 2, 0], [1, 5, 5, 1], [0, 3, 9, 4]], np.float64)
DY = np.array([[1, 0, 0, 0], [0, 1, -1, 2], [2, 0, 1, 0], [0, 0, 1, -1]], np.float64)
GAMMA = np.array([2, 3, 0.5, 4], np.float64)
BETA = np.array([1, -1, 0.5, 2], np.float64)

#: Lengths of the axes other than the channels', batch first, by the number of axes.
BY_HAND = {2: (4,), 3: (2, 2), 4: (2, 1, 2), 5: (2, 1, 1, 2)}
LARGER = {2: (7,), 3: (4, 5), 4: (4, 2, 5), 5: (3, 2, 1, 4)}
LAYOUTS = {2: ("N", ""), 3: ("N", "L"), 4: ("N", "HW"), 5: ("N", "DHW")}


def layout(ndim: int, axis: int) -> str:
    """Return for example "(N, C, H, W)"."""
    first, positions = LAYOUTS[ndim]
    names = [first, *positions]
    names.insert(axis, "C")
    return f"({', '.join(names)})"


def _shaped(values: Array, lengths: tuple[int, ...], axis: int) -> Array:
    """Turn (C, m) into the given lengths with the channels at `axis`."""
    return np.ascontiguousarray(np.moveaxis(values.reshape(len(values), *lengths), 0, axis))


def by_hand(channels: int, ndim: int, axis: int, scale: float = 1.0) -> Batch:
    """Return the example of the book, and the like for further channels; x times `scale`."""
    pick = np.arange(channels) % len(X)
    lengths = BY_HAND[ndim]
    return Batch(
        _shaped(X[pick] * scale, lengths, axis), GAMMA[pick], BETA[pick],
        _shaped(DY[pick], lengths, axis), axis, by_hand=True,
    )  # fmt: skip


def tiny(channels: int, ndim: int, axis: int, eps: float) -> Batch:
    """Return the same with a variance near eps, so that it matters where eps stands."""
    return by_hand(channels, ndim, axis, scale=float(f"{np.sqrt(eps):.0e}"))


def random(
    channels: int, ndim: int, axis: int, *, lengths: tuple[int, ...] | None = None, seed: int = SEED
) -> Batch:
    """Return normal numbers whose mean and spread differ from channel to channel."""
    rng = np.random.default_rng(seed)
    lengths = LARGER[ndim] if lengths is None else lengths
    shape = (channels, *lengths)
    along = (channels, *[1] * len(lengths))
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, along) + rng.normal(size=along)
    gamma, beta = rng.uniform(0.5, 2, channels), rng.normal(size=channels)
    x, dy = (np.moveaxis(values, 0, axis).copy() for values in (x, rng.normal(size=shape)))
    return Batch(x, gamma, beta, dy, axis)


def upstream(batch: Batch) -> Upstream:
    """Return what arrives at dx, dgamma and dbeta: small whole numbers."""
    rng = np.random.default_rng(SEED + 1)
    channels = batch.x.shape[batch.axis]
    return Upstream(
        rng.integers(-2, 3, batch.x.shape).astype(np.float64),
        rng.integers(-2, 3, (channels,)).astype(np.float64),
        rng.integers(-2, 3, (channels,)).astype(np.float64),
    )


def statistics(channels: int) -> Statistics:
    """Return running statistics that no batch here has."""
    pick = np.arange(channels) % 4
    return Statistics(np.array([2, -1, 0.5, 4.0])[pick], np.array([4, 0.25, 9, 2.0])[pick])
