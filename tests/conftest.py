"""Fixtures that every test may use."""

from collections.abc import Callable

import numpy as np
import pytest

Numeric = Callable[[Callable[[np.ndarray], float], np.ndarray], np.ndarray]


def pytest_configure(config: pytest.Config) -> None:
    """Make warnings of the book's scripts errors, too: they are imported by their bare names."""
    for path in (config.rootpath / "book").rglob("*.py"):
        config.addinivalue_line("filterwarnings", f"error:::{path.stem}$")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20150211)


@pytest.fixture
def numerical_gradient() -> Numeric:
    """Central differences of a scalar function, in float64."""

    def gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
        assert x.dtype == np.float64, "differences need float64"
        out = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[i] += h
            down[i] -= h
            out[i] = (f(up) - f(down)) / (2 * h)
        return out

    return gradient
