"""The role ``{result}``: numbers come from records, and an unknown key fails the build."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from bn.__main__ import main
from bn.experiments import command
from bn.experiments.record import RecordError, Run, load, save

PROVENANCE = {
    "device": "a CPU, 2 cores", "system": "Linux", "python": "3.11.1", "numpy": "2.0.0",
    "commit": "abc123", "date": "2026-01-01",
}  # fmt: skip


def make(arm, seed, accuracy, steps):
    final = {"accuracy": accuracy, "steps": steps}
    return Run(arm, seed, {"lr": 0.1, "steps": 50_000}, {}, final, 1.0, PROVENANCE)


@pytest.fixture
def folder(tmp_path):
    runs = [make("bn", s, 0.97 + 0.001 * s, 1000 + s) for s in range(5)]
    runs += [make("plain", s, 0.95 + 0.002 * s, 4000 + 4 * s) for s in range(5)]
    runs += [make("few", s, 0.5 + 0.1 * s, 1) for s in range(2)]
    runs += [make("one", 0, 0.5, 1)]
    save("study", runs, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("study: bn: accuracy: percent", "97.2 ± 0.2 %"),
        ("study: bn: accuracy: percent2", "97.20 ± 0.16 %"),
        ("study: bn: steps: integer", "1 002 ± 2"),
        ("study: bn: accuracy: .4f", "0.9720 ± 0.0016"),
        ("study: bn - plain: accuracy: points", "1.8 [1.6, 2.0] points"),
        ("study: plain - bn: accuracy: points", "−1.8 [−2.0, −1.6] points"),
        ("study: plain / bn: steps: .2f", "4.00 [4.00, 4.00]"),
        ("study: few: accuracy: percent", "55.0 ± 7.1 % (n = 2)"),
        ("study: one: accuracy: percent", "50.0 % (n = 1)"),
    ],
)
def test_numbers(result, folder, key, text):
    got, origin, study, n = result.look_up(key, folder)
    assert got.replace("\u202f", " ") == text
    assert study == "study"
    assert n in (1, 2, 5)
    for part in ("a CPU, 2 cores", "2.0.0", "abc123", "2026-01-01", "seed"):
        assert part in origin


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("study: bn", "expected 'study: arm: figure"),
        ("nothing: bn: accuracy", "no record 'nothing'"),
        ("study: no: accuracy", "no run of arm 'no'"),
        ("study: bn: speed", "'speed' is missing"),
        ("study: bn + plain: accuracy", "expected an arm"),
        ("study: bn - few: accuracy", "different seeds"),
        ("study: bn: accuracy: percents", "format 'percents'"),
    ],
)
def test_unknown_keys(result, folder, key, says):
    with pytest.raises(RecordError, match=says):
        result.look_up(key, folder)


def build(tmp_path, root, text):
    """Build a one-page Sphinx project that uses the extension, warnings as errors."""
    source = tmp_path / "source"
    source.mkdir()
    conf = f"import sys\nsys.path.insert(0, {str(root / 'book' / '_ext')!r})\n"
    (source / "conf.py").write_text(conf + "extensions = ['result']\n", encoding="utf-8")
    shutil.copytree(root / "results", source / "results")  # the page offers them for download
    page = f"Title\n=====\n\n.. _record-mnist-paper:\n\nRecord\n------\n\n{text}\n"
    (source / "index.rst").write_text(page, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", source, tmp_path / "out"]
    return subprocess.run(command, capture_output=True, text=True)


def test_in_a_page(tmp_path, root, result):
    key = "mnist-paper: bn: test_accuracy: percent"
    done = build(
        tmp_path, root, f"It was :result:`{key}`, after :setting:`mnist-paper: bn: steps`."
    )
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    number, origin, *_ = result.look_up(key)
    assert number in html
    assert origin in html
    assert 'href="#record-mnist-paper"' in html
    assert "50\u202f000" in html


@pytest.mark.parametrize(
    "text",
    [
        ":result:`mnist-paper: bn: nothing`",
        ":result:`nothing: bn: test_accuracy`",
        ":setting:`mnist-paper: bn: nothing`",
        ".. records:: nothing",
    ],
)
def test_an_unknown_key_fails_the_build(tmp_path, root, text):
    done = build(tmp_path, root, text)
    assert done.returncode != 0
    assert "nothing" in done.stderr


def test_every_record_has_its_place_on_the_records_page(root):
    page = (root / "book" / "records.md").read_text(encoding="utf-8")
    for path in (root / "results").glob("*.json"):
        assert f"(record-{path.stem})=" in page
        assert f"```{{records}} {path.stem}" in page


def test_the_sweep_is_shown_as_a_grid(tmp_path, root, result):
    done = build(tmp_path, root, ".. records:: mnist-sweep\n   :grid: held_out_accuracy")
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    for arm in ("plain-lr0.1-std0.3", "bn-lr10-gain4"):
        number = result.look_up(f"mnist-sweep: {arm}: held_out_accuracy: percent").text
        assert number in html


def test_a_table_of_arms_refuses_a_figure_that_no_run_has(tmp_path, root):
    done = build(tmp_path, root, ".. records:: mnist-paper\n   :figures: test_accuracy speed")
    assert done.returncode != 0
    assert "speed" in done.stderr


def cells(table):
    """Return the text of a table's cells, row by row."""
    return [[cell.astext().replace("\u202f", " ") for cell in row] for row in rows(table)]


def rows(table):
    from docutils import nodes

    return table.findall(nodes.row)


def test_a_sweep_of_rates_is_one_table_and_says_what_diverged(result):
    def run(kind, lr, seed, accuracy):
        final = {"accuracy": accuracy, "diverged": float(accuracy is None)}
        config = {"lr": lr, "batch_norm": kind == "bn"}
        return Run(f"{kind}-lr{lr:g}", seed, config, {}, final, 1.0, PROVENANCE)

    runs = [run("plain", 0.1, 0, 0.5), run("plain", 0.1, 1, 0.6)]
    runs += [run("plain", 0.5, 0, None), run("plain", 0.5, 1, None)]
    runs += [run("bn", 0.1, 0, 0.75), run("bn", 0.5, 0, 0.875), run("bn", 0.5, 1, None)]
    _, table = result._rates(runs, "accuracy")
    assert cells(table) == [
        ["learning rate", "without BN", "with BN"],
        ["0.1", "55.0 ± 7.1 % (n = 2)", "75.0 % (n = 1)"],
        ["0.5", "diverged", "87.5 % (n = 1), 1 of 2 diverged"],
    ]


def test_a_table_of_arms_shows_the_settings_asked_for(result):
    runs = [make(arm, 0, 0.5, 7) for arm in ("plain", "bn")]
    table = result._arms(runs, ["lr"], ["accuracy"])
    assert cells(table)[:3] == [
        ["", "without BN", "with BN"], ["learning rate", "0.1", "0.1"], ["seeds", "1", "1"],
    ]  # fmt: skip
    with pytest.raises(RecordError, match="'epochs' is no setting of plain, bn"):
        result._arms(runs, ["epochs"], ["accuracy"])


@pytest.mark.parametrize(
    ("arms", "across", "tables"),
    [
        ("abcdef", 3, ["abc", "def"]),
        ("abcdefg", 3, ["abc", "de", "fg"]),
        ("abc", 3, ["abc"]),
        ("abcd", 3, ["ab", "cd"]),
        ("abcdefg", 1, list("abcdefg")),
        ("abcdefg", None, ["abcdefg"]),
    ],
)
def test_many_arms_are_split_evenly_into_tables(result, arms, across, tables):
    runs = [make(arm, seed, 0.5, 7) for arm in arms for seed in range(2)]
    parts = result._parts(runs, across)
    assert ["".join(dict.fromkeys(run.arm for run in part)) for part in parts] == tables
    assert sum(map(len, parts)) == len(runs)


def test_a_table_may_lack_a_figure_that_another_table_of_the_study_has(result):
    runs = [make("plain", 0, 0.5, 7), make("bn", 0, 0.5, 7)]
    runs[1].final["drift"] = 0.25
    assert cells(result._arms(runs[:1], [], ["drift"], of=runs))[-1] == ["drift", "–"]
    with pytest.raises(RecordError, match="no run has the figure 'speed'"):
        result._arms(runs[:1], [], ["speed"], of=runs)


def test_a_wide_record_is_printed_in_narrow_tables(tmp_path, root, labels):
    text = ".. records:: outside-sigmoid\n   :settings: lr\n   :across: 3\n   :figures: loss"
    done = build(tmp_path, root, text)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    heads = [head.count("<th ") for head in re.findall("<thead>.*?</thead>", html, re.DOTALL)]
    assert heads == [4, 4]  # the names of the rows, and three of the six arms
    for arm in {run.arm for run in load("outside-sigmoid", root / "results")}:
        assert f"<p>{labels.arm(arm)}</p>" in html


def test_a_table_of_arms_shows_as_many_decimals_as_asked_for(result):
    final = {"accuracy": 0.5, "noise": 0.14918, "steps": 1000.25}
    runs = [Run("bn", 0, {"lr": 0.1}, {}, final, 1.0, PROVENANCE)]
    usual = cells(result._arms(runs, ["lr"], list(final)))
    more = cells(result._arms(runs, ["lr"], list(final), 4))
    accuracy, steps = ["accuracy", "50.0 % (n = 1)"], ["steps", "1 000 (n = 1)"]
    noise = "noise of a normalized value"
    assert usual[3:] == [accuracy, [noise, "0.15 (n = 1)"], steps]
    assert more[3:] == [accuracy, [noise, "0.1492 (n = 1)"], steps]


def test_the_option_decimals_reaches_the_table(tmp_path, root, result):
    text = ".. records:: estimates\n   :figures: noise_60\n   :decimals: 4"
    done = build(tmp_path, root, text)
    assert done.returncode == 0, done.stderr
    number = result.look_up("estimates: bn: noise_60: .4f").text
    assert number in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_the_origin_names_pytorch_where_it_was_used(result):
    run = make("bn", 0, 0.5, 7)
    assert "PyTorch" not in result.origin([run], "study")
    with_torch = PROVENANCE | {"torch": "2.13.0", "precision": "bfloat16"}
    run = Run("bn", 0, {}, {}, {}, 1.0, with_torch)
    assert "PyTorch 2.13.0 in bfloat16" in result.origin([run], "study")


def test_the_command_beside_a_record_makes_it_again(root, monkeypatch):
    asked = {}

    class AskedError(Exception):
        pass

    def ask(study, arms, run_task, *, seeds, **rest):
        asked[study] = seeds
        raise AskedError

    monkeypatch.setattr(command, "run_study", ask)
    page = (root / "book" / "records.md").read_text(encoding="utf-8")
    kept = {}
    for section in page.split("\n(record-")[1:]:
        if not (line := re.search(r"`python -m bn (train [^`]*)`", section)):
            continue
        with pytest.raises(AskedError):
            main(line[1].split())
        study = re.search(r"```\{records\} (\S+)", section)[1]
        runs = Counter(run.arm for run in load(study))
        kept[study] = min(runs.values())  # an arm may have got more, by a command named after
    assert asked == kept
    assert len(kept) == page.count("```{records}")


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ("bn", "Mean ± standard deviation over 5"),
        ("bn - plain", "Mean and its 95 % interval over 5"),
    ],
)
def test_the_origin_says_what_the_number_is(result, folder, arms, says):
    assert result.look_up(f"study: {arms}: steps: integer", folder).origin.startswith(says)
