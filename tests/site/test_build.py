"""The book builds without a warning, and a build that failed does not pass the next time."""

import shutil
from pathlib import Path

import pytest

from tools import book

CONFIG = """title: Trial
only_build_toc_files: true
execute: {execute_notebooks: "off"}
"""


def test_book_builds_without_a_warning(built: Path | book.BuildError) -> None:
    if isinstance(built, book.BuildError):
        pytest.fail(str(built), pytrace=False)
    assert built.is_file()


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """A book of two pages; the first has a reference that leads nowhere."""
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: one\nchapters: [{file: two}]\n")
    (tmp_path / "one.md").write_text("# One\n\n{ref}`nowhere`\n")
    (tmp_path / "two.md").write_text("# Two\n")
    return tmp_path


def test_a_warning_fails_again_until_it_is_mended(trial: Path) -> None:
    for _ in range(2):  # Sphinx alone is silent about a page that it does not read again
        with pytest.raises(book.BuildError, match="nowhere"):
            book.build(trial)
    (trial / "one.md").write_text("# One\n")
    assert book.build(trial).is_file()


def test_pages_no_longer_in_the_contents_go(trial: Path) -> None:
    (trial / "one.md").write_text("# One\n")
    site = book.build(trial).parent
    assert (site / "two.html").is_file()
    (trial / "_toc.yml").write_text("format: jb-book\nroot: one\n")
    book.build(trial)
    assert not (site / "two.html").exists()


def test_interrupted_build_starts_anew(trial: Path) -> None:
    (trial / "one.md").write_text("# One\n")
    site = book.build(trial).parent
    shutil.rmtree(site / "_static")
    (trial / "_build" / ".book-built-from").unlink()
    book.build(trial)
    assert (site / "_static").is_dir()
