"""``python -m bn train``: make the records of an experiment, or go on making them."""

import argparse
import importlib
import sys
from typing import Any

import numpy as np

from bn.allocator import tune_allocator
from bn.data import DataError
from bn.experiments import trial
from bn.experiments.record import RecordError, Run, advice, results_dir
from bn.experiments.study import run_study


def run(arguments: argparse.Namespace) -> int:
    """Run one study and print its arms; return the exit code."""
    tune_allocator()  # training makes and drops the same arrays again and again
    # Imported here: CIFAR-10 needs PyTorch, MNIST does not.
    experiment: Any = importlib.import_module(f"bn.experiments.{arguments.experiment}")
    length: int | None = getattr(arguments, arguments.length)
    study = arguments.experiment + (f"-{arguments.study}" if arguments.study else "")
    # A run of another length is another study: it must not replace the book's record.
    name = study if length is None else f"{study}-{length}-{arguments.length}"
    try:
        arms = experiment.arms(study, length)
        if unknown := set(arguments.only or ()) - set(arms):
            print(
                f"train: no arm {', '.join(sorted(unknown))}; there are {', '.join(arms)}",
                file=sys.stderr,
            )
            return 2
        arms = {arm: arms[arm] for arm in arms if arguments.only is None or arm in arguments.only}
        runs = run_study(
            name,
            arms,
            trial.run_task,
            seeds=arguments.seeds,
            jobs=arguments.jobs,
            protocol=experiment.protocol(study),
        )
    except (DataError, RecordError, ValueError, OSError) as error:
        print(f"train: {error}{advice(error)}", file=sys.stderr)
        return 1
    for arm in arms:
        print(f"{arm:24} {_accuracy([run for run in runs if run.arm == arm])}")
    print(f"recorded in {results_dir() / (name + '.json')}")
    return 0


def _accuracy(runs: list[Run]) -> str:
    """Return the accuracy of an arm in words; a run that diverged has none."""
    figure = next((name for name in runs[0].final if name.endswith("accuracy")), None)
    if figure is None:  # a network that was looked at, and not trained
        return f"(n = {len(runs)})"
    values = [value for run in runs if (value := run.final[figure]) is not None]
    text = ""
    if values:
        spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        text = f"{figure.replace('_', ' ')} {100 * np.mean(values):.2f}{spread} %  "
    diverged = len(runs) - len(values)
    return text + f"(n = {len(runs)}" + (f", {diverged} diverged)" if diverged else ")")
