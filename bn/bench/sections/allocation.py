"""The same layer under different settings of the memory allocator, page faults counted."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any

from bn.bench.cases import IMAGES, SMALL_SHAPES, name_of
from bn.bench.contenders import BY_NAME
from bn.bench.plan import Item, Result, Section, Settings, columns
from bn.bench.timing import Limits, in_turns
from bn.bench.worker import Worker, WorkerError

NAMES = ("torch", "torch-last", "numba", "bn-auto")
#: Setting: title, variables of the environment, whether to tune.
SETTINGS: dict[str, tuple[str, dict[str, str], bool]] = {
    "default": ("malloc as it is", {}, False),
    "tuned": ("bn.tune_allocator()", {}, True),
    "huge-pages": ("THP_MEM_ALLOC_ENABLE=1", {"THP_MEM_ALLOC_ENABLE": "1"}, False),
}


class Team:
    """A worker for each setting, started when it is first needed.

    `variables` are set in the environment of all of them.
    """

    def __init__(
        self, stack: ExitStack, settings: tuple[str, ...], variables: dict[str, str]
    ) -> None:
        self.stack = stack
        self.settings = settings
        self.variables = variables
        self.workers: dict[str, Worker] = {}
        self.failed: dict[str, str] = {}

    def open(self, span: float, subject: str, **arguments: Any) -> dict[str, Worker]:
        """Let each prepare what is to be timed; return the workers that could."""
        if not self.workers and not self.failed:
            for setting in self.settings:
                _, environment, tune = SETTINGS[setting]
                worker = Worker(environment | self.variables, tune)
                self.workers[setting] = self.stack.enter_context(worker)
        for setting, worker in list(self.workers.items()):
            try:
                answer = worker.ask(open=subject, span=span, arguments=arguments)
            except WorkerError as error:
                self.failed[setting] = str(error)
                del self.workers[setting]
                continue
            for name, why in answer["failed"].items():
                self.failed[f"{setting}, {name}"] = why
        return dict(self.workers)


def _run(shape: tuple[int, ...], team: Team, limits: Limits) -> Result:
    result = Result()
    missing = {name: why for name in NAMES if (why := BY_NAME[name].problem())}
    names = [name for name in NAMES if name not in missing]
    workers = team.open(limits.span, "layers", shape=shape, names=names)
    made = in_turns({name: worker.round for name, worker in workers.items()}, limits)
    for setting, measurement in made.items():
        result.count(f"{setting} {name_of(shape)}", measurement)
        for name, figure in measurement.figures.items():
            row = {"shape": name_of(shape), "setting": setting, "contender": name}
            titles = {"setting_title": SETTINGS[setting][0], "title": BY_NAME[name].title}
            result.rows.append(row | titles | columns(figure))
            if "torch" in measurement.figures:
                ratio = figure.ms / measurement.figures["torch"].ms
                result.rows[-1]["ratio_to_torch"] = ratio
    result.skipped = missing | team.failed
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    chosen = ("default", "tuned") if settings.quick else tuple(SETTINGS)
    team = Team(stack, chosen, settings.variables)
    shapes = SMALL_SHAPES[1:] if settings.quick else IMAGES
    return [Item(name_of(shape), functools.partial(_run, shape, team)) for shape in shapes]


SECTION = Section("allocation", "The memory allocator, forward and backward", _items)
