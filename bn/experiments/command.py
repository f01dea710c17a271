"""``python -m bn train``: make the records of an experiment, or go on making them."""

import argparse
import sys

import numpy as np

from bn.data import DataError
from bn.experiments import mnist
from bn.experiments.record import RecordError, results_dir, summarize
from bn.experiments.study import run_study


def run(arguments: argparse.Namespace) -> int:
    """Run one study and print its arms; return the exit code."""
    study = f"mnist-{arguments.study}"
    try:
        arms = mnist.arms(study, arguments.steps)
        # A run of another length is another study: it must not replace the book's record.
        name = study if arguments.steps is None else f"{study}-{arguments.steps}-steps"
        runs = run_study(name, arms, mnist.run_task, seeds=arguments.seeds, jobs=arguments.jobs)
    except (DataError, RecordError, ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    for arm in arms:
        accuracy = summarize(runs, arm, "test_accuracy")
        spread = "" if np.isnan(accuracy.std) else f" ± {100 * accuracy.std:.2f}"
        print(f"{arm:24} test accuracy {100 * accuracy.mean:.2f}{spread} %  (n = {accuracy.n})")
    print(f"recorded in {results_dir() / (name + '.json')}")
    return 0
