"""When two arrays agree."""

from __future__ import annotations

from typing import Any

import numpy as np

UNIDENTIFIED = "unidentified"


def close(got: Any, expected: Any, tolerance: float, scale: float | None = None) -> bool:
    """Tell whether two arrays agree, relative to the largest expected value (or `scale`)."""
    return error(got, expected, scale) <= tolerance


def error(got: Any, expected: Any, scale: float | None = None) -> float:
    """Return the largest difference, relative to the largest expected value (or `scale`)."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.size != expected.size:
        return float("inf")
    if not got.size:
        return 0.0
    scale = float(np.abs(expected).max()) if scale is None else scale
    with np.errstate(all="ignore"):
        worst = float(np.abs(got.reshape(-1) - expected.reshape(-1)).max()) / (scale or 1.0)
    return float("inf") if np.isnan(worst) else worst
