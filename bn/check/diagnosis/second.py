"""Mistakes of the second gradient: a backward pass that keeps a part of its formula constant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.formula import Array, Batch
from bn.check.gradients import H, SecondGradients, Upstream, second_gradients


def explain_second(
    batch: Batch, eps: float, upstream: Upstream, came: SecondGradients, tolerance: float
) -> str | None:
    """Return None if the second gradients are right, else the mistake."""
    right = second_gradients(batch, eps, upstream)

    def fits(name: str, expected: Array | None) -> bool:
        if expected is None or getattr(came, name) is None:  # there is no gamma
            return True
        scale = float(np.abs(getattr(right, name)).max()) or 1.0
        return close(getattr(came, name), expected, tolerance, scale)

    if fits("for_dy", right.for_dy) and fits("for_gamma", right.for_gamma):
        if fits("for_x", right.for_x):
            return None
        for name, for_x in _constants(batch, eps, upstream):
            if fits("for_x", for_x):
                return name
    return UNIDENTIFIED


def _constants(batch: Batch, eps: float, upstream: Upstream) -> list[tuple[str, Array]]:
    """Return the gradients for x that come of a backward pass with constants in it.

    Its other two gradients are right, because dy and gamma enter it openly.
    """
    others, m = batch.others, batch.m

    def backward(x_hat: Array, inv_std: Array) -> Array:
        """Return the scalar that is differentiated: sum(ddx·dx) + sum(ddgamma·dgamma)."""
        sum_dy = batch.dy.sum(axis=others, keepdims=True)
        inner = (batch.dy * x_hat).sum(axis=others, keepdims=True)
        dx = batch.along(batch.gamma) * inv_std * (batch.dy - sum_dy / m - x_hat * inner / m)
        dgamma = batch.along(upstream.ddgamma) * batch.dy * x_hat
        return np.asarray((upstream.ddx * dx + dgamma).sum())

    def mean_of(x: Array) -> Array:
        return np.asarray(x.mean(axis=others, keepdims=True))

    def inv_std_of(x: Array) -> Array:
        return np.asarray(1 / np.sqrt(mean_of(np.square(x - mean_of(x))) + eps))

    mean, inv_std = mean_of(batch.x), inv_std_of(batch.x)
    x_hat = (batch.x - mean) * inv_std
    frozen: dict[str, Callable[[Array], tuple[Array, Array]]] = {
        "x-hat": lambda x: (x_hat, inv_std),
        "inv-std": lambda x: ((x - mean_of(x)) * inv_std_of(x), inv_std),
        "statistics": lambda x: ((x - mean) * inv_std, inv_std),
        "mean": lambda x: ((x - mean) * inv_std_of(x), inv_std_of(x)),
        "variance": lambda x: ((x - mean_of(x)) * inv_std, inv_std),
    }
    plural = {"statistics": "constants"}
    variants = []
    for part, values in frozen.items():
        for_x = np.empty_like(batch.x)
        for index in np.ndindex(batch.x.shape):
            moved = batch.x.astype(complex)
            moved[index] += 1j * H
            for_x[index] = backward(*values(moved)).imag / H
        variants.append((f"second-gradient-{part}-as-{plural.get(part, 'a-constant')}", for_x))
    return variants
