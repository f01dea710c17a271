"""The role ``{claim}``: words that the record does not carry fail the build."""

import shutil
import subprocess
import sys

import pytest

from bn.experiments.protocol import Protocol
from bn.experiments.record import RecordError, Run, load, save, summarize

WHERE = {
    "device": "a CPU", "system": "Linux", "python": "3.11", "numpy": "2",
    "commit": "c", "date": "d",
}  # fmt: skip


def make(arm, seed, steps, seconds=100.0):
    return Run(arm, seed, {}, {"step": [0, 10]}, {"steps": steps}, seconds, WHERE)


@pytest.fixture
def folder(tmp_path):
    runs = [make("bn", s, 900 + 20 * (s % 2)) for s in range(6)]
    runs += [make("plain", s, 4000 + 10 * s) for s in range(6)]
    runs += [make("close", s, 900 + 20 * ((s + 1) % 2)) for s in range(6)]
    runs += [make("few", s, 10 + s) for s in range(3)]
    save("study", runs, tmp_path, Protocol("them", settings="same").stated())
    short = [make(arm, s, 10 * len(arm) + s, 1.0) for arm in ("bn", "plain") for s in range(6)]
    save("short", short, tmp_path, Protocol("them", settings="same").stated())
    return tmp_path


@pytest.mark.parametrize(
    "condition",
    [
        "study: plain / bn: steps; > 4",
        "study: plain / bn: steps; 4.2 .. 4.6",
        "study: bn - plain: steps; < -3000",
        "study: bn - close: steps; ~ 0",
        "study: bn: steps; < 1000",
        "study: few: steps; < 100, n = 3",
        "short: bn - plain: steps; < 0, despite seeds",
    ],
)
def test_what_holds(claim, folder, condition):
    words, origin = claim.check(f"far fewer <result {condition}>", folder)
    assert words == "far fewer"
    assert "Record" in origin


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("study: plain / bn: steps; > 5", "asks for > 5"),
        ("study: plain / bn: steps; 5 .. 6", "asks for 5 .. 6"),
        ("study: bn - plain: steps; ~ 0", "asks for ~ 0"),
        ("study: bn - close: steps; < 0", "asks for < 0"),  # the interval holds 0
        ("study: few: steps; < 100", "seeds: 3 seeds"),
        ("study: few: steps; < 100, n = 4", "has 3 seeds"),
        ("study: bn: steps; < 1000, despite seeds", "not needed"),
        ("study: bn: steps; < 1000, despite nothing", "and a rule"),
        ("short: bn - plain: steps; < 0", "6 seeds, 10 are needed"),
        ("study: bn: steps; below 1", "expected > x"),
        ("study: bn: steps", "expected 'words"),
    ],
)
def test_what_does_not(claim, folder, condition, says):
    with pytest.raises(RecordError, match=says):
        claim.check(f"far fewer <result {condition}>", folder)


def build(tmp_path, root, text):
    """Build a page with the extension on the committed records, warnings as errors."""
    source = tmp_path / "source"
    (source / "book").mkdir(parents=True)
    conf = f"import sys\nsys.path.insert(0, {str(root / 'book' / '_ext')!r})\n"
    conf += "extensions = ['result', 'bench', 'conformance', 'claim']\n"
    (source / "conf.py").write_text(conf, encoding="utf-8")
    shutil.copytree(root / "results", source / "results")
    (source / "book" / "how-we-compare.rst").write_text(":orphan:\n\nHow\n===\n", encoding="utf-8")
    page = f"Title\n=====\n\n.. _record-mnist-paper:\n\nRecord\n------\n\n{text}\n"
    (source / "index.rst").write_text(page, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", source, tmp_path / "out"]
    return subprocess.run(command, capture_output=True, text=True)


NUMBER = ":result:`mnist-paper: bn: steps_to_90: integer`"
FEWER = ":claim:`fewer <result mnist-paper: bn - plain: steps_to_90; < 0>`"


def test_in_a_page(tmp_path, root):
    n = summarize(load("mnist-paper", root / "results"), "bn", "steps_to_90").n
    done = build(tmp_path, root, f".. numbers::\n\nThat is {NUMBER}, {FEWER}.")
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert f"the mean and the standard deviation over n = {n} seeds" in html
    assert 'class="claim"' in html


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"That is {NUMBER}.", "lacks the directive numbers"),
        (".. numbers::\n\nNothing.", "quotes no record"),
        (FEWER.replace("< 0", "> 0"), "asks for > 0"),
        (FEWER.replace("fewer <", "fewer "), "expected 'words"),
    ],
)
def test_a_planted_disagreement_fails_the_build(tmp_path, root, text, says):
    done = build(tmp_path, root, text)
    assert done.returncode != 0
    assert says in done.stderr


def test_words_about_another_figure_than_the_settings_were_chosen_by(tmp_path, root):
    """A breach of the protocol: `best` was chosen by accuracy, the words are about steps."""
    words = ":claim:`fewer <result mnist-best: bn - plain: steps_to_90; < 0>`"
    done = build(tmp_path, root, words)
    assert done.returncode != 0
    assert "metric: chosen by held_out_accuracy, compared by steps_to_90" in done.stderr
