"""Whole training steps: MNIST in NumPy and PyTorch, CIFAR-10 in PyTorch."""

from __future__ import annotations

import functools
from contextlib import ExitStack

from bn.bench.networks import CIFAR_BATCH, CIFAR_FORMS, MNIST_BATCH, MNIST_FORMS, mnist_step
from bn.bench.plan import Item, Result, Section, Settings, columns
from bn.bench.sections.allocation import SETTINGS, Team
from bn.bench.timing import Limits, Timer, measure


def _mnist(limits: Limits) -> Result:
    from threadpoolctl import threadpool_limits

    result = Result()
    with threadpool_limits(1, "blas"):  # as in training: matrices this small want one thread
        timer = Timer({name: mnist_step(name) for name in MNIST_FORMS}, limits.span)
        made = measure(timer, limits)
    result.count("mnist", made)
    result.skipped |= timer.failed
    for name, figure in made.figures.items():
        row = {"network": "mnist", "setting": "default", "contender": name}
        row |= {"title": MNIST_FORMS[name]} | columns(figure)
        rates = {
            "batch_size": MNIST_BATCH,
            "steps_per_s": 1e3 / figure.ms,
            "images_per_s": 1e3 * MNIST_BATCH / figure.ms,
        }
        result.rows.append(row | rates)
    return result


def _cifar(batch_size: int, names: list[str], team: Team, limits: Limits) -> Result:
    from bn.bench.timing import in_turns

    result = Result()
    workers = team.open(limits.span, "cifar", names=names, batch_size=batch_size)
    made = in_turns({name: worker.round for name, worker in workers.items()}, limits)
    for setting, measurement in made.items():
        result.count(f"cifar {setting}", measurement)
        for name, figure in measurement.figures.items():
            row = {"network": "cifar", "setting": setting, "contender": name}
            row |= {"setting_title": SETTINGS[setting][0], "title": CIFAR_FORMS[name].title}
            rates = {
                "batch_size": batch_size,
                "steps_per_s": 1e3 / figure.ms,
                "images_per_s": 1e3 * batch_size / figure.ms,
            }
            result.rows.append(row | columns(figure) | rates)
    result.skipped |= team.failed
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    chosen = ("default",) if settings.quick else ("default", "tuned")
    team = Team(stack, chosen, settings.variables)
    names = ["torch-float32", "ours-float32"] if settings.quick else list(CIFAR_FORMS)
    batch_size = 4 if settings.quick else CIFAR_BATCH
    return [
        Item("MNIST", _mnist, 0.5),
        Item("CIFAR-10", functools.partial(_cifar, batch_size, names, team), 2.0),
    ]


SECTION = Section("training", "Training steps of whole networks", _items)
