"""The Jacobians of section 3.3's conjecture, against difference quotients and theory."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.experiments import jacobian, record
from bn.experiments.jacobian import (
    DepthConfig,
    TrainingConfig,
    alike,
    arms,
    batch_jacobian,
    blocks,
    gradient_down,
    layer_jacobians,
    near_one,
    summary,
)
from bn.experiments.rates import Config, build
from bn.experiments.trial import run
from bn.layers import Linear, Sequential
from bn.reference import BatchNorm, batch_norm_forward

SMALL = Config(hidden=7, depth=3, eps=0.0)


def learned(config, rng):
    """A network whose gamma and beta are not 1 and 0."""
    network = build(config, np.random.default_rng(0))
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            layer.gamma = rng.uniform(0.5, 2, layer.num_features)
            layer.beta = rng.standard_normal(layer.num_features)
    return network


@pytest.mark.parametrize("nonlinearity", ["sigmoid", "relu", "linear"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_blocks_compute_what_the_network_does(rng, nonlinearity, batch_norm):
    network = learned(replace(SMALL, nonlinearity=nonlinearity, batch_norm=batch_norm), rng)
    x = rng.standard_normal((9, 784))
    every = blocks(network, x)
    last = network.layers[-1]
    network.train(True)
    np.testing.assert_allclose(last.forward(every[-1].output), network.forward(x), rtol=1e-5)
    assert len(every) == 3
    for block in every if batch_norm else ():
        np.testing.assert_allclose((block.x_hat**2).mean(axis=0), 1)


# paper: s33-singular-values
@pytest.mark.parametrize("nonlinearity", ["sigmoid", "relu", "linear"])
def test_both_matrices_are_those_of_difference_quotients(rng, numerical_gradient, nonlinearity):
    network = learned(replace(SMALL, nonlinearity=nonlinearity), rng)
    below, above = blocks(network, rng.standard_normal((5, 784)))[:2]
    m, n = below.x_hat.shape
    norm = next(layer for layer in network.layers if isinstance(layer, BatchNorm))
    after = network.layers[2]

    def upper(x_hat):
        y = x_hat * norm.gamma + norm.beta
        return (after.forward(y) if nonlinearity != "linear" else y) @ above.weight

    mean = upper(below.x_hat).mean(axis=0)
    held, whole = layer_jacobians(below, above, m), batch_jacobian(below, above)
    assert whole.shape == (m * n, m * n)
    for row in range(0, m * n, 4):
        i, k = divmod(row, n)

        def held_value(x_hat, i=i, k=k):
            return float(((upper(x_hat) - mean) * above.r)[i, k])

        def whole_value(x_hat, i=i, k=k):
            return float(batch_norm_forward(upper(x_hat), eps=0.0)[0][i, k])

        slopes = numerical_gradient(held_value, below.x_hat)  # (m, n)
        np.testing.assert_allclose(slopes[i], held[i, k], atol=1e-6)
        np.testing.assert_allclose(np.delete(slopes, i, axis=0), 0, atol=1e-8)
        slopes = numerical_gradient(whole_value, below.x_hat)
        np.testing.assert_allclose(slopes.ravel(), whole[row], atol=1e-6)


# paper: s33-singular-values
def test_orthogonal_weights_of_white_inputs_have_singular_values_one(rng):
    """What the conjecture assumes: uncorrelated inputs, outputs that stay so, no nonlinearity."""
    x = np.linalg.qr(rng.standard_normal((50, 8)) - 0)[0]
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(50)  # mean 0, covariance I
    config = replace(SMALL, nonlinearity="linear", start="orthogonal", hidden=8, depth=1)
    weight = build(config, rng).layers[0].weight[:8]
    weight = np.linalg.qr(weight.astype(float))[0]
    _, cache = batch_norm_forward(x @ weight, eps=0.0)
    values = np.linalg.svd(cache.inv_std[:, None] * weight.T, compute_uv=False)
    np.testing.assert_allclose(values, 1, rtol=1e-9)


def test_the_stretch_of_the_data_is_one_on_average(rng):
    """Without a nonlinearity, JCJ' has the trace n: whatever the weights, and C, are."""
    network = build(replace(SMALL, nonlinearity="linear"), np.random.default_rng(0))
    below, above = blocks(network, rng.standard_normal((30, 784)))[:2]
    matrix = layer_jacobians(below, above, 1)[0]
    covariance = below.x_hat.T @ below.x_hat / 30
    np.testing.assert_allclose(np.diag(matrix @ covariance @ matrix.T), 1)
    assert not np.allclose(np.linalg.svd(matrix, compute_uv=False), 1, atol=0.2)


def test_the_gradient_that_comes_down(rng):
    network = build(SMALL, np.random.default_rng(0))
    x = rng.standard_normal((9, 784))
    sizes = gradient_down(network, x, np.random.default_rng(1))
    assert len(sizes) == 3
    below, above = blocks(network, x)[1:]
    dy = np.random.default_rng(1).standard_normal((9, 7))
    down = (batch_jacobian(below, above).T @ dy.ravel()).reshape(9, 7)
    norms = [layer for layer in network.layers if isinstance(layer, BatchNorm)]
    # sizes are of what comes out of a batch norm's backward pass
    network.forward(x)
    np.testing.assert_allclose(sizes[2], np.sqrt(np.mean(norms[2].backward(dy) ** 2)))
    np.testing.assert_allclose(sizes[1], np.sqrt(np.mean(norms[1].backward(down) ** 2)), rtol=1e-5)


def test_summaries():
    values = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
    found = summary(values)
    assert found["near"] == near_one(values) == 0.6
    assert found["rms"] == pytest.approx(np.sqrt(14.25 / 5))
    assert (found["p50"], found["largest"]) == (1, 3)
    assert alike(np.array([[1.0, 0], [0, 2.0], [3.0, 0]])) == pytest.approx(1 / 3)


def test_a_deep_run_is_recorded(data):
    config = DepthConfig(depth=14, hidden=12, images=20, nonlinearity="relu")
    result = run(config, 1, data)
    assert result.config == asdict(config)
    assert result.curve["layer"] == [float(k) for k in range(2, 15)]
    assert {len(values) for values in result.curve.values()} == {13}
    assert result.curve["gradient"][-1] == 1
    assert result.final["growth"] > 0
    assert run(config, 1, data).final == result.final


def test_growth_is_near_theory_where_its_assumptions_hold(data):
    """Wide, and not too large mini-batches: squared gradients grow by pi / (pi - 1) with ReLU."""
    config = DepthConfig(depth=25, hidden=120, images=100, nonlinearity="relu")
    assert run(config, 0, data).final["growth"] == pytest.approx(np.pi / (np.pi - 1), rel=0.06)
    linear = run(replace(config, nonlinearity="linear"), 0, data).final["growth"]
    assert 1 < linear < 1.1


def test_a_training_run_is_recorded(data):
    config = TrainingConfig(steps=20, hidden=12, batch_size=30, images=50)
    result = run(config, 0, data)
    assert result.curve["step"] == [0, 10, 20]
    assert len(result.curve["p50_2"]) == 3
    assert result.final["start_rms_3"] == result.curve["rms_3"][0]
    assert result.final["rms_3"] == result.curve["rms_3"][-1]
    assert 0 <= result.final["test_accuracy"] <= 1


def test_the_arms():
    deep = arms("jacobian-depth")
    for arm, config in deep.items():
        kind, nonlinearity = arm.split("-")
        assert config.nonlinearity == nonlinearity
        assert config.batch_norm == (kind != "plain")
        assert kind in ("plain", config.start)
    assert {config.steps for config in arms("jacobian-training", 7).values()} == {7}
    with pytest.raises(ValueError, match="jacobian-nothing"):
        arms("jacobian-nothing")


def test_a_network_without_layers_to_compare():
    assert jacobian.STUDIES == ("jacobian-depth", "jacobian-training")
    single = Sequential([Linear(3, 2, std=1.0, rng=np.random.default_rng(0)), BatchNorm(2),
                         Linear(2, 2, std=1.0, rng=np.random.default_rng(0))])  # fmt: skip
    assert len(blocks(single, np.random.default_rng(1).standard_normal((4, 3)))) == 1


def test_committed_records_are_of_the_studies_configurations():
    for study in jacobian.STUDIES:
        chosen = arms(study)
        runs = record.load(study, record.ROOT / "results")
        assert {r.arm for r in runs} == set(chosen)
        for arm, config in chosen.items():
            of_arm = [r for r in runs if r.arm == arm]
            assert all(record.same_config(r.config, config) for r in of_arm), f"{study}: {arm}"
            assert len(of_arm) >= 10, f"{study}: {arm}: n < 10"
