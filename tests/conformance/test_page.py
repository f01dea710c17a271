"""The directive that prints the record on the page."""

import importlib.util
import shutil
import subprocess
import sys

import pytest

from tests.conformance.suites import ROOT

pytest.importorskip("sphinx", reason="the pages are built, and tested, where the book's tools are")

EXTENSIONS = ROOT / "book" / "_ext"


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("_page", EXTENSIONS / "conformance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.51873, "0.519"),
        (2.34e-7, "2.3·10⁻⁷"),
        (1e-6, "10⁻⁶"),
        (4845.0, "4.8·10³"),
        (5.04, "5.04"),
        ("OverflowError", "error"),
        ("NaN", "NaN"),
    ],
)
def test_numbers(page, value, text):
    assert page.number(value) == text


def test_what_is_beyond_its_limit_is_marked(page):
    rows = [
        {"what": "a", "limit": 0.5, "reference": 0.5, "pytorch": 0.51, "numba": 0.5,
         "torch": "NaN"},
        {"what": "b", "limit": "OverflowError", "reference": "OverflowError", "pytorch": 1.0,
         "numba": "OverflowError", "torch": 1.0},
    ]  # fmt: skip
    sentence, table = page.accuracy(rows, {})
    assert table[1:] == [
        ["a (at most 0.5)", "0.5", "0.51 over", "0.5", "NaN over"],
        ["b", "error", "1 over", "error", "1 over"],
    ]
    assert "4 of 6 limits" in sentence


def test_suites_that_catch_nothing_are_named(page):
    titles = [{"name": "torch", "title": "Torch's"}, {"name": "networks", "title": "Networks"}]
    bugs = [{"what": "a", "caught_by": ["torch"]}, {"what": "b", "caught_by": ["torch"]}]
    sentence, table = page.bugs(bugs, {"suites": {"result": titles}})
    assert table == [["mistake", "T"], ["a", "yes"], ["b", "yes"], ["found", "2"]]
    assert "2 mistakes; 2 are found by one alone" in sentence
    assert "T: Torch's." in sentence
    assert "finds none: Networks." in sentence


@pytest.mark.parametrize(
    ("step", "record", "says"),
    [("bugs", "{}", "run `make conformance`"), ("times", "{}", "no table 'times'")],
)
def test_what_is_not_in_the_record_fails_the_build(tmp_path, step, record, says):
    shutil.copytree(EXTENSIONS, tmp_path / "book" / "_ext")
    folder = tmp_path / "results" / "conformance"
    folder.mkdir(parents=True)
    (folder / "conformance.json").write_text(record, encoding="utf-8")
    source = tmp_path / "source"
    source.mkdir()
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path / 'book' / '_ext')!r})\n"
        "extensions = ['conformance']\n",
        encoding="utf-8",
    )
    (source / "index.rst").write_text(f"T\n=\n\n.. conformance:: {step}\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", source, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert says in done.stderr
