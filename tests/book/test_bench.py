"""The role ``{bench}``: times come from the records of the bench, and an unknown key fails."""

import json
import shutil
import subprocess
import sys

import pytest

from bn.bench import records
from bn.experiments.record import RecordError

MACHINE = {
    "cpu": "a CPU, 2 cores", "python": "3.11.1", "commit": "abc123", "date": "2026-01-01",
    "packages": {"numpy": "2.0.0", "torch": "2.13.0", "numba": None}, "gpu": None,
    "caches": {"L1": "1000K", "L2": "2048K", "L3": "36608K"}, "cores_usable": 2,
}  # fmt: skip
COUNTS = {"wanted": 12, "kept": 9, "dropped_others": 2, "dropped_stolen": 1}


def timed(shape, operation, contender, ms, rounds=12, quiet=True, **more):
    row = {"shape": shape, "operation": operation, "contender": contender, "title": contender}
    figures = {"ms": ms, "low": 0.9 * ms, "high": 1.2 * ms, "faults": 8192, "rounds": rounds}
    return row | figures | {"quiet": quiet} | more


ROWS = [
    timed("8x4x2x2", "both", "torch", 30.0),
    timed("8x4x2x2", "forward", "torch", 10.0),
    timed("8x4x2x2", "both", "numba", 12.0),
    timed("64x32", "both", "torch", 1234.5),
    timed("64x32", "both", "numba", 2.0, rounds=3),
    timed("64x32", "forward", "numba", 1.0, quiet=False),
    {"axis": "N", "size": 64, "contender": "torch", "ms": 5.0, "rounds": 12, "quiet": True},
    {"axis": "C", "size": 64, "contender": "torch", "ms": 5.0, "rounds": 1, "quiet": True},
    {"axis": "N", "contender": "torch", "slope": -0.98, "points": 6},
    {"name": "torch-copy", "gb_per_s": 42.4, "mean": 1e4},
    {"kind": "error", "error_y": 6.2e-7},
]
REACHES = [
    {"what": "kernels, of torch", "limit": 0.6, "at_most": True, "worst": 0.512, "met": True},
    {"what": "images/s", "limit": 1.1, "at_most": False, "worst": 1.05, "met": False},
    {"what": "on a GPU", "limit": 0.85, "at_most": False, "worst": None, "met": None},
    {"what": "in peace", "limit": 1.0, "at_most": True, "worst": 0.9, "met": None},
]  # fmt: skip


def write(folder, section, rows, **more):
    (folder / "bench").mkdir(parents=True, exist_ok=True)
    made = {
        "schema": records.SCHEMA, "section": section, "title": "The layer", "machine": MACHINE,
        "settings": {"copy_gb_per_s": 42.0}, "rounds": [COUNTS, COUNTS], "rows": rows,
    }  # fmt: skip
    made = {key: value for key, value in (made | more).items() if value is not None}
    path = folder / "bench" / f"{section}.json"
    path.write_text(json.dumps(made), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "layers", ROWS)
    write(tmp_path, "reaches", REACHES)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("layers: 8x4x2x2 both torch: ms: .1f", "30.0"),
        ("layers: torch both 8x4x2x2: ms: .1f", "30.0"),
        ("layers: 8x4x2x2 both torch: ms", "30"),
        ("layers: 8x4x2x2 both numba/torch: ms: .2f", "0.40"),
        ("layers: 8x4x2x2 both/forward torch: ms: .1f", "3.0"),
        ("layers: 64x32 both torch: ms: ,.1f", "1 234.5"),
        ("layers: 64x32 both numba: ms: .1f", "2.0 (3 rounds)"),
        ("layers: 64x32 both torch/numba: ms: .0f", "617 (3 rounds)"),
        ("layers: 64x32 forward numba: ms: .1f", "1.0 (others were using the machine)"),
        ("layers: 64x32 forward numba: faults: ,.0f", "8 192"),
        ("layers: N 64 torch: ms: .1f", "5.0"),
        ("layers: C 64 torch: ms: .1f", "5.0 (1 round)"),
        ("layers: N torch: slope: .2f", "−0.98"),
        ("layers: torch-copy: gb_per_s: .0f", "42"),
        ("layers: 10000: gb_per_s: .0f", "42"),
        ("layers: error: error_y: power", "6 · 10⁻⁷"),
        ("layers: machine: cpu", "a CPU, 2 cores"),
        ("layers: machine: caches.L2", "2 MB"),
        ("layers: machine: caches.L1", "1000 kB"),
        ("layers: machine: caches.L3", "35.8 MB"),
        ("layers: machine: cores_usable", "2"),
        ("layers: settings: copy_gb_per_s: .1f", "42.0"),
    ],
)
def test_numbers(bench, folder, key, text):
    quoted = bench.look_up(key, folder)
    assert quoted.text.replace("\u202f", " ") == text
    assert quoted.section == "layers"
    for part in ("bench/layers", "a CPU, 2 cores", "NumPy 2.0.0", "abc123", "2026-01-01"):
        assert part in quoted.origin
    assert "Numba" not in quoted.origin  # it was not there


def test_the_tooltip_tells_rounds_and_spread(bench, folder):
    origin = bench.look_up("layers: 8x4x2x2 both torch: ms", folder).origin
    assert "Median of 12 rounds, quartiles 27 and 36 ms." in origin
    both = bench.look_up("layers: 8x4x2x2 both numba/torch: ms", folder).origin
    assert "quartiles 10.8 and 14.4 ms. Divided: Median of 12 rounds, quartiles 27" in both
    faults = bench.look_up("layers: 8x4x2x2 both torch: faults", folder).origin
    assert "quartiles" not in faults


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("layers: 8x4x2x2 both torch: ms", (30, 27, 36)),
        ("layers: 8x4x2x2 both torch/numba: ms", (2.5, 27 / 14.4, 36 / 10.8)),
        ("layers: 8x4x2x2 both torch: faults", (8192, 8192, 8192)),
        ("layers: cifar: images_per_s", (100, 100 / 1.2, 100 / 0.9)),
        ("layers: N torch: slope", (-0.98, -0.98, -0.98)),
        ("reaches: layer: worst", (0.5, 0.5, 0.5)),
    ],
)
def test_quantities_lie_between_what_the_quartiles_make_of_them(bench, folder, key, expected):
    rate = timed("3x32", "step", "torch", 10.0, network="cifar", images_per_s=100.0)
    write(folder, "layers", [*ROWS, rate])
    measured = [{"section": "layers", "commit": "abc123"}]
    row = {"name": "layer", "worst": 0.5, "quiet": True}
    write(folder, "reaches", [row], machine=None, measured=measured)
    found = bench.quantity(key, folder)
    assert found[:3] == pytest.approx(expected)
    assert found.section in found.origin


def test_words_cannot_rest_on_a_disturbed_time(bench, folder):
    with pytest.raises(RecordError, match="while others were using the machine"):
        bench.quantity("layers: 64x32 forward/both numba: ms", folder)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("layers: torch", "expected 'section: words: figure"),
        ("nothing: torch: ms", "no bench of 'nothing'; known: layers, reaches"),
        ("layers: 8x4x2x2 both jax: ms", "no row is of 'jax'; known: .*numba"),
        ("layers: 8x4x2x2 forward numba: ms", "no row is of '8x4x2x2 forward numba' together"),
        ("layers: 8x4x2x2 torch: ms", "2 rows are of .*operation: both, forward"),
        ("layers: 8x4x2x2 both torch: images_per_s", "'images_per_s' is missing; known: .*ms"),
        ("layers: 8x4x2x2 both torch/: ms", "expected one quotient"),
        ("layers: 8x4x2x2 both/forward torch/numba: ms", "expected one quotient"),
        ("layers: 8x4x2x2 both torch: ms: percents", "format 'percents'"),
        ("layers: machine: colour", "'colour' is missing"),
        ("layers: machine: caches.L9", "'caches.L9' is missing"),
    ],
)
def test_unknown_keys(bench, folder, key, says):
    with pytest.raises(RecordError, match=says):
        bench.look_up(key, folder)


def test_a_record_of_another_schema_is_refused(bench, tmp_path):
    write(tmp_path, "layers", ROWS, schema=records.SCHEMA + 1)
    with pytest.raises(RecordError, match=r"layers\.json is not a record"):
        bench.look_up("layers: 8x4x2x2 both torch: ms", tmp_path)


def test_aims_are_judged_in_words(bench):
    assert [bench.reach(row) for row in REACHES] == [
        ["kernels, of torch", "at most 0.6", "0.51", "yes"],
        ["images/s", "at least 1.1", "1.05", "no"],
        ["on a GPU", "at least 0.85", "–", "–"],
        ["in peace", "at most 1", "0.90", "open"],
    ]


def build(tmp_path, root, folder, text):
    """Build a one-page Sphinx project on the records in a folder, warnings as errors."""
    source = tmp_path / "source"
    source.mkdir()
    conf = (
        f"import sys\nsys.path.insert(0, {str(root / 'book' / '_ext')!r})\n"
        "import pathlib, bench\n"
        f"bench.RESULTS = pathlib.Path({str(folder)!r})\n"
        "extensions = ['bench']\n"
    )
    (source / "conf.py").write_text(conf, encoding="utf-8")
    shutil.copytree(folder / "bench", source / "results" / "bench")
    page = f"Title\n=====\n\n.. _record-bench:\n\nRecord\n------\n\n{text}\n"
    (source / "index.rst").write_text(page, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", source, tmp_path / "out"]
    return subprocess.run(command, capture_output=True, text=True)


def test_in_a_page(tmp_path, root, bench, folder):
    key = "layers: 8x4x2x2 both torch: ms: .1f"
    text = f"It was :bench:`{key}`.\n\n.. bench-records::\n\n.. bench-reaches::"
    done = build(tmp_path, root, folder, text)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert ">30.0<" in html
    assert f'title="{bench.look_up(key, folder).origin}"' in html
    assert 'href="#record-bench"' in html
    assert "The layer (18 rounds counted, 6 disturbed and dropped)" in html
    assert html.count("Measured with a CPU, 2 cores, Python 3.11.1") == 1
    assert 'layers.json"' in html
    assert "at least 1.1" in html


@pytest.mark.parametrize(
    "text",
    [":bench:`layers: 8x4x2x2 both nothing: ms`", ":bench:`nothing: torch: ms`"],
)
def test_an_unknown_key_fails_the_build(tmp_path, root, folder, text):
    done = build(tmp_path, root, folder, text)
    assert done.returncode != 0
    assert "nothing" in done.stderr


@pytest.mark.parametrize("directive", ["bench-records", "bench-reaches"])
def test_without_records_the_build_fails(tmp_path, root, directive):
    (tmp_path / "none" / "bench").mkdir(parents=True)
    done = build(tmp_path, root, tmp_path / "none", f".. {directive}::")
    assert done.returncode != 0
    assert "make bench" in done.stderr
