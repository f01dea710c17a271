"""Aligned tables in plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bn.bench.plan import Row
from bn.bench.rounds import ENOUGH


def number(value: Any, form: str = ".2f") -> str:
    """Return a number as it stands in a table; a dash for None."""
    return "-" if value is None else format(value, form)


def milliseconds(row: Row) -> str:
    """Return the time of a row with three digits; a star if others disturbed every round."""
    ms = row["ms"]
    digits = max(0, 2 - math.floor(math.log10(ms))) if ms > 0 else 2
    return f"{ms:.{digits}f}" + ("" if row["quiet"] else "*")


def table(head: Sequence[str], lines: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return lines with their columns aligned, the first to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join(
        (
            indent
            + line[0].ljust(widths[0])
            + "".join(
                "  " + cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
            )
        ).rstrip()
        for line in [head, *lines]
    )


def counts(rounds: Sequence[Row]) -> str:
    """Return in words how many rounds counted."""
    kept, others, stolen = (
        sum(each[key] for each in rounds) for key in ("kept", "dropped_others", "dropped_stolen")
    )
    text = f"{kept} rounds counted, {others} dropped for other processes, {stolen} for the host"
    if any(not each["seen"] for each in rounds):
        text = f"{kept} rounds; the load of this system cannot be seen, so none was dropped"
    few = [each["group"] for each in rounds if each["kept"] < min(ENOUGH, each["wanted"])]
    if few:
        named = ", ".join(few) if len(few) <= 6 else f"{len(few)} of {len(rounds)} groups"
        text += f"\n  fewer than {ENOUGH} count for: {named}"
    if any(not each["quiet"] for each in rounds):
        text += "\n  * no round was quiet: the least disturbed ones are shown, and decide nothing"
    return text


def groups(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by the values of some columns, in the order of their first ones."""
    made: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        made.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return made
