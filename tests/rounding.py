"""How far rounding may move a result: bounds for every processor.

Processors differ in how many numbers they add side by side, so in the order of a sum, and in
whether they multiply and add in one step. What follows holds for any order, and one rounding
less does no harm (N. Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1, 4.2):

* After n roundings, one upon another, a product is wrong by a share of at most n u / (1 - n u),
  called g(n) below, where u is half the distance from 1 to the next number of the type.
* A sum of n numbers is then wrong by at most g(n - 1) times the sum of their sizes.
"""

import math

import numpy as np

#: A pivot further than so many standard deviations from the mean is given up by the kernels.
FAR = 2.0


def unit(dtype) -> float:
    """Return u, the largest share by which rounding a number to a type changes it."""
    return float(np.finfo(dtype).eps) / 2


def after(dtype, roundings: int) -> float:
    """Return g(n)."""
    share = roundings * unit(dtype)
    assert share < 0.1, "so many roundings leave no digit"
    return share / (1 - share)


def of_statistics(dtype, terms: int, pivot: float = FAR) -> tuple[float, float]:
    """Return errors: of the mean in standard deviations, of the variance as a share of it.

    With d = x - pivot (one rounding) and a pivot K standard deviations from the mean, the mean is
    the pivot plus s, the mean of d; the variance is the mean of d², less s². In units of the
    standard deviation s = K, the mean of d² is 1 + K², and that of |d| at most its root. So s is
    wrong by g(n) sqrt(1 + K²), the mean of d² by g(n + 2) (1 + K²), s² by 2 K times the error of s.
    """
    g, square = after(dtype, terms + 2), 1 + pivot**2
    return g * math.sqrt(square), g * (square + 2 * pivot * math.sqrt(square))


def of_y(dtype, terms: int, x_hat: float, pivot: float = FAR) -> float:
    """Return the error of y = (x - mean) inv_std where that is at most `x_hat`.

    The error of the mean, half of the variance's (because of the root), and eight roundings: of
    x - pivot, of the offset that is subtracted, of inv_std, gamma and beta, of each operation.
    """
    mean, var = of_statistics(dtype, terms, pivot)
    return mean + x_hat * var / 2 + after(dtype, 8) * max(1.0, x_hat)


def of_batch_norm(dtype, terms: int) -> float:
    """Return the error of any result of both passes, in units of the largest entry there is.

    For numbers drawn at random, not for ones made to cancel. The gradients add to x_hat, whose
    error is that of y, two more sums of as many terms; dx has all three. The sizes of what is
    added up are at most a few times the largest result. Half precision is computed in float32 or
    wider, and rounded once.
    """
    if dtype == "float16":
        return unit(dtype) + of_batch_norm("float32", terms)
    return 3 * of_y(dtype, terms, x_hat=3.0)
