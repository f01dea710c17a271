"""Records are written whole, read back equal, and summarized without guessing."""

import json
import os

import numpy as np
import pytest

from bn.experiments import record
from bn.experiments.record import RecordError, Run, load, provenance, save, summarize


def make(arm="bn", seed=0, **final):
    return Run(
        arm=arm,
        seed=seed,
        config={"lr": 0.1, "steps": 10},
        curve={"step": [0, 5, 10], "loss": [float("nan"), 2.0, np.float64(1.0)]},
        final={"accuracy": 0.5 + 0.1 * seed, **final},
        seconds=1.25,
        provenance=provenance(),
    )


def test_what_is_saved_is_loaded(tmp_path):
    runs = [make("plain", 1), make("bn", 1), make("bn", 0)]
    path = save("study", runs, tmp_path)
    loaded = load("study", tmp_path)
    assert [(r.arm, r.seed) for r in loaded] == [("bn", 0), ("bn", 1), ("plain", 1)]
    assert loaded[0].curve == {"step": [0, 5, 10], "loss": [None, 2.0, 1.0]}
    assert loaded[0].final == {"accuracy": 0.5}
    assert '"step": [ 0, 5, 10 ]' in path.read_text(encoding="utf-8")  # one line, short diffs
    assert os.listdir(tmp_path) == ["study.json"]


def test_an_interrupted_write_leaves_the_old_record(tmp_path, monkeypatch):
    save("study", [make()], tmp_path)
    before = (tmp_path / "study.json").read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save("study", [make(seed=3)], tmp_path)
    assert (tmp_path / "study.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["study.json"]


def test_what_a_killed_process_left_of_a_record_is_removed(tmp_path):
    save("study", [make()], tmp_path)
    (tmp_path / ".study.json-4711.tmp").write_text('{"runs": [')
    (tmp_path / ".study-2.json-4711.tmp").write_text("of a study that may be being written")
    record.open_study("study", tmp_path)
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [".study-2.json-4711.tmp"]
    assert len(load("study", tmp_path)) == 1


def test_summary(tmp_path):
    runs = [make(seed=s) for s in range(3)]
    summary = summarize(runs, "bn", "accuracy")
    assert summary.mean == pytest.approx(0.6)
    assert summary.std == pytest.approx(0.1)  # of the sample: n - 1
    assert summary.n == 3
    assert np.isnan(summarize(runs[:1], "bn", "accuracy").std)


def test_errors_name_what_is_there(tmp_path):
    with pytest.raises(RecordError, match=r"no record 'nothing'.*known: none"):
        load("nothing", tmp_path)
    runs = [make(seed=0), make(seed=1, extra=1.0)]
    with pytest.raises(RecordError, match=r"'plain'.*'bn'"):
        summarize(runs, "plain", "accuracy")
    with pytest.raises(RecordError, match=r"'loss' is missing in 2 of 2.*accuracy"):
        summarize(runs, "bn", "loss")
    with pytest.raises(RecordError, match="missing in 1 of 2"):
        summarize(runs, "bn", "extra")
    (tmp_path / "broken.json").write_text('{"runs": [', encoding="utf-8")
    with pytest.raises(RecordError, match="broken"):
        load("broken", tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"runs": [{"arm": "bn"}]}), encoding="utf-8")
    with pytest.raises(RecordError, match="other"):
        load("other", tmp_path)


def test_provenance_says_where_and_with_what():
    known = provenance()
    assert known.keys() >= {"device", "system", "python", "numpy", "commit", "date"}
    assert all(known.values())
    assert "cores" in known["device"]


def test_committed_records_are_whole_and_say_where_they_come_from():
    studies = sorted(record.ROOT.glob("results/*.json"))
    assert studies, "the book quotes records, so there must be some"
    for path in studies:
        runs = load(path.stem)
        for run in runs:
            assert set(run.provenance) >= {"device", "python", "numpy", "commit", "date"}
            assert not run.provenance["commit"].endswith("dirty"), f"{path.name}: uncommitted code"
            lengths = {len(values) for values in run.curve.values()}
            assert len(lengths) == 1, f"{path.name}: curves of different lengths"
        for arm in {run.arm for run in runs}:
            seeds = [run.seed for run in runs if run.arm == arm]
            assert len(seeds) == len(set(seeds)), f"{path.name}: a seed twice in {arm}"


def test_the_best_settings_of_a_sweep_count_what_diverged_as_nothing():
    def run(arm, lr, seed, accuracy):
        return Run(arm, seed, {"lr": lr}, {}, {"accuracy": accuracy}, 0.0, {})

    runs = [run("plain-a", 0.1, 0, 0.6), run("plain-a", 0.1, 1, 0.6)]
    runs += [run("plain-b", 0.5, 0, 0.9), run("plain-b", 0.5, 1, None)]
    runs += [run("bn-a", 0.7, 0, 0.8)]
    assert record.best_config(runs, "plain-", "accuracy") == {"lr": 0.1}
    assert record.best_config(runs, "bn-", "accuracy") == {"lr": 0.7}
    with pytest.raises(RecordError, match="'other-'"):
        record.best_config(runs, "other-", "accuracy")


def test_beside_an_installed_package_its_own_records_are_read(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages"
    save("study", [make("bn", 0)], installed / "bn" / "results")
    monkeypatch.setattr(record, "ROOT", installed)
    monkeypatch.setattr(record, "SHIPPED", installed / "bn" / "results")
    monkeypatch.delenv("BN_RESULTS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load("study")[0].arm == "bn"
    assert record.load_protocol("study") is None
    save("study", [make("plain", 0)])  # where the working directory has one, it counts
    assert load("study")[0].arm == "plain"
    with pytest.raises(RecordError, match="there is no record"):
        load("study", tmp_path)  # and where a folder is named, nothing else
