"""Normalization that the gradient ignores: the layers, the identities of section 2, the runs."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.experiments import outside, record
from bn.experiments.normalize import Normalize, ScaleShift
from bn.experiments.outside import Config, arms, build, exponent, input_mean, norms
from bn.experiments.trial import run
from bn.layers import SGD, Linear, ReLU, Sequential, Sigmoid, softmax_cross_entropy
from bn.reference import batch_norm_backward, batch_norm_forward

SHORT = Config(steps=60, batch_size=30, hidden=20, lr=0.5)


# paper: s2-two-jacobians
@pytest.mark.parametrize("scale", [False, True])
def test_the_right_gradient_is_that_of_difference_quotients(rng, numerical_gradient, scale):
    x, weight = rng.standard_normal((2, 6, 3))
    layer = Normalize(scale=scale, through=True, eps=0.1)
    layer.forward(x)
    dx = layer.backward(weight)

    def loss(at):
        return float(np.sum(weight * Normalize(scale=scale, through=True, eps=0.1).forward(at)))

    np.testing.assert_allclose(dx, numerical_gradient(loss, x), atol=1e-8)
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-14)


def test_with_scale_it_is_batch_norm(rng):
    x, dy = rng.standard_normal((2, 6, 3))
    layer = Normalize(scale=True, through=True)
    y, cache = batch_norm_forward(x)
    np.testing.assert_allclose(layer.forward(x), y)
    np.testing.assert_allclose(layer.backward(dy), batch_norm_backward(dy, cache)[0])


@pytest.mark.parametrize("scale", [False, True])
def test_constants_leave_only_the_direct_path(rng, scale):
    x, dy = rng.standard_normal((2, 6, 3))
    layer = Normalize(scale=scale, through=False, eps=0.0)
    layer.forward(x)
    np.testing.assert_allclose(layer.backward(dy), dy / (x.std(axis=0) if scale else 1))


# paper: s2-two-jacobians
@pytest.mark.parametrize("through", ["mean", "variance"])
def test_one_statistic_alone_is_differentiated(rng, numerical_gradient, through):
    """The other one is a number, which difference quotients then do not move."""
    x, weight = rng.standard_normal((2, 6, 3))
    layer = Normalize(scale=True, through=through, eps=0.1)
    layer.forward(x)
    fixed_mean, fixed_std = x.mean(axis=0), np.sqrt(x.var(axis=0) + 0.1)

    def loss(at):
        if through == "mean":
            return float(np.sum(weight * (at - at.mean(axis=0)) / fixed_std))
        std = np.sqrt(((at - fixed_mean) ** 2).mean(axis=0) + 0.1)
        return float(np.sum(weight * (at - fixed_mean) / std))

    np.testing.assert_allclose(layer.backward(weight), numerical_gradient(loss, x), atol=1e-8)


def test_inference_uses_the_statistics_of_the_last_training_batch(rng):
    x, other = rng.standard_normal((2, 6, 3))
    layer = Normalize(scale=True, through=True, eps=0.0)
    layer.forward(x)
    layer.training = False
    expected = (other - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(layer.forward(other), expected)


# paper: s2-bias-grows
def test_the_step_of_the_chapter_changes_b_and_nothing_else():
    u, target, b = np.array([[1.0], [2], [3], [6]]), np.array([[-1.0], [0], [2], [3]]), 0.0
    seen = []
    for _ in range(1000):
        layer = Normalize(scale=False, through=False)
        x_hat = layer.forward(u + b)
        seen.append(0.5 * np.sum((x_hat - target) ** 2))
        b -= 0.1 * float(layer.backward(x_hat - target).sum())
    np.testing.assert_allclose(seen, 3, rtol=1e-10)
    assert b == pytest.approx(400)
    right = Normalize(scale=False, through=True)
    dx = right.backward(right.forward(u) - target)
    np.testing.assert_allclose(dx[:, 0], [0, 0, -1, 1], atol=1e-15)


# paper: s2-blows-up
def test_with_the_scale_the_weight_grows_as_the_root_of_the_steps():
    u = np.array([[-1.0], [-1], [1], [1]])
    w, a, steps = 1.0, 0.1 * 4, 4000
    for k in range(steps):
        layer = Normalize(scale=True, through=False, eps=0.0)
        x_hat = layer.forward(w * u)
        assert 0.5 * np.sum((x_hat - 2 * u) ** 2) == pytest.approx(2)
        w -= 0.1 * float((u * layer.backward(x_hat - 2 * u)).sum())
        assert w**2 >= 1 + 2 * a * (k + 1) - 1e-9
    assert w == pytest.approx(np.sqrt(2 * a * steps), rel=0.01)


# paper: s2-two-jacobians
@pytest.mark.parametrize("scale", [False, True])
def test_the_shortcut_moves_the_weights_as_a_bias_in_disguise(rng, scale):
    """For centring, the two gradients of W differ by (mean of u) times (gradient of b)."""
    u, dy = rng.standard_normal((8, 5)) + 3, rng.standard_normal((8, 4))
    gradients = {}
    for through in (False, True):
        linear = Linear(5, 4, std=1, rng=np.random.default_rng(0), dtype=np.float64)
        net = Sequential([linear, Normalize(scale=scale, through=through, eps=0.0)])
        net.forward(u)
        net.backward(dy)
        gradients[through] = linear.dweight, linear.dbias
    difference = gradients[False][0] - gradients[True][0]
    outer = np.outer(u.mean(axis=0), gradients[False][1])
    assert np.allclose(difference, outer) == (not scale)
    np.testing.assert_allclose(gradients[True][1], 0, atol=1e-13)


def test_scale_shift(rng, numerical_gradient):
    layer = ScaleShift(3)
    layer.gamma, layer.beta = rng.standard_normal((2, 3))
    x, weight = rng.standard_normal((2, 5, 3))
    layer.forward(x)
    dx = layer.backward(weight)
    np.testing.assert_allclose(dx, weight * layer.gamma)
    for name in ("gamma", "beta"):
        old = getattr(layer, name)

        def loss(value, name=name):
            setattr(layer, name, value)
            return float(np.sum(weight * layer.forward(x)))

        numeric = numerical_gradient(loss, old)
        np.testing.assert_allclose(layer.gradients()[name], numeric, atol=1e-8)
        setattr(layer, name, old)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="eps is -1"):
        Normalize(scale=True, through=True, eps=-1)
    for refused in (Normalize, Config):
        with pytest.raises(ValueError, match="through is 'std'"):
            refused(**{"scale": True} if refused is Normalize else {}, through="std")
    with pytest.raises(ValueError, match=r"shape \(0, 3\)"):
        Normalize(scale=True, through=True).forward(np.ones((0, 3)))
    with pytest.raises(RuntimeError, match="before forward"):
        Normalize(scale=True, through=True).backward(np.ones((2, 3)))
    with pytest.raises(ValueError, match="features is 0"):
        ScaleShift(0)
    with pytest.raises(ValueError, match="batch_size at least 2"):
        Config(batch_size=1)
    with pytest.raises(ValueError, match="unknown nonlinearity"):
        Config(nonlinearity="tanh")
    with pytest.raises(ValueError, match="outside-nothing"):
        arms("outside-nothing")


@pytest.mark.parametrize("nonlinearity", ["sigmoid", "relu"])
def test_the_network_is_what_the_configuration_says(nonlinearity):
    kind = {"sigmoid": Sigmoid, "relu": ReLU}[nonlinearity]
    config = Config(nonlinearity=nonlinearity, kind="scale", affine=True, bias=False)
    full = build(config, np.random.default_rng(0))
    assert [type(x) for x in full.layers] == [Linear, Normalize, ScaleShift, kind] * 3 + [Linear]
    plain = build(Config(nonlinearity=nonlinearity), np.random.default_rng(0))
    assert [type(layer) for layer in plain.layers] == [Linear, kind] * 3 + [Linear]
    np.testing.assert_array_equal(full.layers[0].weight, plain.layers[0].weight)
    assert full.layers[0].bias is None
    assert plain.layers[0].bias is not None


def test_norms_are_of_the_hidden_layers():
    network = build(SHORT, np.random.default_rng(0))
    for layer in network.layers:
        if isinstance(layer, Linear):
            layer.weight[:], layer.bias[:] = 2, 3
    count = 784 * 20 + 2 * 20 * 20
    assert norms(network) == pytest.approx((3 * np.sqrt(60), 2 * np.sqrt(count)))


def test_the_mean_input_is_that_of_the_last_hidden_layer():
    network = build(SHORT, np.random.default_rng(0))
    assert input_mean(network) is None
    x = np.random.default_rng(1).standard_normal((5, 784)).astype(np.float32)
    for layer in network.layers[:4]:  # linear, sigmoid, linear, sigmoid
        x = layer.forward(x)
    network.layers[4].forward(x)
    assert input_mean(network) == pytest.approx(np.sum(x.mean(axis=0) ** 2), rel=1e-5)


def test_the_exponent_of_a_growth():
    steps = list(range(0, 1001, 10))
    assert exponent(steps, [np.sqrt(9 + 4 * k) for k in steps]) == pytest.approx(0.5)
    assert exponent(steps, [np.sqrt(9 + 4.0 * k**2) for k in steps]) == pytest.approx(1)
    assert exponent(steps, [3.0 for _ in steps]) == 0


# paper: s2-bias-grows
def test_biases_grow_and_the_loss_is_that_without_them(data):
    """In float64, where the two runs do not drift apart by rounding."""
    x = data.train_images.reshape(300, -1).astype(float)
    losses = {}
    for bias in (True, False):
        network = build(replace(SHORT, kind="centre", bias=bias), np.random.default_rng(0))
        for layer in network.layers:
            for name, value in layer.parameters().items():
                setattr(layer, name, value.astype(float))
        optimizer, losses[bias] = SGD(network, lr=0.5), []
        for _ in range(30):
            loss, dlogits = softmax_cross_entropy(network.forward(x), data.train_labels)
            network.backward(dlogits)
            optimizer.step()
            losses[bias].append(loss)
        if bias:
            assert norms(network)[0] > 1e-3
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-9)
    assert losses[True][-1] < losses[True][0]


def test_a_run_records_what_it_did(data):
    config = replace(SHORT, kind="centre")
    result = run(config, 3, data)
    assert result.config == asdict(config)
    assert result.curve["step"] == [0, 10, 30, 60]
    assert {len(v) for v in result.curve.values()} == {4}
    assert result.final["steps_done"] == 60
    assert result.final["diverged"] == 0
    assert result.final["bias_norm"] == result.curve["bias_norm"][-1] > 1e-3
    assert result.curve["bias_norm"][0] == 0
    right = run(replace(config, through=True), 3, data)
    assert right.final["bias_norm"] < 1e-6
    again = run(config, 3, data)
    assert again.curve["loss"][1:] == result.curve["loss"][1:]


def test_the_accuracy_is_taken_with_the_statistics_of_many_training_images(data, monkeypatch):
    def look(network, images, labels):
        first, norm = network.layers[:2]
        assert not network.training
        many = data.train_images.reshape(300, -1).astype(np.float32)
        np.testing.assert_allclose(norm.mean, (many @ first.weight).mean(axis=0), atol=1e-4)
        np.testing.assert_array_equal(labels, data.test_labels)
        assert images.shape == (100, 784)
        return 0.125

    monkeypatch.setattr(outside, "accuracy_of", look)
    config = replace(SHORT, kind="scale", bias=False)
    assert run(config, 0, data).final["test_accuracy"] == 0.125


def test_a_run_that_diverges_says_when(data):
    result = run(replace(SHORT, nonlinearity="relu", lr=1e30), 0, data)
    assert result.final["diverged"] == 1
    assert result.final["steps_done"] < 60
    assert result.final["test_accuracy"] is None
    assert result.final["loss"] is None


def test_studies_are_what_the_book_says():
    for study in outside.STUDIES:
        chosen = arms(study)
        for arm, config in chosen.items():
            if study == "outside-which":
                network, through = arm.split("-")
                assert config.nonlinearity == network
                assert config.kind == "scale"
                assert config.lr == {"sigmoid": 1.0, "relu": 0.1}[network]
                assert config.through == {"neither": False, "both": True}.get(through, through)
                continue
            if study == "outside-settings":
                assert (arm.startswith("bn-")) == config.affine == config.through
                assert arm.endswith(f"-lr{config.lr:g}-std{config.std:g}")
                continue
            assert config.through == arm.endswith("-through")
            assert config.lr == (1.0 if study == "outside-fast" else 0.1)
            assert (config.nonlinearity == "relu") == (study == "outside-relu")
        assert {c.steps for c in arms(study, 7).values()} == {7}


def test_which_repeats_runs_of_the_other_studies():
    """Its outer arms are theirs, so that a difference between the four is one of gradients."""
    for network, study in (("sigmoid", "outside-fast"), ("relu", "outside-relu")):
        assert arms("outside-which")[f"{network}-neither"] == arms(study)["scale"]
        assert arms("outside-which")[f"{network}-both"] == arms(study)["scale-through"]


def test_committed_records_are_of_the_studies_configurations():
    """A record made with other settings than the code's would be quoted for what it is not."""
    for study in outside.STUDIES:
        chosen = arms(study)
        runs = record.load(study, record.ROOT / "results")
        assert {r.arm for r in runs} == set(chosen)
        for r in runs:
            assert r.config == asdict(chosen[r.arm]), f"{study}: {r.arm}"
        for arm in chosen:
            assert len([r for r in runs if r.arm == arm]) >= 5, f"{study}: {arm}: n < 5"
