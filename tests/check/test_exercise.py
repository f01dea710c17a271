"""A reader's answer: each thing that can be wrong with it gets its own sentence."""

import doctest

import numpy as np
import pytest

from bn.check import answer, exercise

X = np.arange(6.0).reshape(3, 2)
NAMES = ("mean", "double")


def right(x):
    return x.mean(axis=0), 2 * x


@pytest.mark.parametrize(
    ("candidate", "verdict"),
    [
        (right, "right"),
        (lambda x: [x.mean(axis=0), x + x], "right"),
        (lambda x: None, "not written yet"),
        (lambda x: ..., "not written yet"),
        (lambda x: x.mean(axis=0), "expected a tuple of 2 results: mean, double; got ndarray"),
        (lambda x: (x, x, x), "expected a tuple of 2 results: mean, double; got a tuple of 3"),
        (lambda x: (x.mean(axis=1), 2 * x), "mean has shape (3,), expected (2,)"),
        (lambda x: (x.mean(axis=0), x), "double is wrong at [0, 1]: got 1, expected 2"),
        (lambda x: (x.mean(axis=0), np.where(x > 4, np.nan, 2 * x)),
         "double is wrong at [2, 1]: got nan, expected 10"),
        (lambda x: (x.mean(axis=0), 3 * x),
         "double is wrong at [0, 1]: got 3, expected 2; it is three times x"),
        (lambda x: ("two", 2 * x), "mean is a ndarray that does not hold numbers"),
        (lambda x: ([[1, 2], [3]], 2 * x), "mean is a list that does not hold numbers"),
        (lambda x: x.absent, "it raised AttributeError"),
        (lambda x: (x.mean(axis=0), x.fill(0)), "double is a ndarray that does not hold numbers"),
    ],
)  # fmt: skip
def test_verdicts(candidate, verdict):
    guesses = {"it is three times x": lambda x: (x.mean(axis=0), 3 * x)}
    assert answer(candidate, right, (X,), names=NAMES, guesses=guesses).startswith(verdict)
    assert X[0, 1] == 1  # candidates get copies


def test_every_call_counts():
    squares_below_two = [(np.array(0.0),), (np.array(1.0),), (np.array(2.0),)]
    assert answer(lambda x: x, np.square, squares_below_two[:2], names=["y"]) == "right"
    assert answer(lambda x: x, np.square, squares_below_two, names=["y"]) == (
        "y is wrong: got 2, expected 4"
    )


def test_the_example_in_the_docstring():
    assert doctest.testmod(exercise).failed == 0
