"""The tables of the conformance page, from results/conformance/conformance.json.

The directive ``{conformance}`` takes the step of ``python -m tools.conformance`` that is shown:
``suites``, ``bugs`` or ``accuracy``. A step that is not in the record is an error, which fails
the build.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RECORD = Path(__file__).resolve().parents[2] / "results" / "conformance" / "conformance.json"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def suites(result: list[dict[str, Any]], _: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """Return a sentence and a table: how many cases each suite has on each implementation."""
    rows = [["suite", "ours, NumPy", "ours, torch", "kernels"]]
    for row in result:
        rows.append([row["title"], *(str(row["cases"].get(on, "–")) for on in _PARTS)])
    total = sum(sum(row["cases"].values()) for row in result)
    return f"Number of cases: {_thousands(total)} in all.", rows


def bugs(result: list[dict[str, Any]], record: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """Return a sentence and a table: which suite catches which bug."""
    titles = {row["name"]: row["title"] for row in record["suites"]["result"]}
    caught = {name: sum(name in row["caught_by"] for row in result) for name in titles}
    shown = [name for name in titles if caught[name]]
    # A letter as the head of a column: there are many columns and little room on a phone.
    letters = [name[0].upper() for name in shown]
    rows = [["mistake", *letters]]
    for row in result:
        marks = ["yes" if name in row["caught_by"] else "–" for name in shown]
        rows.append([row["what"], *marks])
    rows.append(["found", *(str(caught[name]) for name in shown)])
    alone = sum(len(row["caught_by"]) == 1 for row in result)
    legend = [f"{letter}: {titles[name]}" for letter, name in zip(letters, shown, strict=True)]
    sentence = f"Which suite finds which of {len(result)} mistakes; {alone} are found by one alone."
    sentence += f" {'; '.join(legend)}."
    if nothing := [titles[name] for name in titles if not caught[name]]:
        sentence += f" Not in the table, because it finds none: {', '.join(nothing)}."
    return sentence, rows


def accuracy(result: list[dict[str, Any]], _: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """Return a sentence and a table: the accuracy figures, ours beside torch's."""
    rows = [["what, and its limit", "ours, NumPy", "ours, torch", "kernels", "torch"]]
    for row in result:
        limit = row["limit"]
        rows.append([
            row["what"] + ("" if isinstance(limit, str) else f" (at most {number(limit)})"),
            *(_judged(row[name], limit) for name in (*_SIDES, "torch")),
        ])  # fmt: skip
    kept = sum(not _over(row[name], row["limit"]) for row in result for name in _SIDES)
    of = len(_SIDES) * len(result)
    sentence = f"Ours keep {kept} of {of} limits. What is beyond its limit is marked “over”."
    return sentence, rows


#: Who is held to the limits of accuracy; and the parts of bn whose cases are counted.
_SIDES = ("reference", "pytorch", "numba")
_PARTS = ("reference", "pytorch", "kernels")
TABLES = {"suites": suites, "bugs": bugs, "accuracy": accuracy}
#: Percent of the width for the first column: as much as a phone leaves beside the others.
FIRST = {"suites": 40, "bugs": 40, "accuracy": 30}


def number(value: float | str) -> str:
    """Write a number, with a power of ten where it is very small or large; or that it is none."""
    if isinstance(value, str):
        return "error" if value.endswith("Error") else value
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    digits, power = f"{value:.1e}".split("e")
    digits = digits.removesuffix(".0")
    ten = "10" + str(int(power)).translate(SUPERSCRIPTS)
    return ten if digits == "1" else f"{digits}·{ten}"


def _over(value: float | str, limit: float | str) -> bool:
    if isinstance(limit, str) or isinstance(value, str):
        return value != limit
    return value > limit


def _judged(value: float | str, limit: float | str) -> str:
    return number(value) + (" over" if _over(value, limit) else "")


def _thousands(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _origin(made: dict[str, str]) -> str:
    """Say in one line where and with what a step was run."""
    return (
        f"Measured on {made['date']}: {made['device']}, Python {made['python']}, "
        f"NumPy {made['numpy']}, PyTorch {made['torch']}, ONNX {made['onnx']}, "
        f"commit {made['commit']}. "
    )


def _table(rows: list[list[str]], first: int) -> nodes.table:
    """Return a table whose first column takes `first` percent of the width, the others the rest."""
    others = (100 - first) // (len(rows[0]) - 1)
    group = nodes.tgroup(cols=len(rows[0]))
    group += [nodes.colspec(colwidth=others if i else first) for i in range(len(rows[0]))]
    parts = (nodes.thead(), rows[:1]), (nodes.tbody(), rows[1:])
    for part, content in parts:
        for cells in content:
            row = nodes.row()
            row += [nodes.entry("", nodes.paragraph("", cell)) for cell in cells]
            part += row
        group += part
    table: nodes.table = nodes.table("", group, classes=["colwidths-given"])
    return table


class ConformanceDirective(SphinxDirective):
    """Print one step of the record, with where it was made."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        step = self.arguments[0]
        if step not in TABLES:
            raise self.error(f"conformance: no table {step!r}; there are {', '.join(TABLES)}")
        try:
            record = json.loads(RECORD.read_text(encoding="utf-8"))
            sentence, rows = TABLES[step](record[step]["result"], record)
            origin = _origin(record[step]["provenance"])
        except (OSError, KeyError, ValueError) as error:
            raise self.error(
                f"conformance: {RECORD.name} has no usable {step!r} ({error!r}); "
                "run `make conformance`"
            ) from error
        self.env.note_dependency(str(RECORD))
        below = nodes.paragraph("", origin)
        below += addnodes.download_reference(
            "", nodes.Text("The record, as JSON"), refdoc=self.env.docname,
            reftarget=f"/results/conformance/{RECORD.name}",
        )  # fmt: skip
        below += nodes.Text(".")
        return [nodes.paragraph("", sentence), _table(rows, FIRST[step]), below]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("conformance", ConformanceDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
