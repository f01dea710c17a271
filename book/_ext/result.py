"""Measured numbers in the prose, read from the records.

The role ``{result}`` takes a study, an arm and a figure, and a format if the default will not
do::

    {result}`mnist-paper: bn: test_accuracy: percent`
    {result}`mnist-paper: bn - plain: test_accuracy: points`
    {result}`mnist-paper: plain / bn: steps_to_90: .1f`

and gives the mean and the standard deviation over seeds, labelled where there are fewer than
five, with the origin in a tooltip and a link to the record. A difference or a quotient of two
arms is taken seed by seed, and comes with the 95 % interval of its mean in brackets. Settings
are quoted by ``{setting}`study: arm: name```. An unknown key is an error, which fails the build.
The directive ``{records}`` prints a whole study; with ``:across: 3`` no table has more than
three arms side by side, and with ``:decimals: 4`` figures that are small and no accuracies have
four decimals instead of two.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import labels
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from bn.experiments import record
from bn.experiments.record import RecordError, Run, Summary

RESULTS = Path(__file__).resolve().parents[2] / "results"
COMBINE: dict[str, Callable[[float, float], float]] = {
    "-": operator.sub,
    "/": operator.truediv,
}
#: Name of a format: factor, decimals, unit.
FORMATS = {
    "percent": (100.0, 1, " %"),
    "percent2": (100.0, 2, " %"),
    "points": (100.0, 1, " points"),
    "points2": (100.0, 2, " points"),
    "integer": (1.0, 0, ""),
}


def parse(text: str) -> tuple[str, list[str], str, str]:
    """Split ``study: arm [op arm]: figure[: format]``; arms come as [arm] or [arm, op, arm]."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in (3, 4) or not all(parts):
        raise RecordError(f"expected 'study: arm: figure[: format]', got {text!r}")
    arms = parts[1].split()
    if len(arms) not in (1, 3) or (len(arms) == 3 and arms[1] not in COMBINE):
        raise RecordError(f"expected an arm, or 'arm - arm' or 'arm / arm', got {parts[1]!r}")
    return parts[0], arms, parts[2], parts[3] if len(parts) == 4 else ".3g"


class Quoted(NamedTuple):
    """A number as text, where it comes from, its study and how many seeds it rests on."""

    text: str
    origin: str
    study: str
    n: int


def look_up(text: str, folder: Path = RESULTS) -> Quoted:
    """Return what a role prints."""
    study, arms, figure, form = parse(text)
    runs = record.load(study, folder)
    summary = record.summarize(runs, arms[0], figure)
    paired = len(arms) == 3
    if paired:
        second = record.summarize(runs, arms[2], figure)
        summary = record.paired(summary, second, COMBINE[arms[1]])
    shown = format_summary(summary, form, paired=paired)
    source = origin(summary.runs, study, INTERVAL if paired else DEVIATION)
    return Quoted(shown, source, study, summary.n)


def format_summary(summary: Summary, form: str, *, paired: bool = False) -> str:
    """Write mean ± standard deviation, or, of a `paired` figure, the mean and its 95 % interval.

    n is added where it is below five.
    """
    values = (summary.mean, *(summary.interval if paired else (summary.std,)))
    if form in FORMATS:
        factor, decimals, unit = FORMATS[form]
        numbers = [f"{factor * v:,.{decimals}f}" for v in values]
    else:
        unit = ""
        try:
            numbers = [format(v, form) for v in values]
        except ValueError as error:
            raise RecordError(f"format {form!r}: {error}") from error
    numbers = [number.replace(",", "\u202f").replace("-", "\u2212") for number in numbers]
    text = numbers[0]
    if summary.n > 1:
        text += f" [{numbers[1]}, {numbers[2]}]" if paired else f" ± {numbers[1]}"
    return text + unit.replace(" ", "\u202f") + (f" (n = {summary.n})" if summary.n < 5 else "")


#: What a number is over seeds: alone, or as a difference, a quotient or what a claim rests on.
DEVIATION = "Mean ± standard deviation"
INTERVAL = "Mean and its 95 % interval"


def origin(runs: Iterable[Run], study: str, over_seeds: str = DEVIATION) -> str:
    """Say in one line what a number is `over_seeds`, and where it comes from."""
    runs = list(runs)
    seeds = sorted({run.seed for run in runs})

    def all_of(key: str) -> str:
        return " and ".join(sorted({run.provenance[key] for run in runs}))

    has_torch = all("torch" in run.provenance for run in runs)
    torch = f"PyTorch {all_of('torch')} in {all_of('precision')}, " if has_torch else ""
    return (
        f"{over_seeds} over {len(seeds)} seed{'s' * (len(seeds) > 1)} "
        f"({', '.join(map(str, seeds))}). Record {study}: {all_of('device')}, "
        f"Python {all_of('python')}, NumPy {all_of('numpy')}, {torch}commit {all_of('commit')}, "
        f"{all_of('date')}."
    )


class RecordRole(SphinxRole):
    """What the roles that read a record have in common."""

    def fail(self, error: Exception) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Report an error, which fails a build with warnings as errors."""
        message = self.inliner.reporter.error(f"{self.name}: {error}", line=self.lineno)
        return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


class ResultRole(RecordRole):
    """``{result}``, described above."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            text, source, study, n = look_up(self.text)
        except RecordError as error:
            return self.fail(error)
        self.env.note_dependency(str(RESULTS / f"{study}.json"))
        link = addnodes.pending_xref(
            "", nodes.inline(text, text), refdomain="std", reftype="ref",
            reftarget=f"record-{study}", refexplicit=True, refwarn=True, refdoc=self.env.docname,
        )  # fmt: skip
        return [
            nodes.abbreviation(
                "", "", link, explanation=source, classes=["result"], study=study, n=n
            )
        ], []


class SettingRole(RecordRole):
    """``{setting}``: a value of the configuration that all runs of an arm share."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            study, arms, name, _ = parse(self.text)
            values = {r.config[name] for r in record.load(study, RESULTS) if r.arm == arms[0]}
            if len(values) != 1:
                raise RecordError(f"{name!r} has {len(values)} values in arm {arms[0]!r}")
            value = values.pop()
            text = f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:g}"
        except (RecordError, KeyError) as error:
            return self.fail(error)
        self.env.note_dependency(str(RESULTS / f"{study}.json"))
        return [nodes.inline(text, text)], []


class RecordsDirective(SphinxDirective):
    """Print the record of one study: where it was run, every arm, every figure."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012 (docutils' own form)
        "figures": directives.unchanged_required,
        "settings": directives.unchanged_required,
        "grid": directives.unchanged_required,
        "across": directives.positive_int,
        "decimals": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        study = self.arguments[0]
        try:
            runs = record.load(study, RESULTS)
            tables: list[nodes.Node] = []
            if "figures" in self.options:
                settings = self.options.get("settings", "lr std steps").split()
                figures = self.options["figures"].split()
                decimals = self.options.get("decimals", 2)
                for part in _parts(runs, self.options.get("across")):
                    tables.append(_arms(part, settings, figures, decimals, of=runs))
            if "grid" in self.options:
                of_two = all("std" in run.config for run in runs)
                for figure in self.options["grid"].split():
                    tables += (_grids if of_two else _rates)(runs, figure)
        except RecordError as error:
            raise self.error(f"records: {error}") from error
        path = RESULTS / f"{study}.json"
        self.env.note_dependency(str(path))
        paragraph = nodes.paragraph("", origin(runs, study) + " ")
        paragraph += addnodes.download_reference(
            "", nodes.Text("All runs, as JSON"), reftarget=f"/results/{path.name}",
            refdoc=self.env.docname,
        )  # fmt: skip
        paragraph += nodes.Text(".")
        return [paragraph, *tables]


def _parts(runs: list[Run], across: int | None) -> list[list[Run]]:
    """Split runs into as few parts as have at most `across` arms, in order and of even size."""
    arms = list(dict.fromkeys(run.arm for run in runs))
    count = math.ceil(len(arms) / (across or len(arms)))
    ends = [math.ceil(len(arms) * part / count) for part in range(count + 1)]
    groups = [arms[start:end] for start, end in itertools.pairwise(ends)]
    return [[run for run in runs if run.arm in group] for group in groups]


def _arms(
    runs: list[Run],
    settings: list[str],
    figures: list[str],
    decimals: int = 2,
    of: list[Run] | None = None,
) -> nodes.table:
    """One column an arm, one row a setting or a figure: few arms fit on a phone that way.

    A figure that none of `runs` has is refused only where none in the study `of` has it, either.
    """
    arms = {run.arm: run for run in runs}
    rows = [["", *(_words(labels.arm, arm) for arm in arms)]]
    for name in settings:
        if missing := [arm for arm, run in arms.items() if name not in run.config]:
            raise RecordError(f"{name!r} is no setting of {', '.join(missing)}")
        values = (
            _std(*_start(run)) if name == "std" else f"{run.config[name]:g}"
            for run in arms.values()
        )
        rows.append([_words(labels.setting, name), *values])
    rows.append(["seeds", *(str(sum(r.arm == arm for r in runs)) for arm in arms)])
    for figure in figures:
        has = {run.arm for run in runs if figure in run.final}
        if not any(figure in run.final for run in of or runs):
            raise RecordError(f"no run has the figure {figure!r}")
        cells = [
            _cell(runs, arm, figure, decimals) if arm in has else "–"
            for arm in arms  # not every arm has every figure
        ]
        rows.append([_words(labels.figure, figure), *cells])
    return _table(rows)


def _grids(runs: list[Run], figure: str) -> list[nodes.Node]:
    """A table for each kind of network: learning rate across, initial weights down."""
    out: list[nodes.Node] = []
    for batch_norm, title in ((False, "Without BN"), (True, "With BN")):
        arms = {
            (_start(run), run.config["lr"]): run.arm
            for run in runs
            if run.config["batch_norm"] == batch_norm
        }
        rates = sorted({lr for _, lr in arms})
        rows = [["initial std", *(f"{lr:g}" for lr in rates)]]
        for start in sorted({start for start, _ in arms}):
            rows.append([_std(*start), *(_cell(runs, arms[start, lr], figure) for lr in rates)])
        text = (
            f"{title}: {_words(labels.figure, figure)}, by the standard deviation of the initial "
            "weights (rows; n is the number of a layer's inputs) and learning rate (columns)."
        )
        # on a phone it scrolls in its box, where nine columns would have no room to be read
        out += [nodes.paragraph("", text), _table(rows, "wide")]
    return out


def _std(fan_in: bool, std: float) -> str:
    """Write how the weights were drawn; n is a layer's number of inputs."""
    return f"{std:g}/√n" if fan_in else f"{std:g}"


def _start(run: Run) -> tuple[bool, float]:
    """Return how a run's weights were drawn, in the order of a table."""
    return bool(run.config.get("fan_in")), run.config["std"]


def _rates(runs: list[Run], figure: str) -> list[nodes.Node]:
    """One table: learning rate down, without and with batch norm across."""
    alike = [run for run in runs if not run.config.get("other_lr")]  # all parameters have the rate
    arms = {(run.config["lr"], run.config["batch_norm"]): run.arm for run in alike}
    rows = [["learning rate", "without BN", "with BN"]]
    for lr in sorted({lr for lr, _ in arms}):
        rows.append([f"{lr:g}", *(_cell(runs, arms[lr, kind], figure) for kind in (False, True))])
    name = _words(labels.figure, figure)
    title = f"{name[:1].upper()}{name[1:]}, by learning rate."
    return [nodes.paragraph("", title), _table(rows)]


def _words(label: Callable[[str], str], key: str) -> str:
    """Return what a key is called, or the key; a test has words for all that is recorded."""
    try:
        return label(key)
    except labels.LabelError:
        return key


def _cell(runs: list[Run], arm: str, figure: str, decimals: int = 2) -> str:
    """Return a figure of an arm; where some of its runs diverged, of the others."""
    chosen = [run for run in runs if run.arm == arm]
    sound = [run for run in chosen if not run.final.get("diverged")]
    if not sound:
        return "diverged"
    if len(sound) < len(chosen):
        rest = f", {len(chosen) - len(sound)} of {len(chosen)} diverged"
        return _number(record.summarize(sound, arm, figure), figure, decimals) + rest
    return _number(record.summarize(chosen, arm, figure), figure, decimals)


def _number(summary: Summary, figure: str, decimals: int) -> str:
    if "accuracy" in figure:
        return format_summary(summary, "percent")
    return format_summary(summary, "integer" if summary.mean >= 100 else f".{decimals}f")


def _table(rows: list[list[str]], *classes: str) -> nodes.table:
    group = nodes.tgroup(cols=len(rows[0]))
    group += [nodes.colspec(colwidth=1) for _ in rows[0]]
    parts = (nodes.thead(), rows[:1]), (nodes.tbody(), rows[1:])
    for part, content in parts:
        for cells in content:
            row = nodes.row()
            row += [nodes.entry("", nodes.paragraph("", cell)) for cell in cells]
            part += row
        group += part
    table: nodes.table = nodes.table("", group, classes=list(classes))
    return table


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the roles and the directive."""
    app.add_role("result", ResultRole())
    app.add_role("setting", SettingRole())
    app.add_directive("records", RecordsDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
