"""`make address`: one address, the same everywhere, and Colab links that lead somewhere."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tools import address, book, browser

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "_config.yml",
    "_toc.yml",
    "README.md",
    "CITATION.cff",
    "book",
    "notebooks",
    "results",
    "bn",
    "tests",  # the paper map looks for its marks there
)
SET_UP = """{
 "cells": [
  {
   "cell_type": "code",
   "execution_count": 1,
   "id": "a",
   "metadata": {
    "tags": [
     "setup"
    ]
   },
   "outputs": [],
   "source": [
    "REPOSITORY = \\"\\"  # written by make address\\n",
    "print(\\"é\\")"
   ]
  }
 ],
 "metadata": {},
 "nbformat": 4,
 "nbformat_minor": 5
}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The least that carries an address."""
    (tmp_path / "_config.yml").write_text(
        "title: A\n# address:begin\n# address:end\nhtml:\n  favicon: x\n"
        "  # address:begin\n  # address:end\nsphinx: {}\n"
    )
    (tmp_path / "README.md").write_text(
        "# A\n<!-- address:begin -->\n<!-- address:end -->\nText.\n"
    )
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "preface.md").write_text(
        "# A\n\n<!-- address:begin -->\n<!-- address:end -->\n\nText.\n"
    )
    (tmp_path / "CITATION.cff").write_text("title: A\n# address:begin\n# address:end\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "one.ipynb").write_text(SET_UP, encoding="utf-8")
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {p.name: p.read_text("utf-8") for p in root.rglob("*") if p.is_file()}


def test_all_places_of_this_repository_agree() -> None:
    found = address.read(ROOT)
    assert len(set(found.values())) == 1, f"run make address REPOSITORY=owner/name: {found}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that the book is built from."""
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_every_place_is_as_the_tool_writes_it(copy: Path) -> None:
    assert address.write(address.read(ROOT)["_config.yml"], copy) == []


def test_write_change_and_remove(small: Path) -> None:
    before = contents(small)
    changed = address.write("ada/batch-norm", small)
    assert sorted(changed) == [
        "CITATION.cff", "README.md", "_config.yml", "book/preface.md", "notebooks/one.ipynb",
    ]  # fmt: skip
    assert set(address.read(small).values()) == {"ada/batch-norm"}
    assert address.write("ada/batch-norm", small) == []

    address.write("grace/other", small)
    assert set(address.read(small).values()) == {"grace/other"}
    assert not any("ada/" in text for text in contents(small).values())

    address.write("", small)
    assert contents(small) == before  # down to the last byte


def test_places_that_disagree_are_told_apart(small: Path) -> None:
    address.write("ada/batch-norm", small)
    citation = small / "CITATION.cff"
    citation.write_text(citation.read_text().replace("ada/", "eve/"))
    assert address.read(small)["CITATION.cff"] == "eve/batch-norm"
    assert address.read(small)["README.md"] == "ada/batch-norm"


def test_configuration_is_what_the_theme_needs(small: Path) -> None:
    address.write("Ada/batch-norm", small)
    config = yaml.safe_load((small / "_config.yml").read_text())
    assert config["repository"] == {
        "url": "https://github.com/Ada/batch-norm",
        "branch": "main",
    }
    assert config["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
    assert config["html"]["baseurl"] == "https://ada.github.io/batch-norm/"
    assert config["html"]["favicon"] == "x"


@pytest.mark.parametrize(
    "wrong",
    [
        "batch-norm",
        "https://github.com/ada/batch-norm",
        "ada/batch-norm.git",
        "ada/batch norm",
        "ada/b/c",
        "-ada/b",
        "ada/..",
        'ada/b"',
        "ada/",
    ],
)
def test_wrong_form_is_refused_and_nothing_written(small: Path, wrong: str) -> None:
    before = contents(small)
    with pytest.raises(address.AddressError, match="owner/name"):
        address.write(wrong, small)
    assert contents(small) == before


@pytest.mark.parametrize(
    "name",
    ["README.md", "_config.yml", "book/preface.md", "CITATION.cff", "notebooks/one.ipynb"],
)
def test_missing_mark_is_named_and_nothing_written(small: Path, name: str) -> None:
    path = small / name
    path.write_text(path.read_text().replace("address", "adress"))
    before = contents(small)
    with pytest.raises(address.AddressError, match=path.name):
        address.write("ada/batch-norm", small)
    assert contents(small) == before


def test_failed_write_leaves_the_old_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(small)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tools.notebooks.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        address.write("ada/batch-norm", small)
    assert contents(small) == before


def test_colab_links_of_a_built_book_lead_to_notebooks(copy: Path) -> None:
    address.write("ada/batch-norm", copy)
    site = book.build(copy).parent
    link = re.compile(r"https://colab\.research\.google\.com/github/([^\"')?#]*)")
    for page in browser.pages(copy / "_toc.yml"):
        found = set(link.findall((site / f"{page}.html").read_text("utf-8")))
        if not page.startswith("notebooks/"):
            assert not found, f"{page} is no notebook, and links to Colab"
            continue
        assert found == {f"ada/batch-norm/blob/main/{page}.ipynb"}
        assert (copy / f"{page}.ipynb").is_file()
    readme = link.findall((copy / "README.md").read_text("utf-8"))
    assert readme
    for target in readme:
        path = target.removeprefix("ada/batch-norm/blob/main/")
        assert (copy / path).is_file()
        assert path.endswith(".ipynb")


def test_site_without_an_address_names_no_repository(site: Path) -> None:
    if address.read(ROOT)["_config.yml"]:
        pytest.skip("this copy has an address")
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert "colab.research.google.com/github" not in text, page.name
        # Jupyter Book's default, where nothing else is set
        assert "github.com/executablebooks" not in text, page.name
