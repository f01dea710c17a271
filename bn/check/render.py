"""A report as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # report imports this module
    from bn.check.report import Finding, Report

COLOURS = {"right": "32", "weak": "33", "wrong": "31", "note": "36"}
HEADINGS = {"wrong": "Wrong", "weak": "Warnings", "note": "Notes"}
PARTS = ("fed", "came", "expected", "likely", "page")


def text(report: Report, *, colour: bool, width: int) -> str:
    """Return the report: verdict, table, conventions, and findings, the wrong ones first."""

    def paint(word: str, kind: str, columns: int = 0) -> str:
        padded = word.ljust(columns)
        return f"\x1b[{COLOURS[kind]}m{padded}\x1b[0m" if colour and kind in COLOURS else padded

    def lines() -> Iterator[str]:
        verdict = paint("passed", "right") if report.passed else paint("failed", "wrong")
        yield f"{report.candidate} ({report.kind}): {verdict}{_counts(report)}"
        yield ""
        columns = max((len(row.check) for row in report.rows), default=0)
        for row in report.rows:
            start = f"  {row.check.ljust(columns)}  {paint(row.status, row.status, 11)}  "
            yield from _wrapped(start, columns + 17, row.detail, width)
        if report.conventions:
            yield from ("", "Conventions")
            columns = max(map(len, report.conventions))
            for name, fact in report.conventions.items():
                yield from _wrapped(f"  {name.ljust(columns)}  ", columns + 4, fact, width)
        for severity, heading in HEADINGS.items():
            chosen = [each for each in report.findings if each.severity == severity]
            if chosen:
                yield from ("", paint(heading, severity))
            for number, finding in enumerate(chosen, 1):
                yield from _finding(number, finding, width)

    return "\n".join(line.rstrip() for line in lines()) + "\n"


def _counts(report: Report) -> str:
    counts = (
        (len(report.wrong), "mistake", "mistakes"),
        (len(report.weak), "warning", "warnings"),
    )
    told = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
    return "".join(f", {each}" for each in told)


def _finding(number: int, finding: Finding, width: int) -> Iterator[str]:
    yield f"  {number}. {finding.check}: {finding.mistake}"
    for part in PARTS:
        value = getattr(finding, part)
        if value:
            name = "should be" if part == "expected" else part
            yield from _wrapped(f"     {name.ljust(9)}  ", 16, value, width)


def _wrapped(start: str, indent: int, value: str, width: int) -> Iterator[str]:
    """Yield `start` and the value, wrapped; further lines are indented by `indent` columns."""
    room = max(width - indent, 30)
    rows = [row for part in value.split("\n") for row in textwrap.wrap(part, room) or [""]]
    yield start + (rows[0] if rows else "")
    for row in rows[1:]:
        yield " " * indent + row
