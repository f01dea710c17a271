"""``python -m bn check package.module:Name``: check what is named, in a process of its own.

The process can be ended whatever the candidate does, so the command always comes back. What the
candidate prints goes to stderr; stdout holds the report alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any, TextIO

from bn.check.report import Finding, Report, Row

GRACE = 5.0  # seconds for Python to start and to end, beyond the time limit
TARGET = re.compile(r"[\w.]+:[\w.]+(,[\w.]+){0,2}")


def run(arguments: argparse.Namespace) -> int:
    """Check the candidate that was named, and print the report.

    Returns
    -------
    int
        Exit code: 0 passed, 1 failed, 2 not a candidate.
    """
    target: str = arguments.candidate
    if not TARGET.fullmatch(target):
        print(
            f"{target!r} is not of the form package.module:Name, such as torch.nn:BatchNorm2d, or "
            "package.module:forward,backward for two functions (no .py, no slashes)",
            file=sys.stderr,
        )
        return 2
    print(f"importing {target.partition(':')[0]}, which runs its code", file=sys.stderr)
    messages, code = _in_a_process(target, arguments.timeout)
    last: dict[str, Any] = messages[-1] if messages else {}
    if "usage" in last:
        print(last["usage"], file=sys.stderr)
        return 2
    if "report" in last:
        report = Report.from_dict(last["report"])
    else:
        activity = last.get("phase", "starting Python")
        report = _cut_short(target, activity, code, arguments.timeout)
    report.strict = arguments.strict
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        width = min(shutil.get_terminal_size((90, 24)).columns, 100)
        print(report.text(colour=has_colour(sys.stdout), width=width), end="")
    return 0 if report.passed else 1


def _in_a_process(target: str, timeout: float) -> tuple[list[dict[str, Any]], int | None]:
    """Return what the worker said, one message per line, and its exit code (None: killed)."""
    limits = [str(timeout), str(timeout + 2 * GRACE)]  # of the checks, and of the process
    command = [sys.executable, "-m", "bn.check.worker", target, *limits]
    # One thread is faster for arrays this small, and much so on a machine that is busy.
    settings = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=settings, encoding="utf-8"
    )
    code: int | None
    try:
        said, _ = process.communicate(timeout=timeout + GRACE)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        code = None
    except BaseException:
        process.kill()
        process.wait()
        raise
    return [json.loads(line) for line in said.splitlines()], code


def _cut_short(target: str, activity: str, code: int | None, timeout: float) -> Report:
    """Return the report on a process that was ended, or ended itself, before it had one."""
    if code is None:
        mistake, came = "hangs", f"no answer within {timeout:.3g} s"
    else:
        mistake, came = "crashes", f"the process ended with exit code {code}"
    finding = Finding("layouts", "wrong", mistake, activity, came, "a report")
    return Report(target, "unknown", [Row("layouts", "wrong", mistake)], {}, [finding])


def has_colour(stream: TextIO) -> bool:
    """Tell whether to colour: on a terminal that is not told otherwise (no-color.org)."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not refused
