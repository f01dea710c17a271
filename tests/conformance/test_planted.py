"""Every planted bug is caught.

Here each is given to the quickest of the suites that catch it by the record, and to all of them
if there is no record of it. ``python -m tools.conformance bugs`` runs the whole matrix.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.planted import BUGS, Bug
from tests.conformance.suites import SUITES, PlantError, copy_package, failing
from tools import conformance

RECORDED = {
    row["name"]: row["caught_by"] for row in conformance.load().get("bugs", {}).get("result", [])
}


def to_run(bug):
    """The suites to try on a bug, one after the other; they are sorted, the quickest first."""
    known = [name for name in SUITES if name in RECORDED.get(bug.name, ())]
    return known[:1] or list(SUITES)


USED = list(dict.fromkeys(to_run(bug)[0] for bug in BUGS))
NO_BUG = None


@pytest.fixture(scope="module")
def caught(request, tmp_path_factory):
    """For each test that is to run, the suites that fail; two at a time, ahead of the tests."""

    def run(bug):
        folder = tmp_path_factory.mktemp("copy")
        if bug is NO_BUG:
            copy_package(folder)
            return failing(USED, folder)
        bug.plant(folder)
        return failing(to_run(bug), folder)

    here = [item for item in request.session.items if item.path == request.path]
    bugs = [item.callspec.params["bug"] for item in here if hasattr(item, "callspec")]
    with ThreadPoolExecutor(2) as pool:
        futures = {bug: pool.submit(run, bug) for bug in bugs}
        yield lambda bug: futures[bug].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("bug", [NO_BUG], ids=["none"])
def test_an_unchanged_copy_passes(caught, bug):
    assert caught(bug) == [], "the suites fail on a copy of bn without any bug"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(caught, bug):
    assert caught(bug), f"{', '.join(to_run(bug))} passed, with this bug: {bug.what}"


def test_a_bug_that_no_longer_fits_the_code_is_told(tmp_path):
    bug = Bug("old", "", "layer.py", "a line that was rewritten", "")
    with pytest.raises(PlantError, match=r"layer\.py has 0 times.*\n.*rewritten\n.*change the bug"):
        bug.plant(tmp_path)


def test_names_are_different():
    assert len({bug.name for bug in BUGS}) == len({bug.what for bug in BUGS}) == len(BUGS)
