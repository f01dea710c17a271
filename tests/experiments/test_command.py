"""``python -m bn train``."""

import pytest

from bn.__main__ import main
from bn.experiments import cifar, mnist
from bn.experiments.record import Run, load, provenance


@pytest.fixture
def instant(monkeypatch, tmp_path):
    """Replace the training by a made-up result; records go to a folder of the test's own."""
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))

    def task(config, seed, label):
        final = {"test_accuracy": 0.9 + 0.01 * seed}
        return Run("?", seed, vars(config).copy(), {}, final, 0.0, provenance())

    def cifar_task(config, seed, label):
        diverged = config.lr > 1 and seed == 0
        final = {"held_out_accuracy": None if diverged else 0.5 + 0.01 * seed}
        return Run("?", seed, vars(config).copy(), {}, final, 0.0, provenance())

    monkeypatch.setattr(mnist, "run_task", task)
    monkeypatch.setattr(cifar, "run_task", cifar_task)
    return tmp_path


def test_train_records_and_prints(instant, capsys):
    assert main(["train", "mnist", "--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "91.00 ± 1.00 %  (n = 3)" in printed
    assert len(load("mnist-paper", instant)) == 6


def test_another_length_does_not_touch_the_books_record(instant, capsys):
    assert main(["train", "mnist", "--seeds", "1", "--steps", "7"]) == 0
    assert [p.name for p in instant.glob("[!.]*")] == ["mnist-paper-7-steps.json"]


def test_best_needs_the_sweep(instant, capsys):
    assert main(["train", "mnist", "--study", "best"]) == 1
    assert "mnist-sweep" in capsys.readouterr().err


def test_cifar_prints_what_diverged(instant, capsys):
    assert main(["train", "cifar", "--study", "sweep", "--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "held out accuracy 51.00 ± 1.00 %  (n = 3)" in printed
    assert "held out accuracy 51.50 ± 0.71 %  (n = 3, 1 diverged)" in printed
    assert len(load("cifar-sweep", instant)) == 3 * len(cifar.arms("cifar-sweep"))


def test_cifar_of_another_length_is_a_record_apart(instant, capsys):
    assert main(["train", "cifar", "--study", "sweep", "--seeds", "1", "--epochs", "2"]) == 0
    assert [p.name for p in instant.glob("[!.]*")] == ["cifar-sweep-2-epochs.json"]
    assert main(["train", "cifar", "--study", "sweep", "--epochs", "0"]) == 1
    assert "epochs must be at least 1" in capsys.readouterr().err


def test_only_some_arms(instant, capsys):
    command = ["train", "cifar", "--study", "sweep", "--only", "bn-lr0.2", "plain-lr0.1"]
    assert main([*command, "--seeds", "2"]) == 0
    assert len(load("cifar-sweep", instant)) == 4
    assert "bn-lr0.5" not in capsys.readouterr().out
    assert main(["train", "cifar", "--study", "sweep", "--only", "bn-lr7"]) == 1
    assert "no arm bn-lr7; there are plain-lr0.02" in capsys.readouterr().err


def test_the_rates_need_the_sweep(instant, capsys):
    assert main(["train", "cifar"]) == 1
    assert "cifar-sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad", [["--seeds", "0"], ["--jobs", "0"], ["--steps", "-3"], ["--steps", "0"]]
)
def test_bad_numbers(instant, capsys, bad):
    assert main(["train", "mnist", *bad]) == 1
    assert "at least 1" in capsys.readouterr().err
