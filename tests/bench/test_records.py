"""The files of the bench."""

import json

import pytest

from bn.bench import records
from bn.bench.plan import Result
from bn.experiments.record import RecordError


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    return tmp_path / "bench"


def made(value: float, *, quick: bool = False, complete: bool = True):
    results = {"item": Result([{"ms": value, "shape": "2x3"}], [], {"jax": "not here"})}
    return records.record(
        "layers", "The layer", results, machine={}, settings={"quick": quick}, seconds=1.0,
        complete=complete,
    )  # fmt: skip


def test_it_comes_back_as_it_was_written(folder):
    path = records.save(made(1.23456789))
    assert path == folder / "layers.json"
    assert records.load("layers")["rows"] == [{"ms": 1.2346, "shape": "2x3"}]
    assert records.load("layers")["skipped"] == {"item": {"jax": "not here"}}
    assert '\n  {"ms": 1.2346, "shape": "2x3"}\n' in path.read_text()  # a row to a line


def test_a_trial_or_a_part_never_takes_the_place_of_a_full_record(folder):
    records.save(made(1.0))
    records.save(made(2.0, quick=True))
    records.save(made(3.0, complete=False))
    assert sorted(path.name for path in folder.iterdir()) == [
        "layers.json", "partial-layers.json", "quick-layers.json",
    ]  # fmt: skip
    assert records.load("layers")["rows"][0]["ms"] == 1.0
    records.save(made(4.0))  # now the part is out of date
    assert sorted(path.name for path in folder.iterdir()) == ["layers.json", "quick-layers.json"]


def test_an_interruption_while_writing_leaves_the_old_record(folder, monkeypatch):
    records.save(made(1.0))

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.save(made(2.0))
    assert [path.name for path in folder.iterdir()] == ["layers.json"]
    assert records.load("layers")["rows"][0]["ms"] == 1.0


def test_what_is_missing_or_damaged_is_said(folder):
    with pytest.raises(RecordError, match="python -m bn bench"):
        records.load("layers")
    path = records.save(made(1.0))
    path.write_text("{")
    with pytest.raises(RecordError, match="--only layers"):
        records.load("layers")
    path.write_text(json.dumps({"schema": 0, "rows": []}))
    with pytest.raises(RecordError, match="schema is 0"):
        records.load("layers")


def test_what_is_not_finite_is_null():
    assert records.plain({"a": [float("nan"), float("inf"), 1], "b": True}) == {
        "a": [None, None, 1], "b": True,
    }  # fmt: skip
