"""Groups that share statistics, and their measurements, on small made-up data."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from bn.experiments import noise, record
from bn.experiments.images import Colours, Images
from bn.experiments.noise import (
    GROUPS,
    RATES,
    Config,
    GroupedBatchNorm,
    arms,
    group_norms,
    halved,
    norms_in_training,
    use_whole_set,
)
from bn.experiments.record import RecordError, Run, load, save
from bn.experiments.trial import run


@pytest.fixture(autouse=True)
def settled(monkeypatch, tmp_path):
    """Keep checkpoints and records in a folder of the test's own."""
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))


def both_ways(x, group, momentum=0.1):
    """One layer on groups, and torch's own on each group alone, its statistics averaged."""
    channels = x.shape[1]
    grouped = GroupedBatchNorm(channels, group, momentum=momentum)
    kind = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
    singly = kind(channels, momentum=1.0)
    with torch.no_grad():
        for layer in (grouped, singly):
            layer.weight.copy_(torch.linspace(0.5, 2, channels))
            layer.bias.copy_(torch.linspace(-1, 1, channels))
    return grouped, singly


# paper: s34-noise
@pytest.mark.parametrize("shape", [(12, 3), (12, 3, 4, 4)])
@pytest.mark.parametrize("group", [2, 3, 6, 12])
def test_each_group_is_normalized_by_itself(shape, group):
    x = (3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    dy = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    grouped, singly = both_ways(x, group)
    y = grouped(x)
    expected, means, variances = torch.zeros_like(x), [], []
    groups = len(x) // group
    for i in range(groups):
        expected[i::groups] = singly(x[i::groups])
        means.append(singly.running_mean.clone())
        variances.append(singly.running_var.clone())
    torch.testing.assert_close(y, expected)
    (dx,) = torch.autograd.grad((y * dy).sum(), x)
    (dx_expected,) = torch.autograd.grad((expected * dy).sum(), x)
    torch.testing.assert_close(dx, dx_expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grouped.running_mean, 0.1 * torch.stack(means).mean(0))
    torch.testing.assert_close(grouped.running_var, 0.9 + 0.1 * torch.stack(variances).mean(0))
    grouped.eval()
    torch.testing.assert_close(grouped(x)[:1], grouped(x[:1]))  # no companions at inference


def test_one_group_is_torchs_own():
    x = torch.randn((8, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    grouped, own = GroupedBatchNorm(3, 8), nn.BatchNorm2d(3)
    torch.testing.assert_close(grouped(x), own(x))
    torch.testing.assert_close(grouped.running_var, own.running_var)


def test_groups_that_are_not_whole_are_refused():
    with pytest.raises(ValueError, match="no whole groups of 3"):
        GroupedBatchNorm(2, 3)(torch.zeros(8, 2))
    with pytest.raises(ValueError, match="group must divide"):
        Config(batch_norm=True, lr=0.1, group=3)
    with pytest.raises(ValueError, match="needs batch norm"):
        Config(batch_norm=False, norm="none", lr=0.1, group=4)


@pytest.fixture
def data(photographs):
    return photographs(16)


SHORT = Config(batch_norm=True, lr=0.05, epochs=3, batch_size=16, images=96)


def test_a_pixel_of_a_halved_image_is_the_mean_of_four(data):
    small = halved(data)
    assert small.train_images.shape == (160, 3, 8, 8)
    assert small.train_images.dtype == np.uint8
    four = data.test_images[5, 1, 4:6, 2:4].astype(float)
    assert abs(small.test_images[5, 1, 2, 1] - four.mean()) <= 0.5


@pytest.mark.parametrize(
    "config",
    [SHORT, replace(SHORT, group=4), replace(SHORT, batch_norm=False, norm="none", dropout=0.5)],
)
def test_a_run_records_both_sides_of_the_gap(data, config):
    result = run(config, 3, data)
    final = result.final
    assert result.config == asdict(config)
    assert result.curve["epoch"] == [1, 2, 3]
    assert {len(values) for values in result.curve.values()} == {3}
    for name in ("test_accuracy", "test_loss", "training_loss", "training_accuracy", "loss"):
        assert final[name] == result.curve[name][-1]
    assert final["gap"] == pytest.approx(final["test_loss"] - final["training_loss"])
    assert final["accuracy_gap"] == pytest.approx(
        final["training_accuracy"] - final["test_accuracy"]
    )
    assert ("flips" in final) == config.batch_norm
    assert run(config, 3, data).curve == result.curve


def test_groups_change_the_training_and_a_group_of_all_does_not(data):
    whole, of_all, of_four = (
        run(replace(SHORT, group=group), 0, data).curve["loss"] for group in (0, 16, 4)
    )
    np.testing.assert_allclose(whole, of_all, rtol=1e-3)
    assert abs(whole[0] - of_four[0]) > 0.01


def test_held_out_images_take_the_place_of_the_test_images(data):
    config = replace(SHORT, images=64, held_out=48)
    trial = config.begin(0, data)
    assert (len(trial.learner.images), len(trial.other)) == (64, 48)
    final = run(config, 0, data).final
    assert {"held_out_accuracy", "held_out_loss"} <= set(final)
    assert "test_accuracy" not in final
    assert "flips" not in final


def small_network(group):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    if group:
        group_norms(network, group)
    return network.eval()


def pictures(n):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (n, 3, 8, 8)).astype(np.uint8)
    return Images(values, np.zeros(n, int), Colours.of(values), device=torch.device("cpu"))


@pytest.mark.parametrize("group", [0, 4])
def test_the_statistics_of_the_whole_set(group):
    network, images = small_network(group), pictures(40)
    use_whole_set(network, images)
    x, _ = next(images.in_order(40))
    values = network[0](x).detach().transpose(0, 1).reshape(4, -1)
    torch.testing.assert_close(network[1].running_mean, values.mean(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network[1].running_var, values.var(1), atol=1e-5, rtol=1e-5)
    assert not any(module.training for module in network.modules())
    assert network[1].momentum == 0.1
    assert getattr(network[1], "group", group) == group


@pytest.mark.parametrize("group", [0, 4])
def test_norms_in_training_see_companions_and_keep_their_statistics(group):
    network, (x, _) = small_network(group), next(pictures(8).in_order(8))
    before = network[1].running_mean.clone()
    with norms_in_training(network, momentum=0.0):
        assert not network[2].training  # dropout stays as it is
        first = network(x)[0]
        x[1:] += 1
        assert not torch.allclose(network(x)[0], first) or group  # group 0 of 2: examples 0, 2, ..
    torch.testing.assert_close(network[1].running_mean, before)


# -- studies


def test_the_sweep_decides_the_rates():
    with pytest.raises(RecordError, match="noise-sweep"):
        arms("noise-groups")
    best = {"plain": 0.05, "bn": 0.2}
    sweep = arms("noise-sweep")
    assert len(sweep) == sum(len(rates) for rates in RATES.values())
    runs = [
        Run(arm, 0, asdict(config), {}, {"held_out_accuracy": accuracy}, 0.0, {})
        for arm, config in sweep.items()
        for accuracy in [0.5 if config.lr == best[arm.split("-")[0]] else 0.4]
    ]
    save("noise-sweep", runs)
    groups = arms("noise-groups")
    assert {arm: (c.group, c.lr) for arm, c in groups.items()} == {
        f"group{size}": (size, 0.2) for size in GROUPS
    }
    dropout = arms("noise-dropout")
    assert {c.lr for arm, c in dropout.items() if arm.startswith("plain")} == {0.05}
    assert dropout["bn-25"].dropout == 0.25
    assert {c.held_out for c in [*groups.values(), *dropout.values()]} == {0}
    assert arms("noise-dropout", 2)["bn-0"].epochs == 2
    for study in noise.STUDIES:
        assert noise.protocol(study).compares
    with pytest.raises(ValueError, match="noise-groups"):
        arms("noise")


def test_the_committed_records_are_of_these_configurations(monkeypatch):
    monkeypatch.setenv("BN_RESULTS_DIR", str(record.ROOT / "results"))
    for study in noise.STUDIES:
        configs = arms(study)
        runs = load(study)
        assert {each.arm for each in runs} == set(configs)
        for each in runs:
            assert record.same_config(each.config, configs[each.arm])
