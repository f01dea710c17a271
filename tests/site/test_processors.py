"""`make test-processors` runs what this machine can execute, and tells what failed."""

import sys

import pytest

from tools import processors
from tools.processors import Setting

SUITE = """
import os

def test_it_runs_there():
    assert os.environ.get("PLANTED") != "bad"
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run settings on a suite of one test; return the exit code and what was printed."""
    (tmp_path / "test_planted.py").write_text(SUITE, "utf-8")
    monkeypatch.setattr(processors, "SUITES", [str(tmp_path)])
    monkeypatch.setattr(processors, "LOGS", tmp_path / "logs")

    def run(*settings):
        monkeypatch.setattr(processors, "matrix", lambda: list(settings))
        monkeypatch.setattr(sys, "argv", ["processors"])
        try:
            processors.main()
        except SystemExit as end:
            return end.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return run


def test_a_setting_under_which_a_test_fails_is_named(run):
    code, out = run(Setting(busy=1), Setting({"PLANTED": "bad"}))
    assert "FAILED: PLANTED=bad" in code
    assert "1 busy processes beside  1 passed" in out
    assert "test_planted.py::test_it_runs_there" in out
    assert "PLANTED=bad              FAILED: 1 failed" in out


def test_what_the_processor_cannot_execute_is_left_out(run):
    code, out = run(Setting({"PLANTED": "bad"}, needs=("no-such-instruction",)))
    assert code == 0
    assert "left out: this processor has no no-such-instruction" in out


def test_names_are_different():
    names = [setting.name for setting in processors.matrix()]
    assert len(set(names)) == len(names)
