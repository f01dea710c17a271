"""What the conformance suites share: the number of cases, printed at the end."""

import sys

import pytest

from tests.conformance import suites


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For tensors this small, waiting for other threads costs more than they bring."""
    torch = sys.modules.get("torch")
    threads = torch and torch.get_num_threads()
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(threads)


def pytest_terminal_summary(terminalreporter):
    passed = [r.nodeid for r in terminalreporter.stats.get("passed", ()) if r.when == "call"]
    counts = suites.count(passed)
    said = [f"{suites.SUITES[name].title}: {suites.text(n)}" for name, n in counts.items() if n]
    if said:
        terminalreporter.section("conformance, cases passed", sep="-")
        terminalreporter.write_line("\n".join(said))
