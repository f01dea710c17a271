"""The CIFAR-10 experiment on small made-up data: what it does, not how well it learns."""

import errno
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bn.experiments import checkpoint, cifar, device, torch_training
from bn.experiments.checkpoint import CheckpointError
from bn.experiments.cifar import FASTER, RATES, CifarTrial, Config, arms
from bn.experiments.images import Colours, Images
from bn.experiments.record import RecordError, Run, save
from bn.experiments.study import share_cores
from bn.experiments.torch_networks import cifar_network
from bn.experiments.training import train
from bn.experiments.trial import run

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def settled(monkeypatch, tmp_path):
    """Keep checkpoints in a folder of the test's own, and leave nothing to a stopwatch."""
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    monkeypatch.setattr(torch_training, "faster_precision", lambda *_: ("float32", {}))
    monkeypatch.setattr(cifar, "best_device", lambda: CPU)


@pytest.fixture
def data(photographs):
    return photographs(8)


SHORT = Config(batch_norm=True, lr=0.05, epochs=3, batch_size=16, shift=1)


def short_run(config, data, seed=0):
    return run(config, seed, data)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_run_records_what_it_did(data, batch_norm):
    config = replace(SHORT, batch_norm=batch_norm)
    result = short_run(config, data, seed=3)
    assert result.seed == 3
    assert result.config == asdict(config)
    assert result.curve["epoch"] == [1, 2, 3]
    assert {len(values) for values in result.curve.values()} == {3}
    assert result.final["test_accuracy"] == result.curve["test_accuracy"][-1]
    assert (result.final["diverged"], result.final["epochs_done"]) == (0, 3)
    assert result.final["images_per_second"] > 0
    assert result.provenance["precision"] == "float32"
    assert result.provenance["torch"] == torch.__version__


def test_a_part_of_an_epoch_is_named_as_such(data):
    result = short_run(replace(SHORT, epochs=0.2), data)
    assert (result.final["epochs_done"], result.curve["epoch"]) == (0.2, [0.2])
    assert SHORT.passes(160) == (3, 10)
    assert replace(SHORT, epochs=0.2).passes(160) == (1, 2)
    assert replace(SHORT, epochs=0.01).passes(160) == (1, 1)
    whole = short_run(replace(SHORT, epochs=1), data)
    assert whole.curve["loss"] != result.curve["loss"]


def test_batch_norm_learns_the_made_up_classes(data):
    assert short_run(replace(SHORT, epochs=8), data).final["test_accuracy"] > 0.9


def test_the_same_seed_gives_the_same_run(data):
    one, two, other = (short_run(SHORT, data, seed) for seed in (0, 0, 1))
    assert one.curve == two.curve
    assert one.curve["loss"] != other.curve["loss"]


def test_held_out_images_are_not_trained_on_and_are_measured_on(data):
    config = replace(SHORT, held_out=40)
    training, other = cifar.split(data, config, CPU)
    assert (len(training), len(other)) == (120, 40)
    seen = {image.numpy().tobytes() for image in training.pixels[:, :, 1:-1, 1:-1]}
    kept = {image.numpy().tobytes() for image in other.pixels}
    assert not seen & kept
    assert seen | kept == {image.tobytes() for image in data.train_images}
    assert "held_out_accuracy" in short_run(config, data).final
    with pytest.raises(ValueError, match="less than one batch"):
        cifar.split(data, replace(SHORT, held_out=150), CPU)


def test_an_interrupted_run_ends_as_if_it_had_not_been(data, monkeypatch):
    whole = short_run(SHORT, data)
    epochs = 0
    real = cifar.accuracy_of

    def stop_in_the_third_epoch(*arguments):
        nonlocal epochs
        epochs += 1
        if epochs == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(cifar, "accuracy_of", stop_in_the_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        short_run(SHORT, data)
    resumed = short_run(SHORT, data)
    assert epochs == 4  # only the third epoch was done again
    assert resumed.curve == whole.curve
    assert list(checkpoint.path_for({}).parent.iterdir()) == []  # removed when done


def test_resuming_keeps_the_precision(data, tmp_path):
    kept, steps = tmp_path / "kept.pt", 10

    def interrupt(step, loss):
        raise KeyboardInterrupt

    def go_on(evaluate, precision=None):
        learner = CifarTrial(SHORT, 0, data, device=CPU, precision=precision).learner
        at = {steps}
        return learner, train(learner, steps=steps, evaluate=evaluate, evaluate_at=at, keep=kept)

    _, first = go_on(lambda step, loss: {"accuracy": 0.5}, "bfloat16")
    learner, again = go_on(interrupt)
    assert again.rows == first.rows  # it was done: nothing was trained, nothing evaluated
    assert learner.precision == "bfloat16"


def test_a_training_is_resumed_within_an_epoch(data, tmp_path):
    """Batches are those that would have come, wherever the checkpoint lies."""
    kept, at = tmp_path / "kept.pt", range(3, 31, 3)  # ten steps an epoch

    def stop(step, loss):
        if step == 15:
            raise KeyboardInterrupt
        return {}

    def learner():
        return CifarTrial(SHORT, 0, data, device=CPU, precision="float32").learner

    whole = train(learner(), steps=30, evaluate_at=at)
    with pytest.raises(KeyboardInterrupt):
        train(learner(), steps=30, evaluate=stop, evaluate_at=at, keep=kept)
    resumed = train(learner(), steps=30, evaluate_at=at, keep=kept)
    assert len(resumed.rows) == 10
    assert resumed.rows == whole.rows


def test_a_run_that_diverges_says_so(data):
    result = short_run(replace(SHORT, batch_norm=False, lr=1e6), data)
    assert result.final["diverged"] == 1
    assert result.final["test_accuracy"] is None
    assert math.isnan(result.curve["test_accuracy"][-1])
    assert result.final["epochs_done"] < SHORT.epochs


@pytest.mark.parametrize("spoil", [b"", b"PK", b"\x80\x04", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named(data, spoil):
    identity = {"config": asdict(SHORT), "seed": 0, "device": "cpu"}
    path = checkpoint.path_for(identity)
    path.parent.mkdir(parents=True)
    path.write_bytes(spoil)
    with pytest.raises(CheckpointError, match=f"{path.name}.*delete it"):
        short_run(SHORT, data)


def test_a_full_disk_names_the_checkpoint_and_keeps_the_one_before(monkeypatch, tmp_path):
    path = tmp_path / "run.pt"
    checkpoint.save(path, {"seed": 0}, {"epoch": 1})
    real = Path.write_bytes

    def full(self, content):
        real(self, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left.*run\.pt"):
        checkpoint.save(path, {"seed": 0}, {"epoch": 2})
    assert os.listdir(tmp_path) == ["run.pt"]
    assert checkpoint.load(path, {"seed": 0}) == {"epoch": 1}


def test_a_checkpoint_cut_short_is_named_and_one_of_another_run_refused(tmp_path):
    path = tmp_path / "some.pt"
    checkpoint.save(path, {"seed": 0}, {"a": torch.arange(1000)})
    with pytest.raises(CheckpointError, match="another run"):
        checkpoint.load(path, {"seed": 1})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path, {"seed": 0})


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0}, {"epochs": -0.5}, {"epochs": 1.5}, {"epochs": math.nan},
        {"epochs": math.inf}, {"batch_size": 1}, {"lr": 0.0}, {"lr": math.nan}, {"warm_up": 1.0},
        {"shift": -1}, {"held_out": -1}, {"eps": 0.0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        replace(SHORT, **bad)


def test_both_networks_start_from_the_same_weights():
    plain, bn = (
        cifar_network(batch_norm=kind, generator=torch.Generator().manual_seed(0))
        for kind in (False, True)
    )
    weights = [
        [m.weight for m in network if isinstance(m, nn.Conv2d | nn.Linear)]
        for network in (plain, bn)
    ]
    assert len(weights[0]) == 6
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert [m.bias is None for m in bn if isinstance(m, nn.Conv2d)] == [True] * 5
    kinds = [type(m) for m in bn][:4]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert bn(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


# -- images


@pytest.fixture
def images(rng):
    """Twenty pictures in which every pixel says where it is from."""
    values = rng.permutation(20 * 3 * 4 * 5).reshape(20, 3, 4, 5) % 251
    return Images(
        (values + 1).astype(np.uint8), np.arange(20), Colours((0.0,) * 3, (1.0,) * 3),
        device=CPU, shift=2,
    )  # fmt: skip


def test_shuffled_images_are_shifted_and_flipped_copies(images, rng):
    seen, moves = [], set()
    for x, labels in images.shuffled(6, rng):
        assert x.shape == (6, 3, 4, 5)
        assert x.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip(x, labels, strict=True):
            seen.append(int(label))
            move = next(
                (top, left, flip)
                for flip in (False, True)
                for top in range(5)
                for left in range(5)
                if torch.equal(
                    image.flip(2) if flip else image,
                    images.pixels[label, :, top : top + 4, left : left + 5].float(),
                )
            )
            moves.add(move)
    assert len(seen) == len(set(seen)) == 18  # three batches of six; two images are left over
    assert {flip for _, _, flip in moves} == {False, True}
    assert {top for top, _, _ in moves} == {left for _, left, _ in moves} == set(range(5))


def test_images_in_order_are_the_images(images):
    x = torch.cat([x for x, _ in images.in_order(8)])
    labels = torch.cat([labels for _, labels in images.in_order(8)])
    assert torch.equal(x, images.pixels[:, :, 2:-2, 2:-2].float())
    assert torch.equal(labels, torch.arange(20))


def test_colours_normalize_each_channel(rng):
    pixels = rng.integers(0, 256, (50, 3, 8, 8)).astype(np.uint8)
    pixels[:, 1] //= 4
    images = Images(pixels, np.zeros(50, int), Colours.of(pixels), device=CPU)
    x = torch.cat([x for x, _ in images.in_order(50)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_bad_images_are_refused(images, rng):
    colours = Colours((0.0,), (1.0,))
    with pytest.raises(ValueError, match="N, C, H, W"):
        Images(np.zeros((2, 8, 8), np.uint8), np.zeros(2, int), colours, device=CPU)
    with pytest.raises(ValueError, match="shift"):
        Images(np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, int), colours, device=CPU, shift=-1)
    with pytest.raises(ValueError, match="batch_size is 21"):
        next(images.shuffled(21, rng))


# -- precision


def test_the_faster_precision_is_taken_and_the_network_left_alone(monkeypatch):
    times = iter([3.0, 1.0])
    monkeypatch.setattr(device, "_median_time", lambda work, *_: work() or next(times))
    network = cifar_network(batch_norm=True, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    chosen, seconds = device.faster_precision(network, x, labels)
    assert (chosen, seconds) == ("bfloat16", {"float32": 3.0, "bfloat16": 1.0})
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_steps_are_timed(monkeypatch):
    done = []
    median = device._median_time(lambda: done.append(1), 3, CPU)
    assert len(done) == 4  # the first one only warms up
    assert 0 <= median < 60


def test_autocast_gives_the_precision():
    layer, x = nn.Linear(4, 4), torch.ones(2, 4)
    for name, dtype in device.PRECISIONS.items():
        with device.autocast(CPU, name):
            assert layer(x).dtype == dtype


# -- studies


def test_several_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    share_cores(3)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    share_cores(20)
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_the_sweep_decides_the_rates():
    with pytest.raises(RecordError, match="cifar-sweep"):
        arms("cifar-rates")
    best = {"plain": 0.05, "bn": 0.5}
    runs = [
        Run(arm, 0, asdict(config), {}, {"held_out_accuracy": accuracy}, 0.0, {})
        for arm, config in arms("cifar-sweep").items()
        for kind in [arm.split("-")[0]]
        for accuracy in [0.8 if config.lr == best[kind] else 0.5 if config.lr < 1 else None]
    ]
    assert len(runs) == 2 * len(RATES)
    save("cifar-sweep", runs)
    chosen = arms("cifar-rates")
    assert {arm: (c.batch_norm, c.lr) for arm, c in chosen.items()} == {
        "plain": (False, 0.05),
        "bn": (True, 0.5),
        f"plain-{FASTER}x": (False, 0.25),
        f"bn-{FASTER}x": (True, 2.5),
    }
    assert {c.epochs for c in chosen.values()} == {10}
    assert {c.held_out for c in chosen.values()} == {0}
    assert arms("cifar-rates", 2)["bn"].epochs == 2
    with pytest.raises(ValueError, match="cifar-rates"):
        arms("cifar-paper")
