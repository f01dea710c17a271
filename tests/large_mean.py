"""A dy with a large mean: what it must give, and how far off that may be.

A number c that is added to every value of dy in a channel changes neither dx nor dgamma, and adds
m c to dbeta. So the truth is that of d = dy - c, and here c + d is exact.

The bounds hold for any order of summation, so on any machine. With u for the unit roundoff of the
type, D and H for the largest |d - mean(d)| and |x_hat|, to first order in u:

* d - mean(d) is off by (m + 2) u D: two subtractions, and a mean of m numbers near d.
* x_hat is off by (m + 4) u H: the same for x, and two more for 1/std and the product with it.
* So a term of dgamma is off by (m + 2) + (m + 4) + 1 units of u D H, and their sum by m more for
  each: (3m + 7) u D H for dgamma / m. Where not the mean itself is subtracted before the sum but a
  number within D of it, terms are up to 2 D H, and it is 2 (m + 4) + 2 + 2m: (4m + 10) u D H.
* dx is gamma/std times (d - mean(d)) - x_hat dgamma/m. So but for that factor it is off by
  (m + 2) u D + ((4m + 10) + (m + 4)) u D H^2, and 6 u (D + D H^2) for its own six roundings. As H
  is at least 1, that is (6m + 28) u D H^2.

What a subtraction of the rounded mean costs is near u c, and c is some 10^6 times D.
"""

from typing import NamedTuple

import numpy as np

#: For each type that is computed in, c and the least distance of two numbers near it.
ADDED = {"float32": (1.5 * 2**22, 0.5), "float64": (1.5 * 2**51, 0.5)}

#: 64 values in each channel: rows, several lanes for a channel, planes.
SHAPES = [(64, 5), (16, 3, 2, 2), (1, 3, 8, 8), (4, 2, 4, 4)]


class Case(NamedTuple):
    """x, d and d + c."""

    x: np.ndarray
    d: np.ndarray
    dy: np.ndarray


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Case:
    c, step = ADDED[dtype]
    x, d = rng.standard_normal((2, *shape))
    d = np.round(2 * d / step) * step
    dy = (c + d).astype(dtype)
    assert np.array_equal(dy.astype(np.longdouble) - c, d)
    return Case(x.astype(dtype), d.astype(dtype), dy)


class Bounds(NamedTuple):
    """The largest errors allowed, per channel: shape (C,)."""

    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray


def bounds(case: Case, gamma: np.ndarray) -> Bounds:
    """Return the bounds that are derived above; the axis of the channels is 1, and eps is 1e-5."""
    x, d, dy = (np.moveaxis(a, 1, 0).reshape(a.shape[1], -1).astype(float) for a in case)
    m, u = x.shape[1], np.finfo(case.x.dtype).eps / 2
    std = np.sqrt(x.var(axis=1) + 1e-5)
    x_hat = np.abs(x - x.mean(axis=1, keepdims=True)).max(axis=1) / std
    size = np.abs(d - d.mean(axis=1, keepdims=True)).max(axis=1)  # D
    return Bounds(
        dx=(6 * m + 28) * u * np.abs(gamma) / std * size * x_hat**2,
        dgamma=m * (4 * m + 10) * u * size * x_hat,
        dbeta=(m + 2) * u * np.abs(dy).sum(axis=1),
    )


def check(got: tuple, expected: tuple, case: Case, gamma: np.ndarray) -> None:
    """Assert that dx, dgamma and dbeta are as near to the truth of d as they must be."""
    dx, dgamma, dbeta = expected
    c = ADDED[case.x.dtype.name][0]
    m = case.x.size // case.x.shape[1]
    for name, one, two, bound in zip(
        Bounds._fields, got, (dx, dgamma, dbeta + m * c), bounds(case, gamma), strict=True
    ):
        error = np.abs(one.astype(np.longdouble) - two)
        if name == "dx":
            error = error.max(axis=(0, *range(2, error.ndim)))
        assert (error <= bound).all(), f"{name}: {(error / bound).max():.3g} times its bound"
