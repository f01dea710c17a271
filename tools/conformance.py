"""Run the conformance suites, plant the bugs, measure the accuracy; write it all down.

The record is results/conformance/conformance.json, from which book/conformance.md is made. Each
step can be run alone and leaves the rest of the record as it was::

    python -m tools.conformance suites     the suites and their numbers of cases, a minute
    python -m tools.conformance accuracy   the accuracy figures, seconds
    python -m tools.conformance bugs       every suite on every planted bug, some minutes
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bn.experiments import record
from tests.conformance.planted import BUGS, Bug
from tests.conformance.suites import ROOT, SUITES, PlantError, copy_package, count, failing, text
from tools import accuracy
from tools.implementations import IMPLEMENTATIONS

RECORD = ROOT / "results" / "conformance" / "conformance.json"
PACKAGES = ("torch", "onnx", "hypothesis", "ml_dtypes")
WORKERS = 2


def run_suites() -> list[dict[str, Any]]:
    """Run each suite on every implementation that it has; all must pass."""
    done = []
    for name, suite in SUITES.items():
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            command += [f"--junitxml={report}", *suite.paths]
            if SUITES["onnx"].paths == suite.paths:  # two suites in one file
                command += ["-k", "network" if suite.networks else "not network"]
            status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
            if status:
                sys.exit(f"conformance: {suite.title} failed; nothing was recorded")
            cases = count(nodes(report))[name]
        seconds = round(time.monotonic() - started)
        done.append({"name": name, "title": suite.title, "cases": cases})
        print(f"conformance: {suite.title}: {text(cases)}, {seconds} s", flush=True)
    return done


def nodes(report: Path) -> list[str]:
    """Return the tests of a JUnit report, as pytest names them."""
    cases = ET.parse(report).getroot().iter("testcase")
    return [f"{c.attrib['classname'].replace('.', '/')}.py::{c.attrib['name']}" for c in cases]


def run_bugs() -> list[dict[str, Any]]:
    """Run every suite on every planted bug; first on a copy without any, which must pass."""

    def caught_by(bug: Bug | None) -> list[str]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            copy_package(folder) if bug is None else bug.plant(folder)
            caught = failing(SUITES, folder)
        title = "an unchanged copy" if bug is None else bug.name
        print(f"conformance: {title}: {', '.join(caught) or 'not caught'}", flush=True)
        return caught

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            control, *found = pool.map(caught_by, [None, *BUGS])
        except PlantError as error:
            sys.exit(f"conformance: {error}")
    if control:
        sys.exit(f"conformance: {', '.join(control)} failed without a bug; nothing was recorded")
    missed = [bug.name for bug, caught in zip(BUGS, found, strict=True) if not caught]
    if missed:
        sys.exit(f"conformance: no suite catches {', '.join(missed)}; nothing was recorded")
    return [
        {"name": bug.name, "what": bug.what, "file": bug.file, "caught_by": caught}
        for bug, caught in zip(BUGS, found, strict=True)
    ]


def run_accuracy() -> list[dict[str, Any]]:
    """Measure the accuracy figures, and print them."""
    table = accuracy.measure()
    for row in table:
        values = [number(row[key]) for key in ("limit", *IMPLEMENTATIONS)]
        print(f"conformance: {row['what']}: limit {values[0]}; ", end="")
        print(", ".join(f"{n} {v}" for n, v in zip(IMPLEMENTATIONS, values[1:], strict=True)))
    return table


def number(value: float | str) -> str:
    """Write a measured number, or the name of an error."""
    return value if isinstance(value, str) else f"{value:.3g}"


STEPS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "suites": run_suites,
    "accuracy": run_accuracy,
    "bugs": run_bugs,
}


def load() -> dict[str, Any]:
    """Return the record; empty if there is none."""
    if not RECORD.is_file():
        return {}
    recorded: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return recorded


def save(step: str, result: list[dict[str, Any]]) -> None:
    """Put the result of a step into the record, in place of the one that is there."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    made = {"provenance": record.provenance() | versions, "result": result}
    recorded = load() | {step: made}
    ordered = {name: recorded[name] for name in STEPS if name in recorded}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False)
    RECORD.write_text(text + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Run the steps named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(STEPS)} (default: all)")
    names = parser.parse_args().steps or list(STEPS)
    if unknown := set(names) - set(STEPS):
        parser.error(f"no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    for name in names:
        save(name, STEPS[name]())
        print(f"conformance: wrote {name} into {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
