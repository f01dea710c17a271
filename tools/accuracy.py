"""How many digits are right: the accuracy figures that the book promises, measured.

Each figure is measured on bn.reference, bn.pytorch, bn.kernels.numba_cpu and, for comparison, on
torch.nn.functional.batch_norm, on the CPU, against the textbook formula in extended precision
(float64 where NumPy has no more). The numbers are drawn with fixed seeds. ``python -m
tools.conformance accuracy`` writes the table, and tests/conformance/test_accuracy.py holds ours to
the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from tools.implementations import EPS, IMPLEMENTATIONS, WIDE, Array, Implementation, truth

SHAPES = [(256, 8), (16, 8, 32), (8, 4, 16, 16), (1, 3, 64, 64)]

# --- how far a result is off -----------------------------------------------------------------


def absolute(got: Array, expected: Array) -> float:
    """Return the largest error."""
    return float(np.abs(got.astype(WIDE) - expected).max())


def relative(got: Array, expected: Array) -> float:
    """Return the largest error in units of the largest entry."""
    return absolute(got, expected) / float(np.abs(expected).max())


def ulps(got: Array, expected: Array) -> float:
    """Return the largest error in units of the last place that a correct result would have."""
    info = ml_dtypes.finfo(got.dtype)  # type: ignore[no-untyped-call]
    exponent = np.floor(np.log2(np.maximum(np.abs(expected), float(info.smallest_normal))))
    unit = np.exp2(exponent + int(np.log2(float(info.eps))))
    return float((np.abs(got.astype(WIDE) - expected) / unit).max())


# --- the figures -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    what: str
    limit: float | str  # a number: ours must be below it; a word: ours must raise that error
    measure: Callable[[Implementation], float]

    def of(self, implementation: Implementation) -> float | str:
        """Return what was measured, "NaN", or the name of the error that was raised."""
        try:
            value = self.measure(implementation)
        except (ArithmeticError, ValueError) as error:
            return type(error).__name__
        return value if np.isfinite(value) else "NaN"

    def met(self, value: float | str) -> bool:
        """Tell whether the limit is kept."""
        if isinstance(self.limit, str) or isinstance(value, str):
            return value == self.limit
        return value <= self.limit


def _draw(shape: tuple[int, ...], dtype: Any = np.float32) -> tuple[Array, Array]:
    rng = np.random.default_rng(20150211)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


def _far(mean: float, result: str, error: Callable[[Array, Array], float]) -> Any:
    def measure(run: Implementation) -> float:
        errors = []
        for shape in SHAPES:
            x, dy = _draw(shape)
            x = (mean + x.astype(np.float64)).astype(np.float32)
            got, expected = run(x, dy, None, None, EPS), truth(x, dy)
            errors.append(error(getattr(got, result), getattr(expected, result)))
        return float(np.max(errors))  # unlike max(), NaN if there is one

    return measure


def _constant(shape: tuple[int, ...], *sizes: float) -> Any:
    def measure(run: Implementation) -> float:
        errors = []
        for size in sizes:
            beta = np.linspace(0.1, 0.3, shape[1]).astype(np.float32)
            x = np.full(shape, size, np.float32)
            y = run(x, np.ones_like(x), None, beta, EPS).y
            errors.append(absolute(y, beta.reshape(1, -1, *[1] * (len(shape) - 2))))
        return float(np.max(errors))

    return measure


def _size(size: float, dtype: Any, result: str) -> Any:
    def measure(run: Implementation) -> float:
        x, dy = _draw((40, 3), dtype)
        x = (x * dtype(size)).astype(dtype)
        got, expected = run(x, dy, None, None, EPS), truth(x, dy)
        return relative(getattr(got, result), getattr(expected, result))

    return measure


def _rounding(dtype: Any, result: str, beta: Array | None = None) -> Any:
    def measure(run: Implementation) -> float:
        errors = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            x = (5 + rng.standard_normal((64, 4, 6, 6))).astype(dtype)
            dy = rng.standard_normal(x.shape).astype(dtype)
            gamma = np.array([0.5, 1, 2, -3], np.float32)
            got, expected = run(x, dy, gamma, beta, EPS), truth(x, dy, gamma, beta)
            errors.append(ulps(getattr(got, result), getattr(expected, result)))
        return float(np.max(errors))

    return measure


def _sum_of_many(run: Implementation) -> float:
    x, dy = _draw((100_000, 2))
    dy += 1
    return relative(run(x, dy, None, None, EPS).dbeta, dy.astype(WIDE).sum(axis=0))


def _zero_eps(run: Implementation) -> float:
    """Return <dx, x_hat> at eps = 0, in units of the two lengths."""
    x, dy = _draw((200, 4), np.float64)
    got = run(3 * x + 10, dy, None, None, 0.0)
    lengths = np.sqrt((got.dx**2).sum(axis=0) * (got.y**2).sum(axis=0))
    return float((np.abs((got.dx * got.y).sum(axis=0)) / lengths).max())


def _zero_eps_scale(run: Implementation) -> float:
    """Return how much y and a dx change when x becomes a x, at eps = 0."""
    x, dy = _draw((200, 4), np.float64)
    one, two = run(x, dy, None, None, 0.0), run(7 * x, dy, None, None, 0.0)
    return float(np.maximum(absolute(two.y, one.y), absolute(7 * two.dx, one.dx)))


def _residual(run: Implementation) -> float:
    """Return how far <dx, x_hat> is from gamma inv_std <dy, x_hat> eps/(var + eps)."""
    eps = 0.3
    x, dy = _draw((200, 4), np.float64)
    gamma = np.array([0.5, 1, 2, -3])
    got, plain = run(x, dy, gamma, None, eps), run(x, dy, None, None, eps)
    var = x.var(axis=0)
    left = gamma / np.sqrt(var + eps) * plain.dgamma * eps / (var + eps)
    return relative((got.dx * plain.y).sum(axis=0), left.astype(WIDE))


def _scaled_eps(run: Implementation) -> float:
    """Return how much y and a dx change when x becomes a x and eps a² eps."""
    x, dy = _draw((200, 4), np.float64)
    one, two = run(x, dy, None, None, 0.3), run(7 * x, dy, None, None, 49 * 0.3)
    return float(np.maximum(absolute(two.y, one.y), absolute(7 * two.dx, one.dx)))


HALF = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
BETA = np.array([0.3, -1, 1, 0.7], np.float32)  # nearly cancels gamma x_hat in places

FIGURES = [
    *(Figure(f"mean-{m:g}", f"mean {text}, variance 1: error of y", 1e-6, _far(m, "y", absolute))
      for m, text in ((0.0, "0"), (1e4, "10⁴"), (1e6, "10⁶"))),
    Figure("mean-1e6-dx", "mean 10⁶, variance 1: error of dx, relative", 1e-6,
           _far(1e6, "dx", relative)),
    Figure("constant-2d", "constant 10⁹, shape (64, 3): distance of y from β", 0.0,
           _constant((64, 3), 1e9)),
    Figure("constant-4d", "constant 10⁹, shape (1, 1, 10, 10): distance of y from β", 0.0,
           _constant((1, 1, 10, 10), 1e9)),
    Figure("constant-any", "nine constants up to 3·10³⁸: distance of y from β", 0.0,
           _constant((64, 3), 0.0, 1e-38, -1e-20, 1.0, 1 / 3, -1e6 / 7, 1e20, -3.3e30, 3e38)),
    Figure("huge-y", "values near 10³⁰: error of y, relative", 1e-6, _size(1e30, np.float32, "y")),
    Figure("huge-dx", "values near 10³⁰: error of dx, relative", 1e-6,
           _size(1e30, np.float32, "dx")),
    Figure("too-large", "values near 10²⁰⁰, float64, whose variance does not fit: an error, or "
           "the error of y", "OverflowError", _size(1e200, np.float64, "y")),
    *(Figure(f"{name}-{result}", f"{name}: error of {result}, in ulp", 0.51,
             _rounding(dtype, result))
      for name, dtype in HALF.items() for result in ("y", "dx")),
    *(Figure(f"{name}-cancel", f"{name}, β near −γ·x̂ in places: error of y, in ulp", 0.51,
             _rounding(dtype, "y", BETA)) for name, dtype in HALF.items()),
    Figure("many", "100 000 values: error of dβ, relative", 1e-7, _sum_of_many),
    Figure("zero-eps", "ε = 0, float64: ⟨dx, x̂⟩, relative", 1e-14, _zero_eps),
    Figure("zero-eps-scale", "ε = 0, float64: change of y and a·dx when x becomes a·x", 1e-14,
           _zero_eps_scale),
    Figure("residual", "ε = 0.3, float64: ⟨dx, x̂⟩ against γ·⟨dy, x̂⟩·ε / (σ² + ε)^1.5, relative",
           1e-14, _residual),
    Figure("scaled-eps", "ε = 0.3, float64: change of y and a·dx when x becomes a·x and ε "
           "becomes a²·ε", 1e-14, _scaled_eps),
]  # fmt: skip


def measure() -> list[dict[str, Any]]:
    """Return the table, a line a figure."""
    return [
        {"name": figure.name, "what": figure.what, "limit": figure.limit}
        | {name: figure.of(run) for name, run in IMPLEMENTATIONS.items()}
        for figure in FIGURES
    ]
