"""The inputs of sigmoids as a network trains: the measures by hand, and the run that takes them."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.__main__ import main
from bn.experiments import drift as experiment
from bn.experiments import trial
from bn.experiments.drift import Config, arms
from bn.experiments.inputs import Track, drift, reordered, saturated, sigmoid_inputs
from bn.experiments.networks import mnist_network
from bn.experiments.numpy_training import NumpyLearner
from bn.experiments.record import Run, load, provenance, save
from bn.experiments.training import train
from bn.experiments.trial import run
from bn.layers import Sequential, Sigmoid, softmax_cross_entropy
from bn.reference import BatchNorm


# paper: s1-saturation
def test_the_slope_of_a_sigmoid_vanishes_on_both_sides():
    x = np.array([[-40.0, -4.0, 0.0, 4.0, 40.0]])
    layer = Sigmoid()
    y = layer.forward(x)
    slope = layer.backward(np.ones_like(x))[0]
    h = 1e-6
    numeric = (Sigmoid().forward(x + h) - Sigmoid().forward(x - h))[0] / (2 * h)
    np.testing.assert_allclose(slope, numeric, atol=1e-9)
    np.testing.assert_allclose(slope, (y * (1 - y))[0])
    assert slope[2] == 0.25
    assert (slope[[1, 3]] < 0.018).all()
    assert (slope[[1, 3]] > 0.017).all()
    assert (slope[[0, 4]] < 1e-15).all()


def test_saturated_inputs_are_counted_on_both_sides():
    assert saturated(np.array([[-4.1, 0.0], [4.1, 3.9]])) == 0.5


def test_drift_is_in_units_of_the_spread():
    mean = np.array([[0.0, 5.0], [3.0, 5.0], [-1.0, 5.0]])
    std = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]])
    np.testing.assert_allclose(drift(mean, std), [4 / 2, 0])
    np.testing.assert_allclose(drift(10 * mean + 7, 10 * std), [2, 0])


def test_a_unit_without_spread_has_no_drift():
    result = drift(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(result, [np.nan, 1.0])


def test_reordered_ignores_what_mean_and_spread_tell(rng):
    x = rng.standard_normal((500, 3)).astype(np.float32)
    np.testing.assert_allclose(reordered(x, 2 * x - 5), 0, atol=1e-5)
    np.testing.assert_allclose(reordered(x, -x), 0, atol=1e-12)
    assert (reordered(x, rng.standard_normal((500, 3))) > 0.95).all()
    one = np.array([[1.0], [2], [3], [6]])
    two = np.array([[2.0], [1], [3], [6]])  # r = 13/14: sums 7 + 6 over 14 and 14
    np.testing.assert_allclose(reordered(one, two), 1 - (13 / 14) ** 2)


@pytest.fixture
def network(rng):
    return mnist_network(batch_norm=True, std=0.5, rng=rng, hidden=6, depth=2)


def test_inputs_of_every_sigmoid_with_the_statistics_of_the_batch(network, rng):
    x = rng.integers(0, 2, (50, 784)).astype(np.float32)
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            layer.gamma, layer.beta = rng.uniform(1, 2, 6), rng.standard_normal(6)
    running = network.layers[1].running_mean.copy()
    inputs = sigmoid_inputs(network, x)
    assert [each.shape for each in inputs] == [(50, 6), (50, 6)]
    norms = [layer for layer in network.layers if isinstance(layer, BatchNorm)]
    for each, norm in zip(inputs, norms, strict=True):
        np.testing.assert_allclose(each.mean(axis=0), norm.beta, atol=1e-5)
        np.testing.assert_allclose(each.std(axis=0), norm.gamma, rtol=1e-3)
    np.testing.assert_array_equal(network.layers[1].running_mean, running)
    assert network.layers[1].num_batches == 0


def test_inputs_with_running_statistics_are_those_of_inference(network, rng):
    x = rng.integers(0, 2, (50, 784)).astype(np.float32)
    network.forward(x)  # moves the running statistics
    inputs = sigmoid_inputs(network, x, of_batch=False)
    assert network.layers[1].training  # as it was
    network.train(False)
    sigmoid_inputs(network, x, of_batch=False)
    assert not network.layers[1].training
    expected = network.layers[1].forward(network.layers[0].forward(x))
    np.testing.assert_array_equal(inputs[0], expected)
    assert abs(inputs[0].mean(axis=0) - network.layers[1].beta).max() > 0.1


def test_a_sub_network_takes_the_same_step(rng):
    """Section 1: the upper layers learn as a network of their own with the input x = F1(u)."""
    whole = mnist_network(batch_norm=False, std=0.3, rng=rng, hidden=8)
    u, labels = rng.integers(0, 2, (20, 784)).astype(np.float32), np.arange(20) % 10
    loss, dlogits = softmax_cross_entropy(whole.forward(u), labels)
    whole.backward(dlogits)
    expected = {name: value.copy() for name, value in whole.gradients().items()}
    x = Sequential(whole.layers[:2]).forward(u)
    upper = Sequential(whole.layers[2:])
    loss_alone, dlogits = softmax_cross_entropy(upper.forward(x), labels)
    upper.backward(dlogits)
    assert loss_alone == loss
    for name, value in upper.gradients().items():
        i, parameter = name.split(".")
        np.testing.assert_array_equal(value, expected[f"{int(i) + 2}.{parameter}"])


def test_a_track_keeps_its_own_copy():
    track = Track()
    x = np.array([[1.0], [2], [3], [6]])
    track.add(x)
    x[:] = x[::-1].copy()
    track.add(x)
    assert np.isnan(track.reordered[0])
    assert track.reordered[1] > 0.1


def test_the_typical_unit_is_the_one_whose_drift_ranks_in_the_middle(rng):
    x = rng.standard_normal((400, 3))
    track = Track()
    track.add(x)
    track.add(x + np.array([9.0, 0.0, 1.0]))
    np.testing.assert_allclose(np.diff(track.curve()["p50"]), 1.0)
    assert track.final()["drift"] == pytest.approx(1.0, rel=0.1)
    track.add(3 * x)
    assert track.final()["wander"] == pytest.approx(1.0, rel=0.2)  # and not over the spread


SHORT = Config(batch_norm=True, steps=50, every=20, images=60, batch_size=30, hidden=20, lr=0.5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_run_records_every_layer(data, batch_norm):
    config = replace(SHORT, batch_norm=batch_norm, depth=2)
    result = run(config, 3, data)
    assert result.config == asdict(config)
    assert result.curve["step"] == [0, 20, 40, 50]
    assert {len(values) for values in result.curve.values()} == {4}
    assert result.final["test_accuracy"] == result.curve["test_accuracy"][-1]
    for name in ("drift", "wander", "spread"):
        at_inference, in_training = (result.final[f"{name}{mode}_2"] for mode in ("_inference", ""))
        # without batch norm the modes differ only in the measurement at step 0
        assert (at_inference != in_training) == (batch_norm or name != "spread")
    for k in (1, 2):
        assert result.final[f"spread_{k}"] == result.curve[f"spread_{k}"][-1]
        assert result.final[f"start_spread_{k}"] == result.curve[f"spread_{k}"][0]
        assert result.final[f"saturated_{k}"] == result.curve[f"saturated_{k}"][-1]
        assert result.final[f"reordered_{k}"] == pytest.approx(
            np.mean(result.curve[f"reordered_{k}"][1:])
        )
        tracks = [result.curve[f"{p}_{k}"] for p in ("p15", "p50", "p85")]
        assert all(low <= middle <= high for low, middle, high in zip(*tracks, strict=True))
    assert "drift_3" not in result.final


def test_measuring_does_not_change_the_training(data):
    """The network ends as one that nobody looked at."""
    network = mnist_network(
        batch_norm=True, std=SHORT.std, rng=np.random.default_rng([0, 0]), hidden=20
    )
    learner = NumpyLearner(
        network,
        data.train_images.reshape(300, -1),
        data.train_labels,
        batch_size=30,
        lr=0.5,
        rng=np.random.default_rng([0, 1]),
    )
    train(learner, steps=50)
    x = data.test_images.reshape(100, -1).astype(np.float32)
    spread = [float(np.median(each.std(axis=0))) for each in sigmoid_inputs(network, x[:60])]
    result = run(SHORT, 0, data)
    np.testing.assert_allclose([result.final[f"spread_{k}"] for k in (1, 2, 3)], spread, rtol=1e-5)


def test_what_is_not_reached_is_left_out(data):
    assert "steps_to_90" not in run(replace(SHORT, lr=1e-6), 0, data).final


def test_when_90_percent_are_reached_is_looked_at_more_often(data):
    """Every 2 steps, until they are; the inputs are measured every 50."""
    config = replace(SHORT, lr=1.0, every=50, accuracy_every=2)
    first = run(config, 0, data).final["steps_to_90"]
    assert 0 < first < 50
    assert first % 2 == 0
    each = run(replace(config, every=2), 0, data).curve
    at = each["step"].index(first)
    assert each["test_accuracy"][at] >= 0.9 > max(each["test_accuracy"][:at])


def test_the_loss_is_the_mean_since_the_measurement_before(data):
    """However often the accuracy is looked at meanwhile."""
    rare, often = (run(replace(SHORT, accuracy_every=every), 0, data) for every in (50, 3))
    assert rare.final["steps_to_90"] >= often.final["steps_to_90"]
    assert np.isnan(rare.curve["loss"][0])
    np.testing.assert_allclose(often.curve["loss"][1:], rare.curve["loss"][1:])
    each = run(replace(SHORT, every=1, accuracy_every=1), 0, data).curve["loss"]
    np.testing.assert_allclose(rare.curve["loss"][1], np.mean(each[1:21]))
    assert rare.final["loss"] == rare.curve["loss"][-1]
    assert 0 < rare.final["training_loss"] < rare.curve["loss"][1]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_run_that_diverges_at_once_is_recorded(data, batch_norm, tmp_path):
    result = run(replace(SHORT, batch_norm=batch_norm, lr=1e38), 0, data)
    assert result.final["steps_done"] < 20
    assert result.final["test_accuracy"] is None
    assert result.final["drift_1"] == 0
    save("drift", [result], tmp_path)
    assert load("drift", tmp_path)[0].final["reordered_1"] is None


def test_before_training_batch_norm_gives_spread_1_and_mean_0(data):
    curve = run(SHORT, 0, data).curve
    for k in (1, 2, 3):
        assert curve[f"spread_{k}"][0] == pytest.approx(1, abs=0.02)
        assert curve[f"offset_{k}"][0] == pytest.approx(0, abs=1e-5)


def test_drift_at_inference_starts_after_the_first_steps(data, monkeypatch):
    """At step 0 the running statistics are 0 and 1, and tell nothing of the network."""
    modes = []

    def spy(network, x, *, of_batch=True):
        modes.append(of_batch)
        return sigmoid_inputs(network, x, of_batch=of_batch)

    monkeypatch.setattr(experiment, "sigmoid_inputs", spy)
    result = run(replace(SHORT, every=50), 0, data)  # measured at 0 and 50
    assert modes == [True, True, False]
    assert result.final["drift_inference_1"] == 0  # of one measurement
    assert result.final["drift_1"] > 0


def test_the_initial_scale_is_that_of_the_settings(data):
    one, two = (run(replace(SHORT, batch_norm=False, std=s), 0, data) for s in (0.1, 0.4))
    assert two.final["start_spread_1"] == pytest.approx(4 * one.final["start_spread_1"], rel=1e-4)


def test_the_arms_differ_in_what_their_names_say():
    shallow, deep = arms("drift"), arms("drift-deep")
    assert set(shallow) == {"plain", "plain-fast", "bn", "bn-fast"}
    assert set(deep) == {"plain", "plain-careful", "bn"}
    for depth, chosen in ((3, shallow), (6, deep)):
        for name, config in chosen.items():
            assert config.batch_norm == name.startswith("bn")
            assert config.lr == (1.0 if "fast" in name else 0.1)
            assert config.std == (0.4 if "careful" in name else 0.1)
            assert config.depth == depth
            assert config.accuracy_every == (25 if depth == 3 else 250)
    assert {config.every for config in arms("drift", 100).values()} == {100}
    assert {config.accuracy_every for config in arms("drift", 10).values()} == {10}
    with pytest.raises(ValueError, match="expected one of drift, drift-deep"):
        arms("drifts")


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 0}, {"images": 1}, {"every": 0}, {"every": 51},
        {"accuracy_every": 0}, {"accuracy_every": 51},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_measured(bad):
    with pytest.raises(ValueError, match=r"must be (at least|from)"):
        replace(SHORT, **bad)


def test_the_command(monkeypatch, tmp_path, capsys):
    def task(config, seed, label):
        return Run("?", seed, asdict(config), {}, {"test_accuracy": 0.9}, 0.0, provenance())

    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    monkeypatch.setattr(trial, "run_task", task)
    assert main(["train", "drift", "--seeds", "2", "--only", "bn", "plain"]) == 0
    assert "test accuracy 90.00" in capsys.readouterr().out
    assert len(load("drift", tmp_path)) == 4
    assert main(["train", "drift", "--study", "deep", "--seeds", "1"]) == 0
    assert len(load("drift-deep", tmp_path)) == 3
