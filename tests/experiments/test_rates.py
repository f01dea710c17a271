"""Section 3.3: the identities of scale, the optimizer with decay, the runs at many rates."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.experiments import rates, record
from bn.experiments.rates import (
    Config,
    DecaySGD,
    angles,
    arms,
    build,
    cosines,
    evaluation_steps,
    gradient_sizes,
    hidden_weights,
    idle,
    orthogonal,
    rescale,
    steady_angle,
)
from bn.experiments.trial import run
from bn.layers import Linear, Sequential, softmax_cross_entropy
from bn.reference import BatchNorm

SHORT = Config(steps=40, batch_size=30, hidden=20, lr=0.5)


def in_float64(config, seed=0, eps=0.0):
    network = build(replace(config, eps=eps), np.random.default_rng(seed))
    for layer in network.layers:
        if isinstance(layer, Linear):
            layer.weight = layer.weight.astype(float)
            layer.bias = None if layer.bias is None else layer.bias.astype(float)
    return network


def gradients(network, x, labels):
    loss, dy = softmax_cross_entropy(network.forward(x), labels)
    dx = network.backward(dy)
    return loss, dx, {name: value.copy() for name, value in network.gradients().items()}


# paper: eq-scale-forward, eq-scale-input, eq-scale-weight
@pytest.mark.parametrize("nonlinearity", ["sigmoid", "relu"])
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_each_filter_has_a_scale_of_its_own(rng, nonlinearity, eps):
    """With eps > 0 the identities hold if eps is scaled too."""
    x, labels = rng.standard_normal((30, 784)), np.arange(30) % 10
    config = replace(SHORT, nonlinearity=nonlinearity)
    one, other = in_float64(config, eps=eps), in_float64(config, eps=eps)
    scale = rng.uniform(0.5, 4, 20) if eps == 0 else np.full(20, 3.0)
    if eps:
        rescale(other.layers[3].weight, other.layers[4], 3.0)
    else:
        other.layers[3].weight *= scale
    loss, dx, grads = gradients(one, x, labels)
    scaled_loss, scaled_dx, scaled = gradients(other, x, labels)
    assert scaled_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(scaled_dx, dx, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(scaled["0.weight"], grads["0.weight"], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(scaled["3.weight"], grads["3.weight"] / scale, rtol=1e-9, atol=1e-14)


# paper: eq-scale-weight
def test_the_gradient_is_perpendicular_to_each_filter(rng):
    x, labels = rng.standard_normal((30, 784)), np.arange(30) % 10
    network = in_float64(SHORT)
    _, _, grads = gradients(network, x, labels)
    for name, weight in hidden_weights(network).items():
        np.testing.assert_allclose(cosines(weight, grads[name]), 0, atol=1e-12)
    plain = in_float64(replace(SHORT, batch_norm=False))
    _, _, grads = gradients(plain, x, labels)
    weight = hidden_weights(plain)["2.weight"]
    assert np.abs(cosines(weight, grads["2.weight"])).max() > 0.01


# paper: eq-scale-weight
def test_decay_is_a_growing_rate(rng):
    """In every step the decayed weights are the others times a power of 1 - lr·decay."""
    x, labels = rng.standard_normal((60, 784)), np.arange(60) % 10
    networks = [in_float64(SHORT) for _ in range(2)]
    optimizers = [
        DecaySGD(network, lr=0.1, decay=0.5, growth=growth)
        for network, growth in zip(networks, (False, True), strict=True)
    ]
    for step in range(1, 21):
        losses = [gradients(network, x, labels)[0] for network in networks]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
        for optimizer in optimizers:
            optimizer.step()
        decayed, grown = (hidden_weights(network)["0.weight"] for network in networks)
        np.testing.assert_allclose(decayed, grown * 0.95**step, rtol=1e-8, atol=1e-12)


def test_a_step_is_what_it_says(rng):
    x, labels = rng.standard_normal((30, 784)), np.arange(30) % 10
    network = in_float64(SHORT)
    before = {name: value.copy() for name, value in network.parameters().items()}
    _, _, grads = gradients(network, x, labels)
    optimizer = DecaySGD(network, lr=0.5, other_lr=0.25, decay=0.1, watch=True)
    optimizer.step()
    for name, value in network.parameters().items():
        inside = name in hidden_weights(network)
        shrunk = before[name] * (0.95 if inside else 1)
        np.testing.assert_allclose(value, shrunk - (0.5 if inside else 0.25) * grads[name])
    np.testing.assert_allclose(
        optimizer.squares["0.weight"], 0.25 * (grads["0.weight"] ** 2).sum(0)
    )
    turned = np.arccos(cosines(before["0.weight"], network.parameters()["0.weight"]))
    np.testing.assert_allclose(optimizer.turned["0.weight"][0], turned, rtol=1e-6)


def test_angles_keep_the_digits_of_small_ones():
    one = np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    other = np.array([[1.0, 0.0, -1.0], [1e-9, 3.0, 0.0]])
    np.testing.assert_allclose(angles(one, other), [1e-9, np.pi / 2, np.pi], rtol=1e-6)


def test_the_steady_angle():
    assert steady_angle(0.1, 0.01) == pytest.approx(np.sqrt(2 * 0.001), rel=1e-3)
    assert steady_angle(0.1, 0.0) == 0


def test_orthogonal_starts(rng):
    weight = orthogonal(rng.standard_normal((30, 20)), 2.0)
    np.testing.assert_allclose(weight.T @ weight, 4 * np.eye(20), atol=1e-12)
    with pytest.raises(ValueError, match="no more columns"):
        orthogonal(rng.standard_normal((20, 30)), 1.0)


def test_both_kinds_start_from_the_same_weights():
    networks = [
        build(replace(SHORT, batch_norm=batch_norm), np.random.default_rng(3))
        for batch_norm in (False, True)
    ]
    one, other = (list(hidden_weights(network).values()) for network in networks)
    assert len(one) == 3
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(isinstance(layer, BatchNorm) for layer in networks[1].layers) == 3
    assert len(build(replace(SHORT, nonlinearity="linear"), np.random.default_rng(3)).layers) == 7


def test_gradient_sizes_are_those_of_the_outputs(rng):
    x, labels = rng.standard_normal((30, 784)), np.arange(30) % 10
    network = in_float64(SHORT)
    sizes = gradient_sizes(network, x, labels)
    assert len(sizes) == 3
    # the last hidden layer's weights get x' dy, with the dy whose size this is
    _, dy = softmax_cross_entropy(network.forward(x), labels)
    upper = Sequential(network.layers[7:])
    expected = np.sqrt(np.mean(upper.backward(dy) ** 2))
    assert sizes[-1] == pytest.approx(expected)


def test_idle_units():
    network = build(replace(SHORT, batch_norm=False), np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((30, 784)).astype(np.float32)
    network.layers[0].bias[:10] = 100
    network.forward(x)
    assert idle(network) == pytest.approx(10 / 60)
    relu = build(replace(SHORT, batch_norm=False, nonlinearity="relu"), np.random.default_rng(0))
    relu.layers[0].bias[:20] = -1000
    relu.forward(x)
    assert idle(relu) == 1  # what is above gets nothing but zeros
    assert idle(Sequential([])) == 0


def test_a_run_records_both_phases(data):
    config = replace(SHORT, steps=120, then_steps=110, then_lr=0.01, held_out=50)
    result = run(config, 3, data)
    assert result.config == asdict(config)
    assert result.curve["step"] == [0, 10, 20, 100, 120, 130, 230]
    assert {"held_out_accuracy", "loss", "sampled_loss", "grown", "idle"} <= set(result.final)
    assert result.final["loss"] == result.curve["loss"][4]
    assert result.final["then_loss"] == result.curve["loss"][-1]
    assert result.final["steps_done"] == 230
    assert 0 <= result.final["then_accuracy"] <= 1
    assert run(config, 3, data).curve["loss"][1:] == result.curve["loss"][1:]


def test_the_second_phase_has_its_rate(data):
    trial = replace(SHORT, other_lr=0.3, then_steps=5, then_lr=0.02).begin(0, data)
    optimizer = trial.learner.optimizer
    assert (optimizer.rate, optimizer.other_rate) == (0.5, 0.3)
    trial.learner.step((data.train_images[:30].reshape(30, -1), data.train_labels[:30]))
    trial.evaluate(trial.config.steps, 1.0)
    assert (optimizer.rate, optimizer.other_rate) == (0.02, 0.02)


def test_a_watched_run_keeps_lengths_and_angles(data):
    result = run(replace(SHORT, watch=True), 0, data)
    assert result.curve["step"] == [0, 1, 10, 30, 40]
    assert {len(values) for values in result.curve.values()} == {5}
    assert result.final["pythagoras_2"] < 1e-2
    assert result.final["cosine_2"] < 1e-3
    assert result.curve["norm_2"][-1] > result.curve["norm_2"][0]
    decayed = run(replace(SHORT, watch=True, decay=0.1, steps=400), 0, data)
    assert decayed.final["turn_steady_2"] == pytest.approx(1, abs=0.5)
    assert "pythagoras_2" not in decayed.final


def test_a_run_that_diverges_says_when(data):
    result = run(replace(SHORT, nonlinearity="relu", batch_norm=False, lr=1e30), 0, data)
    assert result.final["diverged"] == 1
    assert result.final["steps_done"] < 40
    assert result.final["test_accuracy"] is None
    assert result.final["loss"] is None


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="positive"):
        rescale(np.ones((2, 2)), BatchNorm(2), -1.0)
    for wrong in (
        {"nonlinearity": "tanh"},
        {"start": "zero"},
        {"steps": 0},
        {"lr": 2.0, "decay": 0.5},
        {"then_steps": -1},
    ):
        with pytest.raises(ValueError, match=r"unknown|must be|out of range"):
            Config(**wrong)
    with pytest.raises(ValueError, match="rates-nothing"):
        arms("rates-nothing")


def test_evaluations_frame_the_last_mini_batches():
    assert evaluation_steps(Config(steps=600, then_steps=150)) == [0, 10, 100, 500, 600, 650, 750]
    assert evaluation_steps(Config(steps=100)) == [0, 10, 100]


def test_the_sweeps_are_what_the_book_says():
    for study in rates.SWEEPS:
        chosen = arms(study)
        assert max(rates.RATES) / min(rates.RATES) == pytest.approx(1e6)
        assert len(chosen) == 2 * (len(rates.RATES) + len(rates.HIDDEN_RATES))
        for arm, config in chosen.items():
            assert config.batch_norm == arm.startswith("bn-")
            assert arm.endswith(f"-lr{config.lr:g}")
            assert bool(config.other_lr) == ("-hidden-" in arm)
            assert config.held_out == 10_000
    for arm, config in arms("rates-decay", 7).items():
        assert config.watch
        assert config.steps == 7
        assert (config.decay > 0) == ("0." in arm)


def test_committed_records_are_of_the_studies_configurations():
    """A record made with other settings than the code's would be quoted for what it is not."""
    for study in rates.STUDIES:
        chosen = arms(study)
        runs = record.load(study, record.ROOT / "results")
        assert {r.arm for r in runs} == set(chosen)
        for arm, config in chosen.items():
            of_arm = [r for r in runs if r.arm == arm]
            assert all(record.same_config(r.config, config) for r in of_arm), f"{study}: {arm}"
            assert len(of_arm) >= 10, f"{study}: {arm}: n < 10"
