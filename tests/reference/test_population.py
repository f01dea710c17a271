"""From mini-batches to the population: Algorithm 2, running averages, pooled, merged shards."""

import numpy as np
import pytest
import torch

from bn.reference import BatchNorm, merge_statistics, population_statistics

METHODS = ("algorithm2", "cumulative", "ema", "pooled")


# paper: eq-unbiased
def test_algorithm_2_is_unbiased(rng):
    """Many batches of 4 from a population of variance 9: m/(m-1) undoes the bias of 1/m."""
    batches = 5 + 3 * rng.standard_normal((40_000, 4, 1))
    mean, var = population_statistics(batches.mean(axis=1), batches.var(axis=1), m=4)
    assert abs(mean[0] - 5) < 0.03  # 4 standard errors are 0.03
    assert abs(var[0] - 9) < 0.15  # 4 standard errors are 0.147


@pytest.mark.parametrize(
    ("means", "variances", "m", "says"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), 4, r"\(2, 3\).*\(3, 3\)"),
        (np.ones(3), np.ones(3), 4, r"\(3,\)"),
        (np.ones((0, 3)), np.ones((0, 3)), 4, "at least one batch"),
        (np.ones((2, 3)), np.ones((2, 3)), 1, "m holds 1, expected at least 2"),
    ],
)
def test_algorithm_2_errors(means, variances, m, says):
    with pytest.raises(ValueError, match=says):
        population_statistics(means, variances, m)


@pytest.fixture
def batches(rng):
    """Six batches of different sizes, and their statistics."""
    sizes = np.array([4, 9, 2, 5, 7, 3])
    values = [5 + 3 * rng.standard_normal((size, 3)) for size in sizes]
    means = np.array([v.mean(axis=0) for v in values])
    variances = np.array([v.var(axis=0) for v in values])
    return values, means, variances, sizes


def test_pooled_is_the_variance_of_all_values(batches):
    values, means, variances, sizes = batches
    everything = np.concatenate(values)
    mean, var = population_statistics(means, variances, sizes, method="pooled")
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(var, everything.var(axis=0, ddof=1), rtol=1e-13)


# paper: s31-moving-averages
@pytest.mark.parametrize(("method", "momentum"), [("ema", 0.3), ("cumulative", None)])
def test_running_averages_are_the_layers_and_torchs(batches, method, momentum):
    values, means, variances, sizes = batches
    ours = BatchNorm(3, momentum=momentum)
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum).double()
    for x in values:
        ours.forward(x)
        theirs(torch.tensor(x))
    options = {} if momentum is None else {"momentum": momentum}
    mean, var = population_statistics(means, variances, sizes, method=method, **options)
    for layer_mean, layer_var in (
        (ours.running_mean, ours.running_var),
        (theirs.running_mean.numpy(), theirs.running_var.numpy()),
    ):
        np.testing.assert_allclose(mean, layer_mean, rtol=1e-13)
        np.testing.assert_allclose(var, layer_var, rtol=1e-13)


def test_batches_of_one_size_have_one_cumulative_average_and_algorithm_2(rng):
    means, variances = rng.standard_normal((5, 2)), rng.uniform(1, 2, (5, 2))
    one, two = (
        population_statistics(means, variances, 8, method=method)
        for method in ("algorithm2", "cumulative")
    )
    np.testing.assert_allclose(one, two, rtol=1e-14)
    again = population_statistics(means, variances, np.full(5, 8))
    np.testing.assert_array_equal(again, one)


def test_batches_sorted_by_class_need_the_pooled_estimate(rng):
    """Two classes far apart, and every batch of one class only."""
    values = [center + 0.04 * rng.standard_normal((50, 1)) for center in (-3.0, 3.0) * 10]
    means = np.array([v.mean(axis=0) for v in values])
    variances = np.array([v.var(axis=0) for v in values])
    truth = np.concatenate(values).var()
    assert abs(truth - 9) < 0.1
    _, pooled = population_statistics(means, variances, 50, method="pooled")
    _, algorithm2 = population_statistics(means, variances, 50)
    assert abs(pooled[0] / truth - 1) < 0.01
    assert algorithm2[0] < 0.003  # it never sees that the means differ


def test_merged_shards_are_the_whole(rng):
    x = (1e8 + rng.standard_normal((40, 3))).astype(np.float64)
    shards = np.split(x, [7, 7, 30])  # the second is empty
    means = np.array([s.mean(axis=0) if len(s) else [np.nan] * 3 for s in shards])
    variances = np.array([s.var(axis=0) if len(s) else [np.nan] * 3 for s in shards])
    mean, var, count = merge_statistics(means, variances, [len(s) for s in shards])
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(var, x.var(axis=0), rtol=1e-7)  # 1e-7 of it is in the digits of x
    np.testing.assert_array_equal(count, 40)


def test_merging_in_two_steps_is_merging_at_once(rng):
    means, variances = rng.standard_normal((4, 2)), rng.uniform(1, 2, (4, 2))
    counts = rng.integers(1, 9, (4, 2))  # of each channel its own, as under a mask
    once = merge_statistics(means, variances, counts)
    halves = [merge_statistics(means[i], variances[i], counts[i]) for i in ([0, 2], [1, 3])]
    twice = merge_statistics(*(np.array(part) for part in zip(*halves, strict=True)))
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_one_constant_batch_is_its_own_population(method):
    mean, var = population_statistics(
        np.full((1, 2), 7.0), np.zeros((1, 2)), 4, method=method, momentum=1.0
    )
    np.testing.assert_array_equal(mean, 7)
    np.testing.assert_array_equal(var, 0)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((np.ones((2, 3)), np.ones((2, 3)), [3, 4]), {}, "sizes from 3 to 4.*pooled"),
        ((np.ones((2, 3)), np.ones((2, 3)), [3, 4, 5]), {"method": "pooled"}, r"shape \(3,\)"),
        ((np.ones((2, 3)), np.ones((2, 3)), 2.5), {}, "m holds 2.5, expected whole numbers"),
        ((np.ones((2, 3)), -np.ones((2, 3)), 4), {}, "variances hold -1"),
        ((np.ones((2, 3)), np.ones((2, 3)), 4), {"method": "median"}, "'median'.*algorithm2"),
        ((np.ones((2, 3)), np.ones((2, 3)), 4), {"momentum": 2.0}, "momentum is 2"),
    ],
)
def test_errors(arguments, options, says):
    with pytest.raises(ValueError, match=says):
        population_statistics(*arguments, **options)


def test_nothing_to_merge_is_an_error():
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_statistics(np.ones((2, 1)), np.ones((2, 1)), [0, 0])


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([1.5, 2], "counts holds 1.5, expected whole numbers"),
        ([2, np.inf], "counts holds inf, expected whole numbers"),
        (["2", "3"], "counts has dtype .*, expected whole numbers"),
        ([-1, 3], "counts holds -1, expected at least 0"),
        ([1, 2, 3], r"counts has shape \(3,\)"),
    ],
)
def test_counts_that_do_not_fit_are_called_counts(counts, says):
    with pytest.raises(ValueError, match=says):
        merge_statistics(np.ones((2, 1)), np.ones((2, 1)), counts)
