"""Population statistics and merging: conventions are told, mistakes named, signatures read."""

from functools import partial

import numpy as np
import pytest
import torch

from bn import check, reference
from bn.__main__ import main
from bn.check import UsageError


def told(report):
    return report.conventions["estimate"]


OURS = {
    "algorithm2": "Algorithm 2",
    "cumulative": "Algorithm 2",
    "ema": "a moving average, unbiased; the new value has the weight 0.1",
    "pooled": "pooled: the unbiased variance",
}


@pytest.mark.parametrize("method", OURS)
def test_ours(method):
    estimate = partial(reference.population_statistics, method=method)
    report = check.population(estimate, strict=True)
    assert report.passed, report
    assert told(report).startswith(OURS[method])
    refused = report.conventions.get("sizes that differ", "")
    assert ("for mini-batches of one size" in refused) == (method == "algorithm2")


def test_our_merge():
    report = check.population(reference.merge_statistics, strict=True)
    assert report.passed, report
    assert report.kind == "NumPy function, merge"
    assert told(report) == "biased variances in, the biased variance of all values out"


def merged(means, variances, counts):
    w = (counts / counts.sum())[:, None]
    mean = (w * means).sum(axis=0)
    return mean, (w * variances).sum(axis=0) + (w * (means - mean) ** 2).sum(axis=0)


def bessel(means, variances, counts):
    mean, var = merged(means, variances, counts)
    return mean, var * counts.sum() / (counts.sum() - 1)


def of_unbiased(means, variances, counts):
    mean, _ = merged(means, variances, counts)
    n = counts[:, None]
    squares = ((n - 1) * variances + n * (means - mean) ** 2).sum(axis=0)
    return mean, squares / (counts.sum() - 1)


def chan(mean_a, var_a, n_a, mean_b, var_b, n_b):
    n, apart = n_a + n_b, mean_b - mean_a
    mean = mean_a + apart * n_b / n
    return mean, (n_a * var_a + n_b * var_b + apart**2 * n_a * n_b / n) / n, n


def columns(mus, sigma2, ns):
    assert ns.shape == (len(mus), 1), "expected a column"
    return merged(mus, sigma2, ns[:, 0])


def in_torch(means: torch.Tensor, vars: torch.Tensor, counts: torch.Tensor):
    return merged(means, vars, counts)


RIGHT = {
    "merge": [merged, bessel, of_unbiased, chan, columns, in_torch],
    "population": [merged, bessel],
}


@pytest.mark.parametrize(
    ("task", "function"), [(task, f) for task, functions in RIGHT.items() for f in functions]
)
def test_right(task, function):
    report = check.population(function, task=task, strict=True)
    assert report.passed, report
    assert report.rows[0].status == "right"
    assert report.kind.startswith("torch" if function is in_torch else "NumPy")


def one_size(means, variances, m):
    return means.mean(axis=0), m / (m - 1) * variances.mean(axis=0)


def within(means, variances, counts):
    n = counts[:, None]
    return merged(means, variances, counts)[0], (n * variances).sum(axis=0) / counts.sum()


def within_freedom(means, variances, counts):
    mean, var = within(means, variances, counts)
    return mean, var * counts.sum() / (counts.sum() - len(counts))


def unweighted(means, variances, counts):
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)


def plain(means, variances):
    return means.mean(axis=0), variances.mean(axis=0)


def fewer(mean_a, var_a, n_a, mean_b, var_b, n_b):
    mean, var, n = chan(mean_a, var_a, n_a, mean_b, var_b, n_b)
    return mean, var, n - 1


def test_one_number_for_all_sizes():
    report = check.population(one_size)
    assert report.passed, report
    assert "refused" in report.conventions["sizes that differ"]
    assert not check.population(one_size, task="merge").passed


def test_the_variance_within_is_a_convention_for_the_population_alone():
    assert check.population(within_freedom).passed
    assert check.population(within_freedom, task="merge").mistakes == {"between-forgotten"}


WRONG = [
    ("merge", within, "between-forgotten"),
    ("merge", unweighted, "unweighted-merge"),
    ("merge", plain, "between-forgotten+unweighted-merge"),
    ("population", plain, "algorithm-2-biased"),
    ("population", within, "algorithm-2-biased"),
    ("population", unweighted, "unweighted-merge"),
    ("merge", lambda means, variances, counts: (means[-1], variances[-1]), "unidentified"),
    ("population", lambda means, variances, counts: (means[-1], variances[-1]), "unidentified"),
    ("merge", lambda means, variances, counts: means.mean(axis=0), "returns-wrong-type"),
    ("merge", lambda means, variances, counts: None, "returns-nothing"),
    ("merge", lambda means, variances, counts: (means, variances), "returns-wrong-shape"),
    ("merge", lambda means, variances, counts: 1 / 0, "raises"),
    ("merge", fewer, "unidentified"),
]


@pytest.mark.parametrize(("task", "function", "mistake"), WRONG)
def test_wrong(task, function, mistake):
    report = check.population(function, task=task)
    assert [each.mistake for each in report.wrong] == [mistake], report


def test_what_is_said_can_be_repeated_by_hand():
    (finding,) = check.population(within, task="merge").wrong
    assert finding.fed == "means (1, 2, 6), biased variances (2, 1, 3), sizes (2, 4, 10)"
    # weights 1/8, 2/8, 5/8: mean 35/8; 19/8 within, and 287/64 between
    assert finding.came == "mean 4.375, variance 2.375"
    assert finding.expected.startswith(f"mean 4.375, variance {19 / 8 + 287 / 64:.6g}")


@pytest.mark.parametrize(("least", "severity"), [(-np.inf, "weak"), (np.nan, "wrong")])
def test_digits_at_large_means(least, severity):
    def by_squares(means, variances, counts):
        w = (counts / counts.sum())[:, None]
        mean = (w * means).sum(axis=0)
        var = (w * (variances + means**2)).sum(axis=0) - mean**2
        return mean, np.where(means[0] < 1e6, var, np.maximum(var, least))

    (finding,) = check.population(by_squares, task="merge").findings
    assert (finding.check, finding.severity) == ("large means", severity)
    assert finding.mistake == "one-pass-variance"


def test_a_moving_average_of_biased_variances_is_told():
    def moving(means, variances, counts):
        mean, var = 0 * means[0], 1 + 0 * means[0]
        for new, v in zip(means, variances, strict=True):
            mean, var = 0.9 * mean + 0.1 * new, 0.9 * var + 0.1 * v
        return mean, var

    assert told(check.population(moving)) == (
        "a moving average, biased; the new value has the weight 0.1"
    )


def test_its_name_or_its_signature_says_what_it_is_for():
    def merge(mean, var, n):
        return merged(mean, var, n)

    assert check.population(merge).kind == "NumPy function, merge"
    assert check.population(chan).kind == "NumPy function, merge"
    assert check.population(bessel).kind == "NumPy function, population"


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (3, "of type int, expected a function"),
        (dict, "of type type, expected a function"),
        (lambda a, b, c, d: None, "needs a, b, c, d, expected means, variances and counts"),
    ],
)
def test_usage(candidate, message):
    with pytest.raises(UsageError, match=message):
        check.population(candidate)


def test_it_ends_when_time_is_up():
    def endless(means, variances, counts):
        while True:
            pass

    assert check.population(endless, timeout=1).mistakes == {"hangs"}


@pytest.mark.parametrize("name", ["merge_statistics", "population_statistics"])
def test_the_command_tells_them_by_their_parameters(name, capfd):
    assert main(["check", f"bn.reference:{name}"]) == 0
    out = capfd.readouterr().out
    assert f"bn.reference:{name} (NumPy function, {name.split('_')[0]}): passed" in out
