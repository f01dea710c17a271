"""Batches that Hypothesis draws for the property-based tests, and how results are compared.

Two to four axes, any of them that of the channels, down to two values per channel, constant
channels included. The values are multiples of 1/8, so that shifting them is exact. The draws are
the same in each run.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bn.reference import batch_norm_backward, batch_norm_forward
from tests.conformance.suites import COPY

EXAMPLES = 40
#: A planted bug only has to be found; to look for the smallest example would take most of the time.
PHASES = set(Phase) - {Phase.shrink, Phase.explain} if COPY in os.environ else set(Phase)
QUICK = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=PHASES
)


@dataclass
class Batch:
    x: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    options: dict[str, Any]  # eps and axis

    @property
    def axis(self):
        return self.options["axis"]

    @property
    def eps(self):
        return self.options["eps"]

    def step(self, x=None, dy=None, **other):
        """Return y, dx, dgamma, dbeta and the cache; what is not given is the batch's own."""
        gamma, beta = other.pop("gamma", self.gamma), other.pop("beta", self.beta)
        x = self.x if x is None else x
        y, cache = batch_norm_forward(x, gamma, beta, **(self.options | other))
        return y, *batch_norm_backward(self.dy if dy is None else dy, cache), cache

    def flat(self, array):
        """The array as (m, C)."""
        return np.moveaxis(array, self.axis, -1).reshape(-1, array.shape[self.axis])


def numbers(shape):
    return arrays(np.int16, shape, elements=st.integers(-128, 128)).map(lambda a: a / 8)


@st.composite
def batches(draw, eps=(1e-3, 0.1, 1.0), axes=(2, 4)):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=axes[0], max_size=axes[1])))
    axis = draw(st.integers(0, len(shape) - 1))
    if np.prod(shape) == shape[axis]:  # one value per channel
        longer = (axis + 1) % len(shape)
        shape = (*shape[:longer], 2, *shape[longer + 1 :])
    options = {"eps": draw(st.sampled_from(eps)), "axis": axis}
    arguments = (draw(numbers(s)) for s in (shape, shape, shape[axis], shape[axis]))
    return Batch(*arguments, options)


@st.composite
def masked(draw, **options):
    """A batch and a mask of its shape that leaves at least two values in each channel."""
    batch = draw(batches(**options))
    mask = draw(arrays(np.bool_, batch.x.shape))
    for c in range(mask.shape[batch.axis]):
        channel = np.moveaxis(mask, batch.axis, 0)[c]  # a view
        channel.flat[: max(0, 2 - channel.sum())] = True
        if channel.sum() < 2:
            channel[...] = True
    return batch, mask


def property_of(*strategies):
    return lambda test: QUICK(given(*strategies)(test))


def close(got, expected, tolerance=1e-9):
    """Compare tuples of arrays, in units of the largest entry expected (at least 1)."""
    for one, two in zip(got, expected, strict=True):
        scale = max(1.0, np.abs(two).max(initial=0))
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * scale, equal_nan=False)
