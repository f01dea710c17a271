"""What a mini-batch knows of mean and variance: theory by enumeration, measuring by hand."""

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest

from bn.__main__ import main
from bn.data import ImageDataset
from bn.experiments import estimates as experiment
from bn.experiments import mnist as section_4_1
from bn.experiments import record, trial
from bn.experiments.estimates import (
    SIZES,
    Config,
    LayersConfig,
    arms,
    around_last_linear,
    around_norms,
    measure,
    one_example,
    scatter,
    shapes,
    skewness_and_kurtosis,
    spread_of_variance,
    without_class_means,
)
from bn.experiments.record import Run, load, provenance
from bn.experiments.trial import run, trained
from bn.layers import Linear, Sigmoid
from bn.reference import batch_norm_forward

# A population of four values, small enough to enumerate its mini-batches.
FOUR = np.array([1.0, 2.0, 3.0, 6.0])


def all_batches(m):
    """Every mini-batch of m independent draws from the four values, each equally likely."""
    return np.array(list(itertools.product(FOUR, repeat=m)))  # (4**m, m)


# paper: s3-mini-batch-statistics, eq-unbiased
@pytest.mark.parametrize("m", [2, 3, 5])
def test_mean_and_spread_of_the_estimates_are_the_formulas(m):
    batches = all_batches(m)
    mean, var = batches.mean(axis=1), batches.var(axis=1)
    np.testing.assert_allclose(mean.mean(), FOUR.mean())
    np.testing.assert_allclose(mean.var(), FOUR.var() / m)
    np.testing.assert_allclose(var.mean(), (m - 1) / m * FOUR.var())
    kurtosis = skewness_and_kurtosis(FOUR[:, None])[1][0]
    np.testing.assert_allclose(var.std() / FOUR.var(), spread_of_variance(kurtosis, m))


def test_the_spread_for_shapes_that_are_known():
    np.testing.assert_allclose(spread_of_variance(3.0, 60), np.sqrt(2 * 59) / 60)  # Gaussian
    # heads or tails, two of them: the variance is 0 or 1
    np.testing.assert_allclose(spread_of_variance(1.0, 2), 0.5)
    # to leading order
    np.testing.assert_allclose(spread_of_variance(5.0, 1e6), np.sqrt(4 / 1e6), rtol=1e-5)


def test_skewness_and_kurtosis():
    x = np.array([[-1.0, 0], [1, 0], [-1, 0], [1, 4]])
    skewness, kurtosis = skewness_and_kurtosis(x)
    # 0, 0, 0, 4: z is -1/sqrt(3) three times, and sqrt(3)
    np.testing.assert_allclose(skewness, [0, (3 * np.sqrt(3) - 1 / np.sqrt(3)) / 4])
    np.testing.assert_allclose(kurtosis, [1, (3 / 9 + 9) / 4])


def test_class_means_are_taken_away():
    x, labels = np.array([[1.0], [2], [5], [8]]), np.array([0, 0, 3, 3])
    np.testing.assert_array_equal(without_class_means(x, labels)[:, 0], [-0.5, 0.5, -1.5, 1.5])
    np.testing.assert_array_equal(x[:, 0], [1, 2, 5, 8])


def test_what_is_measured_on_a_gaussian_is_the_theory(rng):
    x = 100 + 7 * rng.standard_normal((20_000, 30))
    came = measure(x, 16, batches=2000, rng=rng)
    assert came["mean_error"] == pytest.approx(1 / 4, rel=0.02)
    assert came["var_mean"] == pytest.approx(15 / 16, rel=0.01)
    assert came["var_std"] == pytest.approx(np.sqrt(30) / 16, rel=0.03)
    assert came["var_std_theory"] == pytest.approx(np.sqrt(30) / 16, rel=0.03)
    assert came["noise"] == pytest.approx(np.sqrt(6 / (4 * 16)), rel=0.05)


# paper: eq-normalized, s3-depends-on-batch
def test_the_noise_is_what_x_hat_is_off(rng):
    """The mean square over a mini-batch, from its statistics and from its values."""
    x = rng.exponential(size=(500, 1))
    came = measure(x, 10, batches=1, rng=np.random.default_rng(3))
    order = np.random.default_rng(3).permutation(500)[:10]  # as minibatches draws them
    _, cache = batch_norm_forward(x[order], eps=0.0)
    off = cache.x_hat - (x[order] - x.mean()) / x.std()
    np.testing.assert_allclose(came["noise"], np.sqrt(np.mean(off**2)))
    assert came["noise"] > 0.05


# paper: s3-identity
def test_the_identity_holds_for_the_mini_batch_it_was_made_for(rng):
    x, other = 5 + 3 * rng.standard_normal((2, 60, 4))
    _, cache = batch_norm_forward(x, eps=0.1)
    gamma, beta = np.sqrt(cache.var + 0.1), cache.mean
    y, _ = batch_norm_forward(x, gamma, beta, eps=0.1)
    np.testing.assert_allclose(y, x, atol=1e-13)
    without_eps, _ = batch_norm_forward(x, np.sqrt(cache.var), beta, eps=0.1)
    assert abs(without_eps - x).max() > 1e-3
    y, _ = batch_norm_forward(other, gamma, beta, eps=0.1)
    assert 0.1 < np.sqrt(np.mean((y - other) ** 2)) / 3 < 0.4  # about sqrt(2 * 1.5 / 60)


def test_one_example_among_all_others(rng):
    x = rng.standard_normal((10, 3))
    x_hat = one_example(x, 4, 10, 5, rng)  # nothing is left to be drawn
    _, cache = batch_norm_forward(x)
    np.testing.assert_allclose(x_hat, np.tile(cache.x_hat[4], (5, 1)))


def test_one_example_among_some_others(rng):
    x = rng.standard_normal((1000, 5))
    x[7] = 50.0
    x_hat = one_example(x, 7, 10, 40, rng)
    assert x_hat.shape == (40, 5)
    # far from all others, it has the largest value that there can be
    np.testing.assert_allclose(x_hat, np.sqrt(9), rtol=0.01)
    x = np.delete(x, 7, axis=0)
    x_hat = one_example(x, 7, 200, 40, rng)
    expected = (x[7] - x.mean(axis=0)) / x.std(axis=0)
    assert x_hat.std(axis=0).min() > 0.01  # other neighbours each time
    np.testing.assert_allclose(x_hat.mean(axis=0), expected, atol=0.05)


SHORT = Config(steps=40, batch_size=30, hidden=20, lr=0.5, batches=50)


def test_the_network_is_the_one_of_section_4_1(data):
    """Trained as there, so that its accuracy is that of the record ``mnist-paper``."""
    config = replace(SHORT, steps=6, lr=0.1)  # too short to get all right, so that seeds differ
    settings = {name: value for name, value in asdict(config).items() if name != "batches"}
    there = [run(section_4_1.Config(**settings), seed, data) for seed in (3, 4, 5)]
    accuracy = [result.final["test_accuracy"] for result in there]
    assert len(set(accuracy)) > 1
    assert [run(config, seed, data).final["test_accuracy"] for seed in (3, 4, 5)] == accuracy


def test_what_goes_into_the_last_weights_and_out_of_them(data):
    images = data.train_images.reshape(300, -1)
    network = trained(SHORT, 0, data)
    u, x = around_last_linear(network, images.astype(np.float32))
    assert isinstance(network.layers[5], Sigmoid)
    assert isinstance(network.layers[6], Linear)
    np.testing.assert_allclose(x, u @ network.layers[6].weight, atol=1e-5)
    assert ((u > 0) & (u < 1)).all()
    alone = around_last_linear(network, images[:1].astype(np.float32))[1]
    np.testing.assert_allclose(alone, x[:1], atol=1e-5)  # its neighbours do not matter


def test_a_run_records_every_size(data, monkeypatch):
    monkeypatch.setattr(experiment, "SIZES", (2, 60, 100))
    result = run(SHORT, 1, data)
    assert result.config == asdict(SHORT)
    assert result.curve["size"] == [2, 60, 100]
    assert {len(values) for values in result.curve.values()} == {3}
    for name in ("mean_error", "var_mean", "var_std", "var_std_theory", "noise"):
        assert result.final[f"{name}_60"] == result.curve[name][1]
    assert {"skewness_u", "kurtosis_u", "skewness_x", "kurtosis_x"} <= set(result.final)
    again = run(SHORT, 1, data)
    assert again.curve == result.curve
    assert again.final == result.final


def test_scatter_counts_independent_values(rng):
    of_one = rng.standard_normal((4000, 1, 20))
    assert scatter(of_one) == pytest.approx({"values": 1, "mean_values": 1, "var_values": 1}, 1e-3)
    drawn = scatter(rng.exponential(size=(4000, 12, 20)))
    assert drawn["mean_values"] == pytest.approx(12, rel=0.03)
    assert drawn["var_values"] == pytest.approx(12, rel=0.1)
    repeated = scatter(np.repeat(rng.standard_normal((4000, 3, 20)), 4, axis=1))
    assert repeated["values"] == 12
    assert repeated["mean_values"] == pytest.approx(3, rel=0.03)
    assert repeated["var_values"] == pytest.approx(3, rel=0.03)


def test_shapes_leave_out_what_is_constant(rng):
    u = np.concatenate([rng.random((50_000, 3)) < 0.1, np.zeros((50_000, 4))], axis=1) * 1.0
    of = shapes(u, rng.standard_normal((100, 500, 3)))  # maps: their values count alike
    assert of["skewness_u"] == pytest.approx(0.8 / 0.3, rel=0.03)
    assert of["kurtosis_u"] == pytest.approx((1 - 0.27) / 0.09, rel=0.03)
    assert of["kurtosis_x"] == pytest.approx(3, rel=0.03)
    assert of["skewness_gain"] == pytest.approx(of["skewness_u"] - of["skewness_x"])
    assert of["kurtosis_gain"] > 5


def test_what_is_around_the_norms_of_maps(rng):
    torch = pytest.importorskip("torch")
    convolution, norm = torch.nn.Conv2d(2, 3, 1, bias=False), torch.nn.BatchNorm2d(3)
    network = torch.nn.Sequential(
        torch.nn.ReLU(), convolution, norm, torch.nn.ReLU(inplace=True), torch.nn.Flatten()
    )
    x = torch.tensor(rng.standard_normal((4, 2, 5, 6)), dtype=torch.float32)
    with torch.no_grad():
        [(u, wu)] = around_norms(network, x)
    np.testing.assert_array_equal(u, np.maximum(x.numpy(), 0).reshape(4, 2, 30).swapaxes(1, 2))
    weight = convolution.weight.detach().numpy()[:, :, 0, 0]
    np.testing.assert_allclose(wu, u @ weight.T, atol=1e-6)
    assert (wu < 0).any()  # not what the ReLU behind the norm made of it


ON_MNIST = LayersConfig("mnist", steps=30, lr=0.5, batch_size=30, images=300)


def test_every_layer_with_the_layers_below_in_both_modes(data):
    result = run(ON_MNIST, 1, data)
    assert result.config == asdict(ON_MNIST)
    assert result.curve["layer"] == [1, 2, 3]
    for name, values in result.curve.items():
        if name != "layer":
            assert [result.final[f"{name}_{i}"] for i in (1, 2, 3)] == values
    for name in ("mean_values", "var_values", "noise"):  # nothing is below the first
        np.testing.assert_allclose(
            result.final[f"training_{name}_1"], result.final[f"{name}_1"], rtol=1e-4
        )
    # the layer below has fixed the mean of its own output
    assert result.final["training_mean_values_2"] > 5 * result.final["mean_values_2"]
    assert result.final["noise_ratio_3"] > 1
    assert run(ON_MNIST, 1, data).final == result.final


def test_maps(rng):
    pytest.importorskip("torch")
    pictures = rng.integers(0, 256, (40, 3, 1, 1)) + rng.integers(0, 20, (40, 3, 32, 32))
    pictures, labels = np.minimum(pictures, 255).astype(np.uint8), np.arange(40) % 10
    data = ImageDataset(
        name="made up",
        train_images=pictures,
        train_labels=labels.astype(np.uint8),
        test_images=pictures[:20],
        test_labels=labels[:20].astype(np.uint8),
        classes=tuple("0123456789"),
    )
    config = LayersConfig("cifar", steps=3, lr=0.1, batch_size=10, images=30)
    result = run(config, 0, data)
    assert result.curve["values"] == [1024, 256, 256, 64, 64]
    assert result.final["mean_values_1"] < 5  # each picture is of nearly one colour
    assert 0 <= result.final["test_accuracy"] <= 1


def test_the_arms():
    assert arms("estimates") == {"bn": Config()}
    assert arms("estimates", 10)["bn"] == replace(Config(), steps=10)
    assert Config().steps == 50_000
    assert set(arms("estimates-layers", 10)) == {"mnist", "cifar"}
    assert {config.steps for config in arms("estimates-layers", 10).values()} == {10}
    assert section_4_1.Config(batch_norm=True).batch_size in SIZES
    with pytest.raises(ValueError, match="expected one of estimates"):
        arms("estimate")


def test_the_command(monkeypatch, tmp_path):
    def task(config, seed, label):
        return Run("?", seed, asdict(config), {}, {"test_accuracy": 0.9}, 0.0, provenance())

    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    monkeypatch.setattr(trial, "run_task", task)
    assert main(["train", "estimates", "--seeds", "2"]) == 0
    assert len(load("estimates", tmp_path)) == 2


def test_the_committed_record_is_of_this_configuration():
    runs = load("estimates", record.ROOT / "results")
    assert len(runs) >= 5
    for each in runs:
        assert record.same_config(each.config, Config())
        assert each.curve["size"] == [*SIZES]


def test_the_committed_record_of_every_layer_is_of_this_configuration():
    runs = load("estimates-layers", record.ROOT / "results")
    configs = arms("estimates-layers")
    assert sum(run.arm == "mnist" for run in runs) == sum(run.arm == "cifar" for run in runs) >= 5
    for each in runs:
        assert record.same_config(each.config, configs[each.arm])
