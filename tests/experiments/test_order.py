"""Places of batch norm and of dropout, and what is done to the inputs: the networks and runs."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.experiments import order, pixels, record
from bn.experiments.normalize import Normalize, ScaleShift
from bn.experiments.order import PLACES, Config, Dropout, Tanh, arms, build
from bn.experiments.trial import run
from bn.layers import SGD, Linear, ReLU, Sequential, Sigmoid, softmax_cross_entropy

SHORT = Config(steps=60, batch_size=30, hidden=20, lr=0.3)


def kinds(network):
    return [type(layer) for layer in network.layers]


def test_tanh_and_its_gradient(rng, numerical_gradient):
    x, weight = rng.standard_normal((2, 4, 3))
    layer = Tanh()
    np.testing.assert_allclose(layer.forward(x), np.tanh(x))
    dx = layer.backward(weight)
    numeric = numerical_gradient(lambda at: float(np.sum(weight * np.tanh(at))), x)
    np.testing.assert_allclose(dx, numeric, atol=1e-8)


def test_dropout_keeps_the_mean_and_its_own_mask(rng):
    layer, x = Dropout(0.2, rng), np.ones((300, 100), np.float32)
    y = layer.forward(x)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.8)}
    # 30 000 draws of standard deviation 0.5: six of their mean's
    assert abs(y.mean() - 1) < 6 * 0.5 / np.sqrt(30_000)
    np.testing.assert_array_equal(layer.backward(x), y)
    layer.training = False
    assert layer.forward(x) is x
    assert layer.backward(x) is x
    with pytest.raises(ValueError, match="p is 1"):
        Dropout(1, rng)


# paper: s32-before-nonlinearity, eq-layer
@pytest.mark.parametrize(
    ("norm", "dropout", "expected"),
    [
        ("none", "none", [Linear, Sigmoid]),
        ("before", "none", [Linear, Normalize, ScaleShift, Sigmoid]),
        ("after", "none", [Linear, Sigmoid, Normalize, ScaleShift]),
        ("none", "before", [Linear, Dropout, Sigmoid]),
        ("before", "before", [Linear, Normalize, ScaleShift, Dropout, Sigmoid]),
        ("after", "before", [Linear, Dropout, Sigmoid, Normalize, ScaleShift]),
        ("before", "after", [Linear, Normalize, ScaleShift, Sigmoid, Dropout]),
        ("after", "after", [Linear, Sigmoid, Normalize, ScaleShift, Dropout]),
    ],
)
def test_the_places_are_what_their_names_say(norm, dropout, expected):
    config = Config(
        nonlinearity="sigmoid", norm=norm, dropout=dropout, batch_norm=norm != "none", hidden=5
    )
    network = build(config, np.random.default_rng(0))
    assert kinds(network) == expected * 3 + [Linear]
    plain = build(
        Config(nonlinearity="sigmoid", norm="none", batch_norm=False, hidden=5),
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(network.layers[0].weight, plain.layers[0].weight)
    assert (network.layers[0].bias is None) == (norm == "before")


@pytest.mark.parametrize("norm", ["none", "before"])
def test_for_a_relu_dropout_before_and_after_are_the_same(norm, data):
    config = replace(SHORT, norm=norm, batch_norm=norm != "none")
    one, two = (run(replace(config, dropout=d), 1, data) for d in ("before", "after"))
    assert one.final == two.final
    assert one.curve == two.curve


@pytest.mark.parametrize("nonlinearity", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("norm", PLACES)
def test_a_run_records_what_it_did(data, nonlinearity, norm):
    config = replace(
        SHORT, nonlinearity=nonlinearity, norm=norm, batch_norm=norm != "none", dropout="after"
    )
    result = run(config, 3, data)
    assert result.config == asdict(config)
    assert result.curve["step"] == [60]
    assert result.final["loss"] == result.curve["loss"][-1]
    assert result.final["steps_done"] == 60
    assert result.final["diverged"] == 0
    assert result.final["training_loss"] < 2.5
    assert 0 <= result.final["test_accuracy"] <= 1
    assert run(config, 3, data).final == result.final


def test_the_first_loss_is_recorded_early(data):
    result = run(replace(SHORT, steps=150), 0, data)
    assert result.curve["step"] == [100, 150]


def test_a_run_that_diverges_says_when(data):
    config = replace(SHORT, norm="none", batch_norm=False, lr=1e30)
    result = run(config, 0, data)
    assert result.final["diverged"] == 1
    assert result.final["steps_done"] < 60
    assert result.final["test_accuracy"] is None


# paper: eq-layer
@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_bias_in_front_of_batch_norm_has_no_effect(data, norm):
    """Over training, in float64, and wherever the bias starts; behind a ReLU it has one."""
    x, losses, biases = data.train_images.reshape(300, -1).astype(float), {}, {}
    for start in (0.0, 5.0):
        network = build(replace(SHORT, norm=norm), np.random.default_rng(0))
        for layer in network.layers:
            if isinstance(layer, Linear):
                layer.bias = np.full(layer.weight.shape[1], start * (layer.weight.shape[1] != 10))
            for name, value in layer.parameters().items():
                setattr(layer, name, value.astype(float))
        optimizer, losses[start] = SGD(network, lr=0.3), []
        for _ in range(30):
            loss, dlogits = softmax_cross_entropy(network.forward(x), data.train_labels)
            network.backward(dlogits)
            optimizer.step()
            losses[start].append(loss)
        biases[start] = network.layers[0].bias
    same = np.allclose(losses[0.0], losses[5.0], rtol=1e-6)
    assert same == (norm == "before")
    assert np.allclose(biases[5.0], 5.0, atol=1e-9) == (norm == "before")


def as_double(network):
    for layer in network.layers:
        for name, value in layer.parameters().items():
            setattr(layer, name, value.astype(float))
        if isinstance(layer, pixels.Fixed):
            layer.offset, layer.factor = float(layer.offset), layer.factor.astype(float)
    return network


@pytest.mark.parametrize("batch_norm", [True, False])
def test_behind_batch_norm_a_common_scale_of_the_inputs_has_no_effect(data, batch_norm):
    """The whole course of training is the same: the gradient of the weights is, too."""
    x, losses = 255.0 * data.train_images.reshape(300, -1), {}
    for inputs in ("raw", "standard"):
        config = pixels.Config(inputs=inputs, batch_norm=batch_norm, hidden=20, eps=1e-12)
        network = as_double(pixels.build(config, np.random.default_rng(0)))
        optimizer, losses[inputs] = SGD(network, lr=0.1), []
        for _ in range(20):
            with np.errstate(all="ignore"):
                loss, dlogits = softmax_cross_entropy(network.forward(x), data.train_labels)
                network.backward(dlogits)
                optimizer.step()
            losses[inputs].append(loss)
    assert np.allclose(losses["raw"], losses["standard"], rtol=1e-6) == batch_norm


@pytest.mark.parametrize("inputs", pixels.INPUTS)
def test_a_run_with_each_treatment_of_the_inputs(data, inputs):
    config = pixels.Config(inputs=inputs, steps=40, batch_size=30, hidden=20, lr=0.05)
    result = run(config, 1, data)
    assert result.config == asdict(config)
    assert result.final["diverged"] == 0
    assert 0 <= result.final["test_accuracy"] <= 1


def test_the_inputs_are_what_their_names_say(rng):
    x = rng.integers(0, 256, (50, pixels.PIXELS)).astype(np.float32)
    into = {}
    for inputs in pixels.INPUTS:
        into[inputs] = Sequential(pixels.first_layers(inputs, 1e-5)).forward(x)
    np.testing.assert_array_equal(into["raw"], x)
    np.testing.assert_allclose(into["standard"], (x - 33.3) / 78.6, rtol=1e-4, atol=1e-5)
    factors = pixels.other_units()
    assert factors.shape == (pixels.PIXELS,)
    assert 1 / 32 <= factors.min() < factors.max() <= 32
    np.testing.assert_allclose(into["units"], into["standard"] * factors, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(into["map"], (x - x.mean()) / x.std(), atol=1e-3)
    np.testing.assert_allclose(into["pixel"], (x - x.mean(0)) / x.std(0), atol=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="unknown nonlinearity"):
        Config(nonlinearity="cosine")
    with pytest.raises(ValueError, match="norm 'none'"):
        Config(norm="none")
    with pytest.raises(ValueError, match="order-nothing"):
        arms("order-nothing")
    with pytest.raises(ValueError, match="inputs is 'grey'"):
        pixels.Config(inputs="grey")
    with pytest.raises(ValueError, match="pixels-nothing"):
        pixels.arms("pixels-nothing")


def test_studies_are_what_the_book_says():
    for nonlinearity, kind in (("relu", ReLU), ("sigmoid", Sigmoid), ("tanh", Tanh)):
        chosen = arms(f"order-{nonlinearity}")
        assert len(chosen) == 27
        for arm, config in chosen.items():
            assert arm == f"{config.norm}-{config.dropout}-lr{config.lr:g}"
            assert kind in kinds(build(config, np.random.default_rng(0)))
        assert {c.steps for c in arms(f"order-{nonlinearity}", 7).values()} == {7}
    for arm, config in arms("order-sweep").items():
        assert arm == f"{config.nonlinearity}-{config.norm}-lr{config.lr:g}"
        assert config.dropout == "none"
        assert config.held_out
    for arm, config in pixels.arms("pixels-sweep").items():
        assert arm == f"{config.inputs}-{'bn' if config.batch_norm else 'plain'}-lr{config.lr:g}"
        assert config.held_out
    for experiment in (order, pixels):
        for study in experiment.STUDIES:
            stated = experiment.protocol(study)
            assert (stated.settings == "chosen") == study.endswith("-best")


def test_committed_records_are_of_the_studies_configurations():
    """A record made with other settings than the code's would be quoted for what it is not."""
    for experiment in (order, pixels):
        for study in experiment.STUDIES:
            if not (record.ROOT / "results" / f"{study}.json").is_file():
                continue
            chosen = experiment.arms(study)
            for r in record.load(study, record.ROOT / "results"):
                assert r.config == asdict(chosen[r.arm]), f"{study}: {r.arm}"
