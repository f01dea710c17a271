"""One example among companions: the formulas by enumeration and simulation, the measurement."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.experiments import companions as experiment
from bn.experiments import record
from bn.experiments.companions import (
    BINS,
    SIZES,
    Config,
    among,
    arms,
    follow,
    noise_of,
    outputs,
    shift_of,
)
from bn.experiments.estimates import one_example
from bn.experiments.record import load
from bn.experiments.trial import run, trained
from bn.reference import batch_norm_forward


# paper: s34-noise
@pytest.mark.parametrize("m", [3, 5, 20])
def test_x_hat_from_the_companions_is_that_of_the_layer(m, rng):
    x = rng.exponential(size=(m, 4))
    _, cache = batch_norm_forward(x, eps=0.0)
    others = x[1:]
    mine = among(x[0], others.mean(axis=0), others.var(axis=0), m)
    np.testing.assert_allclose(mine, cache.x_hat[0])
    far = among(1e9, others.mean(axis=0), others.var(axis=0), m)
    np.testing.assert_allclose(far, np.sqrt(m - 1))  # the largest there can be


# paper: s34-noise
@pytest.mark.parametrize("z", [-2.0, 0.0, 1.5])
def test_the_theory_is_right_to_first_order(z, rng):
    """For an exponential distribution, which is skewed: M = V = 1, skewness 2, kurtosis 9."""
    m, draws = 400, 20_000
    others = rng.exponential(size=(draws, m - 1)) - 1
    x_hat = among(z, others.mean(axis=1), others.var(axis=1), m)
    leading, theory = noise_of(z, 2.0, 9.0, m)
    assert x_hat.std() == pytest.approx(float(leading), rel=0.06)
    assert x_hat.std() == pytest.approx(float(theory), rel=0.06)
    slack = 4 * x_hat.std() / np.sqrt(draws) + 2 / m**1.5
    assert x_hat.mean() - z == pytest.approx(float(shift_of(z, 2.0, 9.0, m)), abs=slack)


def test_averaged_over_the_examples_it_is_the_noise_of_the_mini_batch(rng):
    z = rng.standard_normal(400_000)
    leading, _ = noise_of(z, 0.0, 3.0, 60)
    assert np.sqrt(np.mean(leading**2)) == pytest.approx(np.sqrt(6 / (4 * 60)), rel=0.01)


def test_following_examples_of_a_gaussian_population(rng):
    x = 7 + 3 * rng.standard_normal((5000, 20))
    curve, final = follow(x, 60, examples=60, draws=400, rng=rng)
    assert {len(values) for values in curve.values()} == {len(BINS)}
    np.testing.assert_allclose(curve["std"], curve["theory"], rtol=0.1)
    np.testing.assert_allclose(curve["shift"], curve["shift_theory"], atol=0.02)
    assert final["noise"] == pytest.approx(final["noise_theory"], rel=0.08)


def test_following_is_what_one_example_does_in_the_layer(rng):
    x = rng.standard_normal((400, 3))
    by_layer = one_example(x, 7, 10, 1500, rng).std(axis=0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    others = np.delete(x, 7, axis=0)
    drawn = others[rng.integers(0, 399, (1500, 9))]
    mine = among(x[7], drawn.mean(axis=1), drawn.var(axis=1), 10).std(axis=0)
    np.testing.assert_allclose(mine, by_layer, rtol=0.12)
    assert z.shape == x.shape


SHORT = Config(
    steps=40, batch_size=30, hidden=20, lr=0.5, examples=20, draws=30, images=260, orders=3
)


def test_a_run_records_theory_beside_measurement(data, monkeypatch):
    monkeypatch.setattr(experiment, "BINS", np.array([-0.5, 0.0, 0.5]))
    result = run(SHORT, 1, data)
    assert result.config == asdict(SHORT)
    assert {len(values) for values in result.curve.values()} == {3}
    for m in SIZES:
        assert {f"std_{m}", f"leading_{m}", f"theory_{m}"} <= set(result.curve)
        assert result.final[f"noise_{m}"] > 0
    assert result.final["spread_4"] > result.final["spread_250"]
    again = run(SHORT, 1, data)
    assert (again.curve, again.final) == (result.curve, result.final)


# paper: s34-noise
def test_the_output_depends_on_companions_and_the_network_is_left_as_it_was(data, rng):
    network = trained(SHORT, 0, data)
    images = data.train_images.reshape(300, -1).astype(np.float32)
    before = network.forward(images)
    _, of_four = outputs(network, images, data.train_labels, 4, 3, rng)
    flips, of_all = outputs(network, images, data.train_labels, 300, 3, rng)
    assert of_four > 100 * of_all  # the order of a whole set leaves rounding errors
    assert flips == 0
    np.testing.assert_array_equal(network.forward(images), before)


def test_the_arms():
    assert arms("companions") == {"bn": Config()}
    assert arms("companions", 10)["bn"] == replace(Config(), steps=10)
    assert experiment.protocol("companions").settings == "varied"
    with pytest.raises(ValueError, match="expected companions"):
        arms("companion")


def test_the_committed_record_is_of_this_configuration():
    runs = load("companions", record.ROOT / "results")
    assert len(runs) >= 5
    for each in runs:
        assert record.same_config(each.config, Config())
        assert each.curve["z"] == [*BINS]
