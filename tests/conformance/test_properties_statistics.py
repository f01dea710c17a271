"""Properties of masks, merged and running statistics and second gradients, on bn.reference."""

import numpy as np
import pytest
from hypothesis import strategies as st

from bn import reference
from bn.reference import BatchNorm, merge_statistics, population_statistics
from tests.conformance.batches import batches, close, masked, numbers, property_of

METHODS = ("algorithm2", "cumulative", "ema", "pooled")


def by_channel(batch, array):
    """The values of each channel, in a row."""
    return np.moveaxis(array, batch.axis, 0).reshape(array.shape[batch.axis], -1)


# --- masks -----------------------------------------------------------------------------------


@property_of(batches())
def test_a_mask_that_lets_all_count_changes_nothing(batch):
    mask = np.ones([1] * batch.x.ndim, bool)
    close(batch.step(mask=mask)[:4], batch.step()[:4])


@property_of(masked())
def test_a_mask_is_the_batch_without_what_it_leaves_out(drawn):
    """Where dy is 0 for the rest, which has no say; then the rest has dx = 0, too."""
    batch, mask = drawn
    y, dx, dgamma, dbeta, cache = batch.step(dy=batch.dy * mask, mask=mask)
    rows = [by_channel(batch, a) for a in (batch.x, batch.dy, mask, y, dx)]
    for c, (x, dy, counts, y_c, dx_c) in enumerate(zip(*rows, strict=True)):
        one = slice(c, c + 1)
        gamma, beta = batch.gamma[one], batch.beta[one]
        alone = batch.step(
            x[counts, None], dy[counts, None], gamma=gamma, beta=beta, axis=1
        )  # (m, 1)
        close((y_c[counts, None], dx_c[counts, None]), alone[:2])
        close((dgamma[one], dbeta[one], cache.mean[one], cache.var[one]),
              (*alone[2:4], alone[4].mean, alone[4].var))  # fmt: skip
        rest = (x[~counts] - cache.mean[c]) / np.sqrt(cache.var[c] + batch.eps)
        close((y_c[~counts], dx_c[~counts]), (gamma * rest + beta, 0 * rest))


@property_of(masked())
def test_what_a_mask_leaves_out_does_not_reach_the_statistics(drawn):
    batch, mask = drawn
    other = np.where(mask, batch.x, 1e6)
    one, two = batch.step(mask=mask), batch.step(other, mask=mask)
    close([two[0][mask]], [one[0][mask]])
    close((two[-1].mean, two[-1].var), (one[-1].mean, one[-1].var))


# --- gradients by differences ----------------------------------------------------------------


def slope(function, at, direction, h=1e-4):
    """The derivative of a scalar function in a direction, by central differences, of order 4."""
    near = function(at + h * direction) - function(at - h * direction)
    far = function(at + 2 * h * direction) - function(at - 2 * h * direction)
    return (8 * near - far) / (12 * h)


@property_of(masked(eps=(0.3, 1.0)), st.integers(0, 2**32 - 1))
def test_backward_against_differences(drawn, seed):
    batch, mask = drawn
    rng = np.random.default_rng(seed)
    _, dx, dgamma, dbeta, _ = batch.step(mask=mask)
    for name, gradient in (("x", dx), ("gamma", dgamma), ("beta", dbeta)):
        direction = rng.uniform(-1, 1, gradient.shape)

        def loss(value, name=name):
            return np.sum(batch.dy * batch.step(**{name: value}, mask=mask)[0])

        numeric = slope(loss, getattr(batch, name), direction)
        close([np.sum(gradient * direction)], [numeric], 1e-6)


@pytest.mark.parametrize("with_mask", [False, True])
@property_of(masked(eps=(0.3, 1.0)), st.integers(0, 2**32 - 1))
def test_double_backward_against_differences_of_the_backward(with_mask, drawn, seed):
    batch, mask = drawn
    options = {"mask": mask} if with_mask else {}
    rng = np.random.default_rng(seed)
    upstream = [rng.uniform(-1, 1, a.shape) for a in (batch.x, batch.gamma, batch.gamma)]
    cache = batch.step(**options)[-1]
    got = reference.batch_norm_double_backward(*upstream, batch.dy, cache)
    for name, gradient in zip(("dy", "x", "gamma"), got, strict=True):
        direction = rng.uniform(-1, 1, gradient.shape)

        def total(value, name=name):
            found = batch.step(**{name: value}, **options)[1:4]
            return sum(np.sum(u * g) for u, g in zip(upstream, found, strict=True))

        numeric = slope(total, getattr(batch, name), direction)
        close([np.sum(gradient * direction)], [numeric], 1e-6)


# --- merged and running statistics -----------------------------------------------------------


@st.composite
def shards(draw):
    """Parts of a batch, (values, C), some of them empty."""
    channels = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any))
    return [draw(numbers((size, channels))) for size in sizes]


def statistics(parts):
    """Mean, biased variance and count of each part; zeros for an empty one."""
    means = [part.mean(0) if len(part) else np.zeros(part.shape[1]) for part in parts]
    variances = [part.var(0) if len(part) else np.zeros(part.shape[1]) for part in parts]
    return np.array(means), np.array(variances), np.array([len(part) for part in parts])


@property_of(shards(), st.sampled_from([0.0, 1e6]))
def test_merged_statistics_are_those_of_all_values(parts, far):
    parts = [part + far for part in parts]
    together = np.concatenate(parts) - far
    mean, var, count = merge_statistics(*statistics(parts))
    close((mean - far, var), (together.mean(0), together.var(0)), 1e-8)
    assert (count == len(together)).all()


@property_of(shards(), st.integers(1, 4))
def test_merging_in_two_steps_is_merging_at_once(parts, where):
    once = merge_statistics(*statistics(parts))
    groups = [group for group in (parts[:where], parts[where:]) if any(map(len, group))]
    halves = [merge_statistics(*statistics(group)) for group in groups]
    close(merge_statistics(*(np.array(a) for a in zip(*halves, strict=True))), once)


@pytest.mark.parametrize("method", METHODS)
@property_of(batches(), st.integers(1, 6), st.floats(0, 1))
def test_population_methods_on_equal_batches(method, batch, repeats, momentum):
    """The same batch again and again: then each method has a closed form."""
    x = batch.flat(batch.x)
    m, (mean, var) = len(x), (x.mean(0), x.var(0))
    unbiased = var * m / (m - 1)
    old = (1 - momentum) ** repeats  # what is left of the starting values 0 and 1
    expected = {
        "ema": ((1 - old) * mean, old + (1 - old) * unbiased),
        "pooled": (mean, var * (repeats * m) / (repeats * m - 1)),
    }.get(method, (mean, unbiased))
    given = np.tile(mean, (repeats, 1)), np.tile(var, (repeats, 1)), m
    close(population_statistics(*given, method=method, momentum=momentum), expected)


@pytest.mark.parametrize("method", ["ema", "cumulative"])
@property_of(st.lists(batches(axes=(2, 2)), min_size=1, max_size=4), st.floats(0, 1))
def test_a_layers_running_statistics_are_that_population(method, drawn, momentum):
    parts = [np.resize(batch.x, (len(batch.flat(batch.x)), 2)) for batch in drawn]
    layer = BatchNorm(2, momentum=None if method == "cumulative" else momentum)
    for part in parts:
        layer.forward(part)
    layer.training = False
    layer.forward(100 + parts[0])  # inference leaves them alone
    expected = population_statistics(*statistics(parts), method=method, momentum=momentum)
    close((layer.running_mean, layer.running_var), expected)
    assert layer.num_batches == len(parts)


@property_of(masked(), st.booleans())
def test_a_layer_in_training_is_the_function_and_keeps_its_statistics(drawn, unbiased):
    batch, mask = drawn
    layer = BatchNorm(batch.gamma.size, momentum=1.0, unbiased=unbiased, **batch.options)
    layer.gamma, layer.beta = batch.gamma, batch.beta
    y, dx, dgamma, dbeta, cache = batch.step(mask=mask)
    got = layer.forward(batch.x, mask), layer.backward(batch.dy), layer.dgamma, layer.dbeta
    close(got, (y, dx, dgamma, dbeta))
    rows = zip(by_channel(batch, batch.x), by_channel(batch, mask), strict=True)
    var = [x[counts].var(ddof=unbiased) for x, counts in rows]
    close((layer.running_mean, layer.running_var), (cache.mean, np.array(var)))


@property_of(batches(), st.integers(0, 1))
def test_a_layer_in_inference_treats_each_value_by_itself(batch, start):
    layer = BatchNorm(batch.gamma.size, **batch.options)
    layer.forward(batch.x)
    layer.training = False
    axis = (batch.axis + 1) % batch.x.ndim
    some = np.arange(start, batch.x.shape[axis], 2)  # every other one
    x, dy = (np.take(a, some, axis) for a in (batch.x, batch.dy))
    y, dx = layer.forward(batch.x), layer.backward(batch.dy)
    close((layer.forward(x), layer.backward(dy)), (np.take(a, some, axis) for a in (y, dx)))
