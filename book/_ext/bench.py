"""Measured times in the prose, and tables of them, read from the records of ``make bench``.

The role ``{bench}`` takes a section of the bench, the words that pick one row of its record, a
figure of that row, and a format if the default will not do::

    {bench}`layers: 128x64x32x32 both torch: ms: .1f`
    {bench}`layers: 128x64x32x32 both numba-out/torch: ms: .2f`
    {bench}`bandwidth: torch-copy: gb_per_s: .0f`
    {bench}`layers: machine: caches.L2`

A word picks the rows that have it in one of the columns IDENTITY. The words must leave one row
that has the figure; ``a/b`` picks two, and gives the quotient of their figures. The tooltip says
how many rounds the median is of, between which quartiles, on what machine, when and with which
commit. A number is labelled if it rests on few rounds, or on such as others disturbed. What is
not there is an error, which fails the build.

Words that compare take the same: :func:`quantity` gives the value, and between what it lies from
quartile to quartile, for the role ``{claim}``::

    {claim}`twice as fast <bench layers: 8x4x2x2 both torch/numba: ms; 1.8 .. 2.2>`

The directive ``{bench-records}`` lists the sections, each with its file, and ``{bench-reaches}``
what the figures were meant to reach.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from conformance import _table
from docutils import nodes
from result import RESULTS, RecordRole
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bn.bench import records
from bn.bench.rounds import ENOUGH
from bn.experiments.record import RecordError

#: The columns that say what a row is about, and not what was measured.
IDENTITY = (
    "shape", "operation", "contender", "kind", "network", "setting", "axis", "size", "dtype",
    "mean", "name",
)  # fmt: skip
#: Figures of timed rows that are no times: nobody else can disturb them.
COUNTED = ("faults",)
LABEL = "record-bench"
#: Figures that are proportional to a time, and such as are inversely so.
TIMES, RATES = ("ms", "passes"), ("gb_per_s", "images_per_s", "steps_per_s")
#: Percent of the width of the table of aims for its first column: what a phone leaves for it.
FIRST = 46
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Row = dict[str, Any]


class Quoted(NamedTuple):
    """A number as text, where it comes from, and the section it is of."""

    text: str
    origin: str
    section: str


class Quantity(NamedTuple):
    """A number that words are compared with.

    `low` and `high` are where it comes to from the quartiles of a time; of two times that are
    divided, from the quartiles that are furthest apart. What is no time lies at one point.
    """

    value: float
    low: float
    high: float
    origin: str
    section: str


def load(section: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the record of a section of the bench."""
    path = (folder or RESULTS) / "bench" / records.file_name(section)
    try:
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if made["schema"] != records.SCHEMA or not isinstance(made["rows"], list):
            raise ValueError(f"schema is {made['schema']}, expected {records.SCHEMA}")
    except FileNotFoundError as error:
        known = sorted(p.stem for p in path.parent.glob("*.json"))
        raise RecordError(
            f"there is no bench of {section!r}; known: {', '.join(known) or 'none'}; "
            "`make bench` measures them"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path.name} is not a record of the bench: {error}") from error
    return made


def parse(text: str) -> tuple[str, list[str], str, str]:
    """Split ``section: words: figure[: format]``."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in (3, 4) or not all(parts):
        raise RecordError(f"expected 'section: words: figure[: format]', got {text!r}")
    return parts[0], parts[1].split(), parts[2], parts[3] if len(parts) == 4 else ".3g"


def pick(rows: list[Row], words: list[str], figure: str) -> Row:
    """Return the one row that has all words and the figure."""

    def has(row: Row, word: str) -> bool:
        return any(column in row and _word(row[column]) == word for column in IDENTITY)

    for word in words:
        if not any(has(row, word) for row in rows):
            raise RecordError(f"no row is of {word!r}; known: {_known(rows)}")
    chosen = [row for row in rows if all(has(row, word) for word in words)]
    if not chosen:
        raise RecordError(f"no row is of {' '.join(words)!r} together")
    found = [row for row in chosen if row.get(figure) is not None]
    if not found:
        raise RecordError(f"{figure!r} is missing; known: {', '.join(sorted(chosen[0]))}")
    if len(found) > 1:
        raise RecordError(
            f"{len(found)} rows are of {' '.join(words)!r}; say which: {_known(found)}"
        )
    return found[0]


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _known(rows: list[Row]) -> str:
    """List what tells rows apart."""
    columns = {
        column: sorted({_word(row[column]) for row in rows if column in row}) for column in IDENTITY
    }
    return "; ".join(
        f"{name}: {', '.join(values)}" for name, values in columns.items() if len(values) > 1
    )


def look_up(text: str, folder: Path | None = None) -> Quoted:
    """Return what a ``{bench}`` role quotes."""
    section, words, figure, form = parse(text)
    made = load(section, folder)
    if words in (["machine"], ["settings"]):
        return Quoted(_fact(made[words[0]], figure, form), f"{origin(made)}.", section)
    rows = [pick(made["rows"], each, figure) for each in _sides(words)]
    value = _divided([_bounds(row, figure) for row in rows])[0]
    text = number(value, form) + _label(rows, figure)
    return Quoted(text, _origin(made, rows, figure), section)


def quantity(text: str, folder: Path | None = None) -> Quantity:
    """Return what ``section: words: figure`` is, and between what it lies.

    Raises
    ------
    RecordError
        If it is not there, or others used the machine while it was measured: words can carry no
        label that says so.
    """
    section, words, figure, _ = parse(text)
    made = load(section, folder)
    rows = [pick(made["rows"], each, figure) for each in _sides(words)]
    if any(row.get("quiet") is False for row in rows):
        raise RecordError(f"{text!r} was measured while others were using the machine")
    bounds = _divided([_bounds(row, figure) for row in rows])
    return Quantity(*bounds, _origin(made, rows, figure), section)


def _bounds(row: Row, figure: str) -> tuple[float, float, float]:
    """Return a figure, and what it is at the quartiles of its time that make it least and most."""
    value = float(row[figure])
    if figure not in TIMES + RATES or row.get("ms") is None or row.get("low") is None:
        return value, value, value
    ends = row["low"] / row["ms"], row["high"] / row["ms"]
    if figure in RATES:
        return value, value / ends[1], value / ends[0]
    return value, value * ends[0], value * ends[1]


def _divided(bounds: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Divide the first by the second, if there is one."""
    if len(bounds) == 1:
        return bounds[0]
    (value, low, high), (by, least, most) = bounds
    return value / by, low / most, high / least


def _origin(made: dict[str, Any], rows: list[Row], figure: str) -> str:
    """Say where rows come from, and how far apart their rounds were."""
    spread = "Divided: ".join(_spread(row, figure) for row in rows)
    return f"{spread}{origin(made)}."


def _fact(facts: Any, path: str, form: str) -> str:
    """Return what stands under a name, or under names with points between them; sizes in MB."""
    value = facts
    for name in path.split("."):
        if not isinstance(value, dict) or value.get(name) is None:
            raise RecordError(f"{path!r} is missing; known: {', '.join(sorted(facts))}")
        value = value[name]
    if isinstance(value, str):
        size = re.fullmatch(r"(\d+)K", value)
        if not size:
            return value
        kilobytes = int(size[1])
        if kilobytes < 1024:
            return f"{kilobytes}\u202fkB"
        return f"{kilobytes / 1024:.1f}".removesuffix(".0") + "\u202fMB"
    return number(value, form)


def _sides(words: list[str]) -> list[list[str]]:
    """Return the words, or, where one is ``a/b``, those with a and those with b."""
    both = [word for word in words if "/" in word]
    if not both:
        return [words]
    ends = both[0].split("/")
    if len(both) > 1 or len(ends) != 2 or not all(ends):
        raise RecordError(f"expected one quotient a/b, got {' '.join(both)!r}")
    return [[end if word == both[0] else word for word in words] for end in ends]


def number(value: float, form: str) -> str:
    """Write a number as the book does; the format ``power`` is one digit and a power of ten."""
    if form == "power" and value:
        digit, power = f"{value:.0e}".split("e")
        return f"{digit} · 10{str(int(power)).translate(SUPERSCRIPTS)}".replace(" ", "\u202f")
    try:
        text = format(value, form)
    except ValueError as error:
        raise RecordError(f"format {form!r}: {error}") from error
    return text.replace(",", "\u202f").replace("-", "\u2212")


def _label(rows: list[Row], figure: str) -> str:
    """Say so where a time rests on little."""
    if figure in COUNTED:
        return ""
    if any(row.get("quiet") is False for row in rows):
        return " (others were using the machine)"
    fewest = min((row["rounds"] for row in rows if "rounds" in row), default=ENOUGH)
    return f" ({fewest} round{'s' * (fewest > 1)})" if fewest < ENOUGH else ""


def _spread(row: Row, figure: str) -> str:
    """Say of how many rounds a time is the median, and how far apart they were."""
    if "rounds" not in row:
        return ""
    text = f"Median of {row['rounds']} rounds"
    if figure == "ms" and row.get("low") is not None:
        text += f", quartiles {row['low']:.3g} and {row['high']:.3g} ms"
    return text + ". "


def origin(made: dict[str, Any]) -> str:
    """Say in one line which section it is, and where and with what it was measured."""
    if "machine" not in made:  # what was to be reached is taken from several sections
        of = [f"{each['section']} (commit {each['commit']})" for each in made["measured"]]
        return f"Record bench/{made['section']}: from {', '.join(of)}"
    return f"Record bench/{made['section']}: {machine(made)}"


def machine(made: dict[str, Any]) -> str:
    """Say in one line where and with what a section was measured."""
    machine = made["machine"]
    shown = {"numpy": "NumPy", "torch": "PyTorch", "numba": "Numba", "triton": "Triton"}
    packages = [
        f"{title} {version}"
        for name, title in shown.items()
        if (version := machine["packages"].get(name))
    ]
    device = ", ".join(filter(None, (machine.get("gpu"), machine["cpu"])))
    return (
        f"{device}, Python {machine['python']}, {', '.join(packages)}, "
        f"commit {machine['commit']}, {machine['date']}"
    )


class BenchRole(RecordRole):
    """``{bench}``, described above."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            quoted = look_up(self.text)
        except RecordError as error:
            return self.fail(error)
        self.env.note_dependency(str(RESULTS / "bench" / f"{quoted.section}.json"))
        link = addnodes.pending_xref(
            "", nodes.inline(quoted.text, quoted.text), refdomain="std", reftype="ref",
            reftarget=LABEL, refexplicit=True, refwarn=True, refdoc=self.env.docname,
        )  # fmt: skip
        return [nodes.abbreviation("", "", link, explanation=quoted.origin, classes=["result"])], []


class BenchRecords(SphinxDirective):
    """List the sections of the bench: rounds, date and commit, and the file of each."""

    def run(self) -> list[nodes.Node]:
        out: list[nodes.Node] = []
        try:
            sections = [
                load(path.stem) for path in sorted((RESULTS / "bench").glob("*.json"))
                if not path.stem.startswith(("quick-", "partial-")) and path.stem != "reaches"
            ]  # fmt: skip
        except RecordError as error:
            raise self.error(f"bench-records: {error}") from error
        if not sections:
            raise self.error("bench-records: there is no record; `make bench` makes them")
        for where, group in itertools.groupby(sections, key=machine):
            out.append(nodes.paragraph("", f"Measured with {where}:"))
            entries = nodes.bullet_list()
            for made in group:
                path = RESULTS / "bench" / f"{made['section']}.json"
                self.env.note_dependency(str(path))
                paragraph = nodes.paragraph("", f"{made['title']}{rounds(made)}: ")
                paragraph += addnodes.download_reference(
                    "", nodes.Text("JSON"), reftarget=f"/results/bench/{path.name}",
                    refdoc=self.env.docname,
                )  # fmt: skip
                entries += nodes.list_item("", paragraph)
            out.append(entries)
        return out


def rounds(made: dict[str, Any]) -> str:
    """Say how many rounds counted, and how many did not."""
    if not made["rounds"]:
        return ""
    kept, others, stolen = (
        sum(each[key] for each in made["rounds"])
        for key in ("kept", "dropped_others", "dropped_stolen")
    )
    return f" ({kept} rounds counted, {others + stolen} disturbed and dropped)"


class BenchReaches(SphinxDirective):
    """Print what the figures were meant to reach, and whether they do."""

    def run(self) -> list[nodes.Node]:
        try:
            made = load("reaches")
        except RecordError as error:
            raise self.error(f"bench-reaches: {error}") from error
        self.env.note_dependency(str(RESULTS / "bench" / "reaches.json"))
        rows = [["aim", "limit", "worst", "met"], *map(reach, made["rows"])]
        return [_table(rows, FIRST)]


def reach(row: Row) -> list[str]:
    """Return an aim as a line of a table."""
    side = "at most" if row["at_most"] else "at least"
    worst = "–" if row["worst"] is None else number(row["worst"], ".2f")
    met = {True: "yes", False: "no", None: "open" if row["worst"] is not None else "–"}[row["met"]]
    return [row["what"], f"{side} {row['limit']:g}", worst, met]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the directives."""
    app.add_role("bench", BenchRole())
    app.add_directive("bench-records", BenchRecords)
    app.add_directive("bench-reaches", BenchReaches)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
