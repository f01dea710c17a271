"""A whole run as plain text: tables, what was left out, the machine, what was to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bn.bench import tables, text
from bn.bench.reaches import Reach
from bn.bench.sections import SECTIONS


def report(
    made: dict[str, dict[str, Any]], reaches: Sequence[Reach], missing: dict[str, str]
) -> str:
    """Return everything as text."""
    parts = []
    for name, record in made.items():
        if name in tables.TABLES:
            title = record["title"] + ("" if record["complete"] else " (cut short)")
            part = f"{title}\n\n{tables.TABLES[name](record['rows'])}"
            if record["rounds"]:
                part += f"\n\n  {text.counts(record['rounds'])}"
            parts.append(part)
    if overview := tables.overview(made):
        parts.append("Speed, accuracy (largest error against float64) and memory\n\n" + overview)
    parts += [f"{SECTIONS[name].title}: {why}" for name, why in missing.items()]
    if left_out := _left_out(made):
        parts.append("\n".join(["Left out", "", *left_out]))
    if made:
        first = next(iter(made.values()))
        parts.append("\n".join(_about(first)))
    if reaches:
        parts.append("What was to be reached\n\n" + tables.reached(reaches))
    return "\n\n".join(parts)


def _left_out(made: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each reason, and what it keeps from being measured."""
    reasons: dict[str, dict[str, None]] = {}
    for section, record in made.items():
        for item in record["skipped"].values():
            for what, why in item.items():
                reasons.setdefault(why, {})[f"{what} ({section})"] = None
    return [f"  {why}: {', '.join(what)}" for why, what in reasons.items()]


def _about(record: dict[str, Any]) -> list[str]:
    """Return lines on the machine."""
    where, settings = record["machine"], record["settings"]
    packages = ", ".join(f"{name} {what}" for name, what in where["packages"].items() if what)
    copy = f"{settings['copy_gb_per_s']:.1f}" + ("" if settings["copy_quiet"] else "*")
    lines = [
        f"{where['cpu']}; {where['libc']}; {packages}; {where['threads']['torch']} threads",
        f"A copy moves {copy} GB/s (read and written bytes); passes are time × that / bytes of x.",
    ]
    if settings["quick"]:
        lines.append("A quick run tries out the bench; its figures say nothing about speed.")
    return lines + [f"Note: {remark}." for remark in where["remarks"]]
