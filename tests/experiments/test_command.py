"""``python -m bn train``."""

import errno
import os
from pathlib import Path

import pytest

from bn.__main__ import main
from bn.experiments import cifar, mnist, trial
from bn.experiments.record import Run, load, provenance


@pytest.fixture
def instant(monkeypatch, tmp_path):
    """Replace the training by a made-up result; records go to a folder of the test's own."""
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))

    def task(config, seed, label):
        final = {"test_accuracy": 0.9 + 0.01 * seed}
        if isinstance(config, cifar.Config):
            diverged = config.lr > 1 and seed == 0
            final = {"held_out_accuracy": None if diverged else 0.5 + 0.01 * seed}
        return Run("?", seed, vars(config).copy(), {}, final, 0.0, provenance())

    monkeypatch.setattr(trial, "run_task", task)
    return tmp_path


def test_train_records_and_prints(instant, capsys):
    assert main(["train", "mnist", "--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "91.00 ± 1.00 %  (n = 3)" in printed
    assert len(load("mnist-paper", instant)) == 6


def test_another_length_does_not_touch_the_books_record(instant, capsys):
    assert main(["train", "mnist", "--seeds", "1", "--steps", "7"]) == 0
    assert [p.name for p in instant.glob("[!.]*")] == ["mnist-paper-7-steps.json"]


@pytest.mark.parametrize("command", [["mnist", "--study", "best"], ["cifar"]])
def test_without_the_sweep_the_command_that_makes_it_is_named(instant, capsys, command):
    assert main(["train", *command]) == 1
    sweep = ["train", command[0], "--study", "sweep"]
    assert f"python -m bn {' '.join(sweep)}\n" in capsys.readouterr().err
    first = next(iter((mnist if command[0] == "mnist" else cifar).arms(f"{command[0]}-sweep")))
    assert main([*sweep, "--seeds", "1", "--only", first]) == 0  # as if it had been interrupted
    assert main(["train", *command]) == 1
    printed = capsys.readouterr().err
    assert "of its" in printed
    assert f"python -m bn {' '.join(sweep)}\n" in printed


def test_a_full_disk_is_named_and_leaves_no_half_record(instant, capsys, monkeypatch):
    assert main(["train", "mnist", "--seeds", "1", "--only", "bn"]) == 0
    before = (instant / "mnist-paper.json").read_bytes()
    real = Path.write_text

    def full(self, text, **how):
        real(self, text[:100], **how)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the system names no file

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["train", "mnist", "--seeds", "1"]) == 1
    printed = capsys.readouterr().err
    assert "No space left on device" in printed
    assert str(instant / "mnist-paper.json") in printed
    assert "set BN_RESULTS_DIR to a folder on another disk" in printed
    assert (instant / "mnist-paper.json").read_bytes() == before
    assert not list(instant.glob("*.tmp"))


def test_cifar_prints_what_diverged(instant, capsys):
    assert main(["train", "cifar", "--study", "sweep", "--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "held out accuracy 51.00 ± 1.00 %  (n = 3)" in printed
    assert "held out accuracy 51.50 ± 0.71 %  (n = 3, 1 diverged)" in printed
    assert len(load("cifar-sweep", instant)) == 3 * len(cifar.arms("cifar-sweep"))


def test_cifar_of_another_length_is_a_record_apart(instant, capsys):
    assert main(["train", "cifar", "--study", "sweep", "--seeds", "1", "--epochs", "2"]) == 0
    assert [p.name for p in instant.glob("[!.]*")] == ["cifar-sweep-2-epochs.json"]


def test_only_some_arms(instant, capsys):
    command = ["train", "cifar", "--study", "sweep", "--only", "bn-lr0.2", "plain-lr0.1"]
    assert main([*command, "--seeds", "2"]) == 0
    assert len(load("cifar-sweep", instant)) == 4
    assert "bn-lr0.5" not in capsys.readouterr().out
    assert main(["train", "cifar", "--study", "sweep", "--only", "bn-lr7"]) == 2
    assert "no arm bn-lr7; there are plain-lr0.02" in capsys.readouterr().err
