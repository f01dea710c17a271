"""Which numbers of an array to show, and how."""

from __future__ import annotations

import numpy as np

from bn.check.diagnosis import error
from bn.check.formula import Array, Batch


def short(array: Array, axis: int | None = None, channel: int = 0, digits: int = 6) -> str:
    """Return the first numbers of an array, or of one channel of it."""
    values = np.asarray(array, np.float64)
    if axis is not None and values.ndim > 1:
        values = np.take(values, channel, axis=axis)
    flat = values.reshape(-1)
    shown = ", ".join(f"{float(value):.{digits}g}" for value in flat[:8])
    return f"({shown}{', …' if flat.size > 8 else ''})"


def telling_channel(got: Array, expected: Array, axis: int) -> int:
    """Return the first channel whose error is not much less than the largest."""
    difference = np.nan_to_num(np.abs(got - expected), nan=np.inf)
    others = tuple(a for a in range(difference.ndim) if a != axis)
    errors = difference.max(axis=others)
    return int(np.argmax(errors >= 0.2 * errors.max()))


def most_telling(cases: list[tuple[Batch, Array, Array]], tolerance: float) -> int:
    """Return the case to show: one to repeat by hand, if it is clearly off, else the worst."""
    errors = [error(got, expected) for _, got, expected in cases]
    by_hand = [i for i, (batch, _, _) in enumerate(cases) if batch.by_hand]
    clear = [i for i in by_hand if errors[i] > 0.02]
    if clear:
        return clear[0]
    wrong = [i for i in by_hand if errors[i] > tolerance]
    return max(wrong or range(len(cases)), key=lambda i: errors[i])
