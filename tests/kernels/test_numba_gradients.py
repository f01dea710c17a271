"""Gradients of the kernels for the CPU where dy has a large mean, with a ReLU and an addition."""

import numpy as np
import pytest

pytest.importorskip("numba")

from bn import reference
from bn.kernels.numba_cpu import batch_norm_backward, batch_norm_forward
from tests import large_mean


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("shape", large_mean.SHAPES, ids=str)
def test_behind_a_relu(rng, shape, added, layout):
    """Where it is open everywhere, as without it; a channel where it is closed gets exactly 0."""
    case = large_mean.drawn(rng, shape, "float32")
    closed = np.arange(shape[1]) == 1
    beta = np.where(closed, -30.0, 30.0)
    z = layout(case.d / 4) if added else None
    y, cache = batch_norm_forward(layout(case.x), None, beta, relu=True, residual=z)
    assert (y.max(axis=(0, *range(2, y.ndim))) == 0).tolist() == closed.tolist()
    dx, dgamma, dbeta, *_ = batch_norm_backward(layout(case.dy), cache)
    for result in (np.moveaxis(dx, 1, 0), dgamma, dbeta):
        assert not result[closed].any()
    wide = reference.batch_norm_forward(case.x.astype(float))[1]
    expected = reference.batch_norm_backward(case.d.astype(float), wide)
    case = large_mean.Case(*(a[:, ~closed] for a in case))
    got, expected = (
        (a[:, ~closed], b[~closed], c[~closed]) for a, b, c in ((dx, dgamma, dbeta), expected)
    )
    large_mean.check(got, expected, case, np.ones(shape[1] - 1))


@pytest.mark.parametrize("shape", [(64, 5), (1, 3, 8, 8)], ids=str)
def test_one_value_that_is_unlike_the_others(rng, shape):
    """dx is as large as that value is, and right to the rounding of it: the bound for D."""
    case = large_mean.drawn(rng, shape, "float32")
    for place in (0, -1):
        odd = case.dy.copy()
        odd[(place, slice(None), *[place] * (odd.ndim - 2))] = 0
        cache = batch_norm_forward(case.x)[1]
        wide = reference.batch_norm_forward(case.x.astype(float))[1]
        expected = reference.batch_norm_backward(odd.astype(float), wide)
        limits = large_mean.bounds(case._replace(d=odd, dy=odd), np.ones(shape[1]))
        for one, two, limit in zip(batch_norm_backward(odd, cache), expected, limits, strict=True):
            assert (np.abs(one - two) <= (limit if two.ndim == 1 else limit.max())).all()
