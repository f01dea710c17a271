"""Batch norm, right and wrong, as formulas in float64: what `diagnosis` compares with.

One mistake is one field of :class:`Formula` changed. Nothing is shared with ``bn.reference``, so
that a slip there would not hide itself; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Input for one call: x and dy of one shape, gamma and beta with one value per channel."""

    x: Array
    gamma: Array
    beta: Array
    dy: Array
    axis: int  # of the channels, from 0
    by_hand: bool = False  # few and short numbers

    @property
    def others(self) -> tuple[int, ...]:
        """Every axis but the channels'."""
        return tuple(a for a in range(self.x.ndim) if a != self.axis)

    @property
    def m(self) -> int:
        """Values per channel."""
        return self.x.size // int(self.x.shape[self.axis])

    def along(self, values: Array) -> Array:
        """Reshape one value per channel so that it broadcasts against x."""
        return values.reshape([-1 if a == self.axis else 1 for a in range(self.x.ndim)])

    @property
    def mean(self) -> Array:
        """Of the mini-batch, shape (C,)."""
        return np.asarray(self.x.mean(axis=self.others))

    @property
    def var(self) -> Array:
        """The biased variance of the mini-batch, shape (C,)."""
        return np.asarray(np.square(self.x - self.along(self.mean)).mean(axis=self.others))


@dataclass(frozen=True)
class Statistics:
    """Running statistics, one value per channel."""

    mean: Array
    var: Array


@dataclass(frozen=True)
class Formula:
    """The transform, with one field for each thing that can be done otherwise.

    The defaults are right in training; in inference, both sources are "running".
    """

    mean_from: str = "batch"  # or "running"
    var_from: str = "batch"
    over: str = "channel"  # what shares its statistics
    centred: bool = True
    variance: str = "biased"
    eps: str = "inside"
    hard_coded: float | None = None  # an eps other than the given one
    divide: str = "root"
    affine: str = "usual"
    updated: bool = False  # the running statistics as they are after the step, not before

    def __call__(
        self, batch: Batch, eps: float, running: Statistics | None = None, x: Array | None = None
    ) -> Array | None:
        """Return y, or None where the formula makes no sense for this input.

        `x` takes the place of ``batch.x``, for differentiation.
        """
        parts = self.normalize(batch, eps, running, x)
        return None if parts is None else self._scale_and_shift(batch, parts[0])

    def normalize(
        self, batch: Batch, eps: float, running: Statistics | None = None, x: Array | None = None
    ) -> tuple[Array, Array] | None:
        """Return x_hat, and what x - mean was multiplied by, the "inv_std" of the backward pass."""
        x = batch.x if x is None else x
        eps = eps if self.hard_coded is None else self.hard_coded
        axes = self._axes(batch)
        if axes is None or (running is None and "running" in (self.mean_from, self.var_from)):
            return None
        # A shift by the first sample, so that large means lose no digits.
        first = x[tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.ndim))]
        mean = first + (x - first).mean(axis=axes, keepdims=True)
        var = self._variance(batch, x, mean, axes)
        if running is not None and self.mean_from == "running":
            mean = batch.along(running.mean)
        if running is not None and self.var_from == "running":
            var = batch.along(running.var)
        inv_std = self._inverse(var, eps)
        with np.errstate(all="ignore"):
            return (x - mean if self.centred else x) * inv_std, inv_std

    def statistics(self, batch: Batch) -> Statistics | None:
        """Return the mini-batch's mean and variance, where there is one of each per channel."""
        axes = self._axes(batch)
        if axes is None or not set(batch.others) <= set(axes):
            return None
        mean = batch.x.mean(axis=axes, keepdims=True)
        var = self._variance(batch, batch.x, mean, axes)
        ones = batch.along(np.ones_like(batch.gamma))
        return Statistics((ones * mean).reshape(-1), (ones * var).reshape(-1))

    def _axes(self, batch: Batch) -> tuple[int, ...] | None:
        ndim, axis, others = batch.x.ndim, batch.axis, batch.others
        positions = others[1:]
        last = ndim - 1
        return {
            "channel": others,
            "batch": (0,),
            "positions": positions or None,
            "everything": tuple(range(ndim)),
            "example": tuple(range(1, ndim)),
            "features": (axis,),
            "last": tuple(range(last)) if axis != last else None,  # keeps the last axis
            "second": tuple(a for a in range(ndim) if a != 1) if axis != 1 else None,
        }[self.over]

    def _variance(self, batch: Batch, x: Array, mean: Array, axes: tuple[int, ...]) -> Array:
        squares = np.square(x if self.variance == "uncentred" else x - mean)
        if self.variance == "everything":
            return np.asarray(squares.mean(keepdims=True))
        if self.variance == "per position":
            own = np.square(x - x.mean(axis=0, keepdims=True))
            return np.asarray(own.mean(axis=axes, keepdims=True))
        m = int(np.prod([x.shape[a] for a in axes]))
        divisor = {
            "unbiased": m - 1,
            "m+1": m + 1,
            "shrunk": m * m / max(m - 1, 1),
            "sum": 1,
            "batch-size": x.shape[0],
        }.get(self.variance, m)
        with np.errstate(all="ignore"):
            return np.asarray(squares.sum(axis=axes, keepdims=True) / divisor)

    def _inverse(self, var: Array, eps: float) -> Array:
        under = {"inside": var + eps, "squared": var + eps**2}.get(self.eps, var)
        with np.errstate(all="ignore"):
            std = under if self.divide == "variance" else np.sqrt(under)
            if self.eps == "outside":
                std = std + eps
            return np.asarray(std if self.divide == "multiply" else 1 / std)

    def _scale_and_shift(self, batch: Batch, x_hat: Array) -> Array:
        gamma, beta = batch.along(batch.gamma), batch.along(batch.beta)
        forms: dict[str, Callable[[], Array]] = {
            "usual": lambda: gamma * x_hat + beta,
            "swapped": lambda: beta * x_hat + gamma,
            "no gamma": lambda: x_hat + beta,
            "no beta": lambda: gamma * x_hat,
            "beta inside": lambda: gamma * (x_hat + beta),
            "minus beta": lambda: gamma * x_hat - beta,
            "one plus gamma": lambda: (1 + gamma) * x_hat + beta,
        }
        return forms[self.affine]()


TRAINING = Formula()
INFERENCE = Formula(mean_from="running", var_from="running")
