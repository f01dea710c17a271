"""Running statistics in training, recomputed ones after it, and planted mistakes."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.__main__ import main
from bn.experiments import record, running, trial
from bn.experiments.causes import CausesConfig
from bn.experiments.mnist import Config as Section41
from bn.experiments.record import Run, load, provenance
from bn.experiments.running import Config, PopulationConfig, arms
from bn.experiments.statistics import (
    MOMENTA,
    MovingAverages,
    batch_norms,
    distance,
    judged,
    put_statistics,
    running_statistics,
    statistics_of,
)
from bn.experiments.trial import run, trained
from bn.layers import Linear, Sequential
from bn.reference import BatchNorm, population_statistics


@pytest.fixture
def data(digits):
    return digits(600, 200)


@pytest.fixture
def network(rng):
    layers = [Linear(5, 4, std=1.0, rng=rng), BatchNorm(4), Linear(4, 3, std=1.0, rng=rng)]
    return Sequential([*layers, BatchNorm(3)])


SHORT = Config(steps=130, batch_size=20, hidden=20, lr=0.5, recompute=10)


# paper: s31-moving-averages
def test_moving_averages_are_those_of_the_layer(rng, network):
    averages = MovingAverages(7)
    seen = []
    for _ in range(6):
        mean, var = statistics_of(network, [rng.standard_normal((8, 5))])
        seen.append((mean[0], var[0]))
        averages.update(mean[0], var[0] * 8 / 7)
    means, variances = zip(*seen, strict=True)
    came = averages.all()
    np.testing.assert_allclose(came["0.1"], running_statistics(network))
    for p in MOMENTA:
        right = population_statistics(means, variances, 8, method="ema", momentum=p)
        np.testing.assert_allclose(came[f"{p:g}"], right)
    plain = population_statistics(means, variances, 8, method="cumulative")
    np.testing.assert_allclose(came["cumulative"], plain)


def test_the_correction_removes_the_start():
    averages = MovingAverages(2)
    for _ in range(5):
        averages.update(np.array([3.0, -1.0]), np.array([4.0, 0.5]))
    np.testing.assert_allclose(averages.all()["corrected"], [[3, -1], [4, 0.5]])
    assert averages.all()["0.01"][0][0] == pytest.approx(3 * (1 - 0.99**5))


def test_statistics_are_put_into_the_layers(rng, network):
    put_statistics(network, np.arange(7.0), np.arange(1.0, 8))
    below, above = batch_norms(network)
    np.testing.assert_array_equal(below.running_mean, [0, 1, 2, 3])
    np.testing.assert_array_equal(above.running_var, [5, 6, 7])
    assert not below.training
    np.testing.assert_array_equal(running_statistics(network)[0], np.arange(7))


def test_distance():
    of_mean, of_std = distance(
        np.array([1.0, 0]), np.array([4.0, 1]), np.array([0.0, 0]), np.array([4.0, 1])
    )
    assert of_mean == pytest.approx(np.sqrt(0.25 / 2))
    assert of_std == 0
    one = np.ones(3)
    assert distance(one, np.e**2 * one, one, one)[1] == pytest.approx(1)


def test_training_is_that_of_section_4_1(data):
    """What is looked at on the way does not change the weights."""
    settings = {"steps": 120, "batch_size": 20, "hidden": 20, "lr": 0.5}
    there = trained(Section41(batch_norm=True, **settings), 3, data)
    experiment = SHORT.begin(3, data)
    result = run(SHORT, 3, data)
    assert result.curve["step"] == [1, 10, 30, 100, 130]
    x = data.test_images.reshape(200, -1).astype(np.float32)
    here = run(replace(SHORT, steps=120), 3, data)
    labels = data.test_labels
    accuracy, loss = judged(there, x, labels)
    assert here.final["accuracy_0.1_end"] == accuracy
    assert here.final["test_loss_0.1_end"] == pytest.approx(loss, rel=1e-3)
    assert here.final["test_accuracy"] == accuracy
    assert len(experiment.chosen) == 10


def test_a_run_records_every_average(data):
    result = run(SHORT, 1, data)
    assert result.config == asdict(SHORT)
    assert {len(values) for values in result.curve.values()} == {5}
    final = result.final
    assert final["lost_0.001_100"] > 0.3  # nothing but its start
    assert abs(final["lost_corrected_100"]) < final["lost_0.01_100"]
    assert final["gap_0.1_end"] == pytest.approx(
        final["test_loss_0.1_end"] - final["test_loss_recomputed_end"]
    )
    assert final["mean_1_0.1_end"] == result.curve["mean_1_0.1"][-1]
    assert run(SHORT, 1, data).final == final


POPULATION = PopulationConfig(steps=60, batch_size=20, hidden=20, lr=0.5)


# paper: alg-2, eq-unbiased
def test_recomputed_statistics(data):
    shuffled, by_class = (
        run(replace(POPULATION, by_class=sort), 1, data) for sort in (False, True)
    )
    assert shuffled.curve["batches"] == [1, 2, 5, 10, 30]  # 600 images make 30
    assert shuffled.final["test_accuracy"] == by_class.final["test_accuracy"]
    assert shuffled.final["var_1_pooled"] == pytest.approx(1, abs=1e-6)
    assert shuffled.final["var_1_algorithm2"] == pytest.approx(1, abs=0.05)
    # sorted, the first layer's classes differ in their means: Algorithm 2 does not see that
    assert by_class.final["var_1_pooled"] == pytest.approx(1, abs=1e-6)
    assert by_class.final["var_1_algorithm2"] < 0.5
    assert by_class.final["mean_1_algorithm2"] == pytest.approx(0, abs=1e-4)
    assert by_class.final["mean_1_ema"] > 0.2  # mostly the last classes
    for name in ("algorithm2", "pooled", "ema", "one"):
        assert shuffled.final[f"accuracy_{name}"] == shuffled.curve[f"accuracy_{name}"][-1]
    assert shuffled.final["lost_one"] == shuffled.final["gap_one"] == 0


@pytest.fixture
def causes_final(data):
    config = CausesConfig(steps=150, hidden=20, lr=0.5, recompute=20, batch_size=20)
    return run(config, 1, data).final


def test_each_cause(causes_final):
    accuracy = {
        name.removeprefix("accuracy_"): value
        for name, value in causes_final.items()
        if name.startswith("accuracy_")
    }
    for name in ("healthy", "recomputed", "own", "batches"):
        assert accuracy[name] > 0.9, name
    for name in ("few_updates", "nan", "not_saved"):
        assert accuracy[name] < 0.7, name
        assert causes_final[f"lost_{name}"] == accuracy["healthy"] - accuracy[name]
    assert accuracy["wrong_mode"] < accuracy["batches"]
    assert causes_final["own_gain"] == accuracy["domain_own"] - accuracy["domain"]
    assert causes_final["test_accuracy"] == accuracy["healthy"]


def test_mistakes_do_not_reach_each_other(data, causes_final):
    """What one mistake does to the statistics is gone before the next."""
    config = CausesConfig(steps=150, hidden=20, lr=0.5, recompute=20, batch_size=20)
    network = trained(config, 1, data)
    x = data.test_images.reshape(200, -1).astype(np.float32)
    assert judged(network, x, data.test_labels)[0] == causes_final["accuracy_healthy"]
    put_statistics(network, np.zeros(60), np.ones(60))
    assert judged(network, x, data.test_labels)[0] == causes_final["accuracy_not_saved"]


def test_the_arms():
    assert arms("running", 10) == {"bn": replace(Config(), steps=10)}
    assert set(arms("running-causes")) == {"sixty", "four"}
    assert arms("running-population")["sorted"].by_class
    for study in running.STUDIES:
        assert running.protocol(study).settings == ("varied" if study == "running" else "same")
    with pytest.raises(ValueError, match="expected one of running"):
        arms("run")


def test_the_command(monkeypatch, tmp_path):
    def task(config, seed, label):
        return Run("?", seed, asdict(config), {}, {"test_accuracy": 0.9}, 0.0, provenance())

    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    monkeypatch.setattr(trial, "run_task", task)
    assert main(["train", "running", "--study", "causes", "--seeds", "1"]) == 0
    assert len(load("running-causes", tmp_path)) == 2


@pytest.mark.parametrize("study", running.STUDIES)
def test_the_committed_records_are_of_these_configurations(study):
    runs = load(study, record.ROOT / "results")
    configs = arms(study)
    assert {each.arm for each in runs} == set(configs)
    for arm in configs:
        assert sum(each.arm == arm for each in runs) >= 10
    for each in runs:
        assert record.same_config(each.config, configs[each.arm])
