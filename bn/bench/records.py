"""The files under ``results/bench``: one for each section, replaced in one step.

A run for trying out the bench, and a section that was cut short, get names of their own, so that
they never take the place of a full measurement.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bn.bench.plan import Result
from bn.experiments import files
from bn.experiments.record import RecordError, results_dir

#: Raised when the meaning of a column changes.
SCHEMA = 1


def folder() -> Path:
    """Return where the records of the bench are."""
    return results_dir() / "bench"


def file_name(section: str, *, quick: bool = False, complete: bool = True) -> str:
    """Return the name of a section's file."""
    return ("quick-" if quick else "") + ("" if complete else "partial-") + f"{section}.json"


def record(
    section: str,
    title: str,
    results: dict[str, Result],
    *,
    machine: dict[str, Any],
    settings: dict[str, Any],
    seconds: float,
    complete: bool,
) -> dict[str, Any]:
    """Return the record of a section: what came of its items, by label."""
    return {
        "schema": SCHEMA,
        "section": section,
        "title": title,
        "quick": bool(settings["quick"]),
        "complete": complete,
        "seconds": seconds,
        "settings": settings,
        "machine": machine,
        "skipped": {label: made.skipped for label, made in results.items() if made.skipped},
        "rounds": [line for made in results.values() for line in made.rounds],
        "rows": [row for made in results.values() for row in made.rows],
    }


def save(made: dict[str, Any]) -> Path:
    """Write a record; one that is complete also removes the one that was cut short."""
    to = folder()
    to.mkdir(parents=True, exist_ok=True)
    name = made["section"]
    path = to / file_name(name, quick=made["quick"], complete=made["complete"])
    text = as_text(made)
    files.replace(path, lambda at: at.write_text(text, encoding="utf-8", newline="\n"))
    if made["complete"]:
        (to / file_name(name, quick=made["quick"], complete=False)).unlink(missing_ok=True)
    return path


def load(section: str) -> dict[str, Any]:
    """Return the full record of a section.

    Raises
    ------
    RecordError
        If there is none, or it cannot be read.
    """
    path = folder() / file_name(section)
    if not path.is_file():
        raise RecordError(f"there is no bench of {section!r}; `python -m bn bench` makes it")
    try:
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if made["schema"] != SCHEMA or not isinstance(made["rows"], list):
            raise ValueError(f"schema is {made['schema']}, expected {SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is not a record of the bench ({error}); measure it anew with "
            f"`python -m bn bench --only {section}`"
        ) from error
    return made


def as_text(made: dict[str, Any]) -> str:
    """Return a record as JSON, a row to a line."""
    lines = []
    for key, value in plain(made).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            text = json.dumps(value, indent=1, ensure_ascii=False).replace("\n", "\n ")
            lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def plain(value: Any) -> Any:
    """Round numbers to five digits; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
