"""``python -m bn bench``: measure, print, record."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm import tqdm

from bn.bench import machine, records
from bn.bench.plan import Item, Result, Section, Settings
from bn.bench.reaches import Reach, judge
from bn.bench.report import report
from bn.bench.rounds import DISTURBED, ENOUGH
from bn.bench.sections import SECTIONS
from bn.bench.sections.bandwidth import copy_bandwidth
from bn.bench.timing import SPAN, Limits, brief
from bn.experiments.record import RecordError, advice


def run(arguments: argparse.Namespace) -> int:
    """Measure the sections that were asked for; return the exit code.

    An interruption is raised again, after what was measured has been reported.
    """
    unknown = set(arguments.only or ()) - set(SECTIONS)
    if unknown:
        print(
            f"bench: no section {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}",
            file=sys.stderr,
        )
        return 2
    chosen = [section for name, section in SECTIONS.items() if name in (arguments.only or SECTIONS)]
    bench = Bench(chosen, Settings(arguments.quick), arguments.rounds, arguments.seconds)
    interruption = None
    try:
        bench.run()
    except KeyboardInterrupt as error:
        interruption = error
    except OSError as error:  # of a record; what fails within an item is kept there
        print(f"bench: {error}{advice(error)}", file=sys.stderr)
        return 1
    made = bench.made
    reaches = [] if arguments.quick else _write_reaches()
    if arguments.json:
        print(json.dumps(records.plain({"records": made, "reaches": as_dicts(reaches)})))
    else:
        print(report(made, reaches, bench.missing))
    for path in bench.written:
        print(f"recorded in {path}", file=sys.stderr)
    if interruption is not None:
        print("what was measured so far is recorded, and nothing else", file=sys.stderr)
        raise interruption
    return 0


class Bench:
    """One run: sections, items, a time limit for all of them together."""

    def __init__(
        self, sections: Sequence[Section], settings: Settings, rounds: int, seconds: float
    ) -> None:
        self.sections = sections
        self.settings = settings
        self.rounds = 2 if settings.quick else rounds
        self.span = 0.02 if settings.quick else SPAN
        self.most = 2 if settings.quick else 1000
        self.end = time.perf_counter() + seconds
        self.seconds = seconds
        self.made: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.written: list[str] = []

    def run(self) -> None:
        """Measure everything; a record is written after each section."""
        self.machine = machine.describe()
        with ExitStack() as stack:
            if self.settings.quick:
                stack.enter_context(_one_thread())
            plan: list[tuple[Section, list[Item]]] = []
            for section in self.sections:
                if (why := section.problem()) is not None:
                    self.missing[section.name] = why
                else:
                    plan.append((section, section.items(self.settings, stack)))
            left = sum(item.weight for _, items in plan for item in items)
            total = sum(len(items) for _, items in plan)
            with tqdm(total=total, unit=" steps", file=sys.stderr) as bar:
                for section, items in plan:
                    with self._recorded(section, len(items)) as results:
                        for item in items:
                            bar.set_description(f"{section.name}: {item.label}")
                            share = max(1.0, self.end - time.perf_counter()) * item.weight / left
                            results[item.label] = self._measured(item, share)
                            left -= item.weight
                            bar.update()

    def _measured(self, item: Item, seconds: float) -> Result:
        try:
            return item.run(Limits(self.rounds, seconds, self.span, self.most))
        except Exception as error:  # the other sections can still be measured
            return Result(skipped={item.label: brief(error)})

    @contextmanager
    def _recorded(self, section: Section, wanted: int) -> Iterator[dict[str, Result]]:
        """Write the record of a section, also if it is cut short."""
        results: dict[str, Result] = {}
        start = time.perf_counter()
        try:
            yield results
        finally:
            if any(made.rows for made in results.values()):
                copy = copy_bandwidth(self.settings.quick)
                settings = {
                    "quick": self.settings.quick,
                    "rounds": self.rounds,
                    "round_seconds": self.span,
                    "seconds": self.seconds,
                    "dropped_above": DISTURBED,
                    "enough_rounds": ENOUGH,
                    "copy_gb_per_s": copy.rate / 1e9,
                    "copy_quiet": copy.quiet,
                }
                made = records.record(
                    section.name,
                    section.title,
                    results,
                    machine=self.machine,
                    settings=settings,
                    seconds=time.perf_counter() - start,
                    complete=len(results) == wanted,
                )
                self.made[section.name] = made
                self.written.append(str(records.save(made)))


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_dicts(reaches: Sequence[Reach]) -> list[dict[str, Any]]:
    """Return what was to be reached as JSON takes it."""
    return [each.to_dict() for each in reaches]


def _write_reaches() -> list[Reach]:
    """Judge all full records there are, those of earlier runs too, and write the outcome."""
    known = {}
    for name in SECTIONS:
        try:
            known[name] = records.load(name)
        except RecordError:
            continue
    reaches = judge({name: made["rows"] for name, made in known.items()})
    made = {
        "schema": records.SCHEMA,
        "section": "reaches",
        "title": "What was to be reached",
        "quick": False,
        "complete": True,
        "measured": [
            {"section": name, "date": made["machine"]["date"], "commit": made["machine"]["commit"]}
            for name, made in known.items()
        ],
        "rows": as_dicts(reaches),
    }
    if known:
        records.save(made)
    return reaches
