"""Words that compare measured numbers, held to the record.

The role ``{claim}`` prints its words and checks a condition on a number of a record, which is
written as in ``{result}`` or ``{bench}``, without a format::

    {claim}`several times fewer steps <result mnist-paper: plain / bn: steps_to_90; > 3>`
    {claim}`nearly twice as fast <bench layers: 8x4x2x2 both torch/numba: ms; 1.7 .. 2.0>`

=========  ======================================================================================
``> x``    the 95 % interval of the mean lies above x (of a time: so do the quartiles)
``< x``    below x
``a .. b`` the mean (of a time: the median) lies between
``~ x``    the 95 % interval holds x: the arms cannot be told apart
=========  ======================================================================================

Where arms are compared, the study must keep the rules of :mod:`bn.experiments.protocol`. A
condition that ends with ``, n = 3`` admits three seeds, which the page then has to say, and one
that ends with ``, despite metric`` a breach of the rule of that name, likewise. A claim that
fails, fails the build.

The directive ``{numbers}`` says on each page that quotes records what ``±``, brackets and n mean;
a page without it is an error. ``{rules}`` and ``{protocols}`` print the rules, and which study
keeps them how.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import bench
import result
from docutils import nodes
from result import RESULTS, RecordRole
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bn.experiments import protocol, record
from bn.experiments.protocol import RULES, Protocol
from bn.experiments.record import RecordError

FORM = re.compile(r"(?s)\s*(.+?)\s*<\s*(result|bench)\s+(.+?)\s*;\s*(.+?)\s*>\s*")
CONDITION = re.compile(r"(?:([<>~])\s*(\S+)|(\S+)\s*\.\.\s*(\S+))")
EXTRA = re.compile(r"n = (\d+)|despite (.+)")
SETTINGS = {
    "varied": "It compares no arms: it is a sweep, or describes single networks.",
    "same": "All arms share the settings that are not compared.",
}
HOW = "how-we-compare"

logger = logging.getLogger(__name__)


class Value(NamedTuple):
    """What a condition is about: a number, and the interval that holds it."""

    value: float
    low: float
    high: float
    origin: str


def check(text: str, folder: Path | None = None) -> tuple[str, str]:
    """Return the words of a claim and where they come from.

    Raises
    ------
    RecordError
        If the record does not carry the words, or the claim cannot be read.
    """
    parts = FORM.fullmatch(text)
    if parts is None:
        raise RecordError(f"expected 'words <result ...; condition>', got {text!r}")
    words, kind, key, rest = parts.groups()
    condition, *extras = [each.strip() for each in rest.split(",")]
    few, despite = None, set()
    for extra in extras:
        found = EXTRA.fullmatch(extra)
        if found is None or (found[2] and found[2] not in RULES):
            raise RecordError(f"expected 'n = 3' or 'despite' and a rule, got {extra!r}")
        if found[1]:
            few = int(found[1])
        else:
            despite.add(found[2])
    if kind == "bench":
        if extras:
            raise RecordError(f"{', '.join(extras)!r} is for records of runs")
        value = Value(*bench.quantity(key, folder)[:4])
    else:
        value = _of_record(key, few, despite, folder)
    if not _holds(condition, value):
        raise RecordError(
            f"{' '.join(words.split())!r} asks for {condition}, but {key} is {value.value:.4g}, "
            f"between {value.low:.4g} and {value.high:.4g}"
        )
    shown = f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}], {value.origin}"
    return " ".join(words.split()), shown


def _of_record(key: str, few: int | None, despite: set[str], folder: Path | None) -> Value:
    """Return a number of a record; refuse a comparison that breaks a rule."""
    study, arms, figure, _ = result.parse(key)
    runs = record.load(study, folder or RESULTS)
    sides = [record.summarize(runs, arm, figure) for arm in arms[::2]]
    summary = sides[0]
    if len(sides) == 2:
        summary = record.paired(sides[0], sides[1], result.COMBINE[arms[1]])
    if few is not None:
        if few != summary.n:
            raise RecordError(f"the claim says n = {few}, {study} has {summary.n} seeds")
        despite = despite | {"seeds"}
    if len(sides) == 1:
        found = {"seeds": f"{summary.n} seeds"} if summary.n < protocol.ENOUGH else {}
    else:
        found = protocol.breaches(study, arms[::2], figure, folder or RESULTS)
    if broken := {rule: what for rule, what in found.items() if rule not in despite}:
        rules = "; ".join(f"{rule}: {what}" for rule, what in broken.items())
        raise RecordError(f"{study} may not carry such words about {figure} ({rules})")
    if unneeded := despite - set(found):
        raise RecordError(f"'despite {', '.join(unneeded)}' is not needed: {study} keeps it")
    return Value(
        summary.mean, *summary.interval, result.origin(summary.runs, study, result.INTERVAL)
    )


def _holds(condition: str, value: Value) -> bool:
    found = CONDITION.fullmatch(condition)
    try:
        if found is None:
            raise ValueError
        sign, *numbers = found[1], *(float(n) for n in found.groups()[1:] if n is not None)
    except ValueError:
        raise RecordError(f"expected > x, < x, ~ x or a .. b, got {condition!r}") from None
    if sign is None:
        return bool(numbers[0] <= value.value <= numbers[1])
    if sign == "~":
        return value.low <= numbers[0] <= value.high
    return value.low > numbers[0] if sign == ">" else value.high < numbers[0]


class ClaimRole(RecordRole):
    """``{claim}``, described above."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            words, origin = check(self.text)
        except RecordError as error:
            return self.fail(error)
        for path in [*RESULTS.glob("*.json"), *RESULTS.glob("bench/*.json")]:
            if re.search(rf"<\s*(result|bench)\s+{re.escape(path.stem)}\s*:", self.text):
                self.env.note_dependency(str(path))
        inner = nodes.inline(words, words)
        return [nodes.abbreviation("", "", inner, explanation=origin, classes=["claim"])], []


class numbers(nodes.paragraph):  # type: ignore[misc]  # noqa: N801 (docutils' own form)
    """What the numbers of a page mean; filled when the page has been read."""


class Numbers(SphinxDirective):
    """``{numbers}``, described above."""

    def run(self) -> list[nodes.Node]:
        return [numbers(classes=["numbers"])]


def explain(app: Sphinx, doctree: nodes.document) -> None:
    """Fill in ``{numbers}``; complain of a page that quotes records and does not have it."""
    quoted: dict[int, set[str]] = {}
    for node in doctree.findall(nodes.abbreviation):
        if "study" in node:
            quoted.setdefault(node["n"], set()).add(node["study"])
    places = list(doctree.findall(numbers))
    if quoted and not places and app.config.numbers_required:
        logger.warning(
            "this page quotes records and lacks the directive numbers", location=app.env.docname
        )
    for place in places:
        if not quoted:
            logger.warning("numbers: the page quotes no record", location=place)
        most = max(quoted, key=lambda n: len(quoted[n]), default=0)
        others = [
            f"n = {n} for {', '.join(sorted(quoted[n]))}" for n in sorted(quoted) if n != most
        ]
        seeds = f"n = {most}" + (f" seeds, {' and '.join(others)}" if others else " seeds")
        text = (
            f"A number a ± b is the mean and the standard deviation over {seeds}; a [b, c] is the "
            "mean of differences or quotients taken seed by seed, with its 95 % interval. "
        )
        place += nodes.Text(text)
        place += addnodes.pending_xref(
            "", nodes.inline("", "How settings were chosen"), refdomain="std", reftype="doc",
            reftarget=f"/book/{HOW}", refexplicit=True, refwarn=True, refdoc=app.env.docname,
        )  # fmt: skip
        place += nodes.Text(" is the same for all of them.")


class Rules(SphinxDirective):
    """``{rules}``: the rules that the build holds a comparison to."""

    def run(self) -> list[nodes.Node]:
        out = nodes.enumerated_list(enumtype="arabic", prefix="", suffix=".")
        for text in RULES.values():
            out += nodes.list_item("", nodes.paragraph("", text))
        return [out]


class Protocols(SphinxDirective):
    """``{protocols}``: every study, what it compares, and how its settings came about."""

    def run(self) -> list[nodes.Node]:
        out = nodes.definition_list()
        try:
            for path in sorted(RESULTS.glob("*.json")):
                self.env.note_dependency(str(path))
                out += self.entry(path.stem)
        except RecordError as error:
            raise self.error(f"protocols: {error}") from error
        return [out]

    def entry(self, study: str) -> nodes.definition_list_item:
        """Describe one study."""
        stated, runs = Protocol.of(study, RESULTS), record.load(study, RESULTS)
        link = addnodes.pending_xref(
            "", nodes.inline(study, study), refdomain="std", reftype="ref",
            reftarget=f"record-{study}", refexplicit=True, refwarn=True, refdoc=self.env.docname,
        )  # fmt: skip
        by_arm = itertools.groupby(runs, key=lambda run: run.arm)
        seeds = sorted({len(list(group)) for _, group in by_arm})
        settings = SETTINGS.get(stated.settings) or (
            f"Each arm has the settings with the best {stated.chosen_by.replace('_', ' ')} in "
            f"{stated.sweep}."
        )
        text = (
            f"{stated.compares[0].upper()}{stated.compares[1:]}. {settings} "
            f"Seeds of each arm: {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}."
        )
        if stated.exceptions:
            text += " Exceptions: " + " ".join(stated.exceptions.values())
        item = nodes.definition_list_item()
        item += nodes.term("", "", link)
        item += nodes.definition("", nodes.paragraph("", text))
        return item


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the directives."""
    app.add_node(numbers, html=(_visit, _depart))
    app.add_role("claim", ClaimRole())
    app.add_directive("numbers", Numbers)
    app.add_directive("rules", Rules)
    app.add_directive("protocols", Protocols)
    app.add_config_value("numbers_required", True, "env", types=[bool])
    app.connect("doctree-read", explain)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _visit(self: Any, node: numbers) -> None:
    self.visit_paragraph(node)


def _depart(self: Any, node: numbers) -> None:
    self.depart_paragraph(node)
