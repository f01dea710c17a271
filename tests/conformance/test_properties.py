"""Properties of the transform that need no expected numbers, on bn.reference.

What changes nothing, what comes out the same by another way, and what eps leaves over.
"""

import numpy as np
import pytest
from hypothesis import strategies as st

from bn import reference
from tests.conformance.batches import batches, close, property_of

# --- invariances -----------------------------------------------------------------------------


@property_of(batches(), st.sampled_from([1e6, -1e6, 1000, -7, 0.125]))
def test_a_shift_of_x_changes_nothing(batch, shift):
    close(batch.step(batch.x + shift)[:4], batch.step()[:4], 1e-8)


@property_of(batches(), st.integers(-20, 20), st.sampled_from([1, -1]))
def test_a_power_of_two_times_x_is_exact(batch, power, sign):
    """If eps grows by the square: y(a x) is y(x), and dx shrinks by a; both bit for bit."""
    a = sign * 2.0**power
    y, dx, *rest = batch.step(a * batch.x, gamma=sign * batch.gamma, eps=a * a * batch.eps)
    expected = batch.step()
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(a * dx, expected[1])
    np.testing.assert_array_equal(sign * rest[0], expected[2])


@property_of(batches(), st.floats(0.01, 100))
def test_a_factor_of_x_goes_with_its_square_in_eps(batch, a):
    y, dx, dgamma, dbeta, _ = batch.step(a * batch.x, eps=a * a * batch.eps)
    close((y, a * dx, dgamma, dbeta), batch.step()[:4])


@property_of(batches(), st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(batch, random):
    order = random.sample(range(len(batch.flat(batch.x))), len(batch.flat(batch.x)))
    x, dy = batch.flat(batch.x), batch.flat(batch.dy)
    y, dx, *rest, _ = batch.step(x[order], dy[order], axis=1)
    plain = batch.step(x, dy, axis=1)
    close((y, dx, *rest), (plain[0][order], plain[1][order], *plain[2:4]))


@property_of(batches(), st.randoms(use_true_random=False))
def test_the_order_of_the_channels_does_not_matter(batch, random):
    order = random.sample(range(batch.gamma.size), batch.gamma.size)
    x, dy, y, dx = (np.take(a, order, batch.axis) for a in (batch.x, batch.dy, *batch.step()[:2]))
    got = batch.step(x, dy, gamma=batch.gamma[order], beta=batch.beta[order])
    close(got[:4], (y, dx, *(a[order] for a in batch.step()[2:4])))


@property_of(batches())
def test_a_channel_sees_nothing_of_the_others(batch):
    """Each channel alone gives what it gives among the others."""
    together = batch.step()
    for c in range(batch.gamma.size):
        one = slice(c, c + 1)
        x, dy, y, dx = (np.take(a, [c], batch.axis) for a in (batch.x, batch.dy, *together[:2]))
        alone = batch.step(x, dy, gamma=batch.gamma[one], beta=batch.beta[one])
        close(alone[:4], (y, dx, together[2][one], together[3][one]))


# --- what is left over by eps ----------------------------------------------------------------


@property_of(batches())
def test_sums_that_are_zero_and_what_eps_leaves_of_the_third(batch):
    """sum(x_hat) = sum(dx) = 0; <dx, x_hat> = gamma inv_std <dy, x_hat> eps / (var + eps)."""
    _, dx, dgamma, _, cache = batch.step()
    x_hat, flat = batch.flat(cache.x_hat), batch.flat(dx)
    m, share = len(x_hat), batch.eps / (cache.var + batch.eps)
    left = batch.gamma * cache.inv_std * dgamma * share
    got = x_hat.sum(0), (x_hat**2).mean(0), flat.sum(0) / m, (flat * x_hat).sum(0) / m
    close(got, (0 * share, 1 - share, 0 * share, left / m))


# --- other ways to the same numbers ----------------------------------------------------------


@property_of(batches(), st.integers(0, 3))
def test_any_axis_may_be_that_of_the_channels(batch, axis):
    axis %= batch.x.ndim
    x, dy = (np.moveaxis(a, batch.axis, axis) for a in (batch.x, batch.dy))
    expected = batch.step()
    for name in (axis, axis - x.ndim):
        y, dx, *rest, _ = batch.step(x, dy, axis=name)
        back = (np.moveaxis(a, axis, batch.axis) for a in (y, dx))
        close((*back, *rest), expected[:4])


@pytest.mark.parametrize("form", ["backward_by_graph", "backward_by_equations"])
@property_of(batches())
def test_forms_of_the_backward_agree(form, batch):
    x, dy = batch.flat(batch.x), batch.flat(batch.dy)
    expected = batch.step(x, dy, axis=1)[1:4]
    close(getattr(reference, form)(dy, x, batch.gamma, eps=batch.eps), expected)


@property_of(batches())
def test_forms_agree_with_pytorch(batch):
    import torch  # not above: the planted bugs of the reference run without it

    from bn import pytorch

    x, gamma, beta, dy = map(torch.from_numpy, (batch.x, batch.gamma, batch.beta, batch.dy))
    inputs = [t.requires_grad_() for t in (x, gamma, beta)]
    y = pytorch.batch_norm(*inputs, **batch.options)
    got = [y.detach(), *torch.autograd.grad(y, inputs, dy)]
    close([t.numpy() for t in got], batch.step()[:4])


@property_of(batches())
def test_inference_with_the_batch_statistics_is_training(batch):
    y, *_, cache = batch.step()
    got = reference.batch_norm_inference(
        batch.x, cache.mean, cache.var, batch.gamma, batch.beta, **batch.options
    )
    close([got], [y])
