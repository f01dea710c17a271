"""``python -m bn bench``."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bn.__main__ import Ended, main
from bn.bench import command, tables
from bn.bench.plan import Item, Result, Section
from bn.bench.sections import SECTIONS
from bn.bench.sections.bandwidth import Copy

ROW = {"title": "a thing", "ms": 1.0, "low": 1.0, "high": 1.0, "rounds": 2, "faults": 0,
       "quiet": True, "gb_per_s": 2.0}  # fmt: skip


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    return tmp_path / "bench"


@pytest.fixture
def sections(monkeypatch):
    """Replace the sections by made-up ones: return what takes their items."""

    def replace(**items):
        made = {
            name: Section(name, name.title(), lambda settings, stack, runs=runs: [
                Item(f"item {i}", run) for i, run in enumerate(runs)
            ])
            for name, runs in items.items()
        }  # fmt: skip
        monkeypatch.setattr(command, "SECTIONS", made)
        monkeypatch.setattr(command.machine, "describe", lambda: {
            "cpu": "a CPU", "libc": "", "packages": {}, "threads": {"torch": 1}, "remarks": [],
            "date": "2015-02-11", "commit": "abc",
        })  # fmt: skip
        monkeypatch.setattr(command, "copy_bandwidth", lambda quick: Copy(1e10, True))
        for name in items:
            monkeypatch.setitem(tables.TABLES, name, tables.bandwidth)

    return replace


def good(limits):
    return Result([dict(ROW)])


def interrupted(limits):
    raise KeyboardInterrupt


def terminated(limits):
    raise Ended(signal.SIGTERM)


def broken(limits):
    raise ValueError("it does not work")


def test_a_quick_run_of_everything(folder, capsys):
    # time enough for kernels that have to be compiled first, on a busy machine
    assert main(["bench", "--quick", "--seconds", "500"]) == 0
    printed = capsys.readouterr().out
    measured = [name for name, section in SECTIONS.items() if section.problem() is None]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"quick-{name}.json" for name in measured
    )
    for name in measured:
        record = json.loads((folder / f"quick-{name}.json").read_text())
        assert record["quick"] is True
        assert record["complete"] is True
        assert record["rows"], name
        assert record["machine"]["commit"]
        unexpected = [
            why for item in record["skipped"].values() for why in item.values()
            if "quick run" not in why and "Numba" not in why and "glibc" not in why
        ]  # fmt: skip
        assert unexpected == [], name
    assert "says nothing about speed" in printed or "say nothing about speed" in printed
    assert "What was to be reached" not in printed


@pytest.mark.parametrize(
    ("end", "code", "said"), [(interrupted, 130, "interrupted"), (terminated, 143, "SIGTERM")]
)
def test_an_interruption_keeps_what_was_measured(folder, sections, capsys, end, code, said):
    sections(one=[good, good], two=[good, end, good], three=[good])
    assert main(["bench"]) == code
    assert sorted(path.name for path in folder.iterdir()) == [
        "one.json", "partial-two.json", "reaches.json",
    ]  # fmt: skip
    assert len(json.loads((folder / "partial-two.json").read_text())["rows"]) == 1
    printed = capsys.readouterr()
    assert "Two (cut short)" in printed.out
    assert said in printed.err


def test_an_interruption_before_anything_was_measured(folder, sections, capsys):
    sections(one=[interrupted])
    assert main(["bench"]) == 130
    assert not folder.exists()
    assert "nothing" in capsys.readouterr().err


def test_what_fails_does_not_end_the_others(folder, sections, capsys):
    sections(one=[broken, good], two=[good])
    assert main(["bench"]) == 0
    record = json.loads((folder / "one.json").read_text())
    assert record["skipped"] == {"item 0": {"item 0": "ValueError: it does not work"}}
    assert len(record["rows"]) == 1
    assert "ValueError: it does not work: item 0 (one)" in capsys.readouterr().out


def test_only_some_sections_and_json(folder, sections, capsys):
    sections(one=[good], two=[good])
    assert main(["bench", "--only", "two", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert list(made["records"]) == ["two"]
    assert {reach["met"] for reach in made["reaches"]} == {None}


def test_an_unknown_section(folder, capsys):
    assert main(["bench", "--only", "speed"]) == 2
    assert "no section speed; there are: bandwidth, layers" in capsys.readouterr().err
    assert not folder.exists()


def test_a_full_disk_is_named(folder, sections, capsys, monkeypatch):
    def full(self, text, **how):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sections(one=[good])
    monkeypatch.setattr(Path, "write_text", full)
    assert main(["bench"]) == 1
    printed = capsys.readouterr().err
    assert str(folder / "one.json") in printed
    assert "set BN_RESULTS_DIR" in printed
    assert not list(folder.iterdir())


def test_help_names_every_section_and_imports_nothing():
    code = (
        "import sys\nfrom bn.__main__ import main\n"
        "try: main(['bench', '--help'])\n"
        "finally: assert not {'torch', 'numpy', 'numba', 'bn.bench'} & set(sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    for name in SECTIONS:
        assert name in made.stdout
