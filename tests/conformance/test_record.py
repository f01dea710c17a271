"""The page cannot go stale in silence: its record is of the present suites, bugs and figures."""

import re
import subprocess
import sys

import pytest

from tests.conformance import suites
from tests.conformance.planted import BUGS
from tests.conformance.suites import ROOT, SUITES
from tools import conformance
from tools.accuracy import FIGURES
from tools.implementations import IMPLEMENTATIONS


@pytest.fixture(scope="module")
def record():
    found = conformance.load()
    missing = set(conformance.STEPS) - set(found)
    assert not missing, f"the record lacks {missing}: run `make conformance`"
    return {step: part["result"] for step, part in found.items()}


def collected(request):
    """The present cases: those of this run if it has all of them, else asked of pytest."""
    here = suites.count(item.nodeid for item in request.session.items)
    yield here
    paths = sorted({path for suite in SUITES.values() for path in suite.paths})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    listed = subprocess.run(
        [*command, *paths], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True
    )
    yield suites.count(re.findall(r"^\S+::.*$", listed.stdout, re.M))


def test_counts(record, request):
    recorded = {row["name"]: row["cases"] for row in record["suites"]}
    for counts in collected(request):
        if recorded == counts:
            return
    pytest.fail(
        f"cases in the record: {recorded}\ncases now: {counts}\n"
        "run `python -m tools.conformance suites`, which takes a minute"
    )


def test_bugs(record):
    shown = [(row["name"], row["what"], row["file"]) for row in record["bugs"]]
    assert shown == [(bug.name, bug.what, bug.file) for bug in BUGS], (
        "run `python -m tools.conformance bugs`, which takes some minutes"
    )
    assert all(set(row["caught_by"]) <= set(SUITES) for row in record["bugs"])
    assert all(row["caught_by"] for row in record["bugs"])


def test_the_networks_are_wiring_checks_only(record):
    """The page says that they catch nothing."""
    assert not [row["name"] for row in record["bugs"] if "networks" in row["caught_by"]]


def test_accuracy(record):
    shown = [(row["name"], row["what"], row["limit"]) for row in record["accuracy"]]
    assert shown == [(figure.name, figure.what, figure.limit) for figure in FIGURES], (
        "run `python -m tools.conformance accuracy`, which takes some seconds"
    )
    assert all(name in row for row in record["accuracy"] for name in IMPLEMENTATIONS)


def test_the_page_shows_all_of_it():
    page = (ROOT / "book" / "conformance.md").read_text(encoding="utf-8")
    for step in conformance.STEPS:
        assert f"```{{conformance}} {step}\n```" in page
    for suite in SUITES.values():
        assert suite.title in page, f"the page does not explain the suite {suite.title!r}"
