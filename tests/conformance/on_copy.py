"""A plugin of pytest for runs on a copy of bn: what to run there, and which suites fail.

Loaded before any test, so that a run cannot see the installed package by mistake. Once a suite
has failed, the rest of it is not run. The networks go without inception_v2, which takes as long
as the other three.
"""

import os
from pathlib import Path
from typing import Any

import pytest

import bn.reference
from tests.conformance.suites import COPY, FAILED, implementation, suite_of

_folder, *_wanted = os.environ[COPY].split(os.pathsep)
_failed: set[str | None] = set()

if not Path(bn.reference.__file__).is_relative_to(_folder):
    raise ImportError(f"bn is {bn.reference.__file__}, expected the copy in {_folder}")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the cases of the wanted suites that run on the reference."""
    items[:] = [
        item
        for item in items
        if suite_of(item.nodeid) in _wanted
        and implementation(item.nodeid) == "reference"
        and "inception" not in item.nodeid
    ]


def pytest_runtest_setup(item: Any) -> None:
    """Leave out what comes after the first failure of a suite."""
    if suite_of(item.nodeid) in _failed:
        pytest.skip("another case of this suite has failed")


def pytest_runtest_logreport(report: Any) -> None:
    """Note a failure."""
    if report.failed:
        _failed.add(suite_of(report.nodeid))


def pytest_sessionfinish() -> None:
    """Write down the suites that failed."""
    Path(_folder, FAILED).write_text("\n".join(sorted(map(str, _failed))), encoding="utf-8")
