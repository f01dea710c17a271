"""Every solution in the chapters that is code: it runs, and what it asserts holds."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
#: A solution as MyST writes it, fenced with three ticks or more; its label; what it holds.
SOLUTION = re.compile(r"^(`{3,})\{solution\} (\S+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
EXERCISE = re.compile(r"^`{3,}\{exercise\}.*\n:label: (\S+)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What a chapter is: a page with exercises.
CHAPTERS = [
    page for page in sorted(BOOK.glob("*.md")) if EXERCISE.search(page.read_text(encoding="utf-8"))
]


def codes() -> list[Any]:
    """Return the code of each solution, with page and label; its blocks follow each other."""
    found = []
    for page in CHAPTERS:
        for _, label, content in SOLUTION.findall(page.read_text(encoding="utf-8")):
            if blocks := CODE.findall(content):
                found.append(pytest.param("\n".join(blocks), id=f"{page.stem}:{label}"))
    return found


@pytest.mark.parametrize("code", codes())
def test_its_code_runs(code, tmp_path):
    assert "assert " in code, "a solution should show that it is one: end it with an assert"
    # A process of its own, in an empty folder: nothing may be left over from another solution.
    settings = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(BOOK.parent)}
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=settings, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


def chapters_with_sections() -> list[list[Path]]:
    """Return the pages of each chapter that has exercises: itself, and those under it.

    An appendix is no chapter, and has as many exercises as it needs.
    """
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part for part in contents["parts"] if part["caption"] != "Appendices"]
    chapters = [chapter for part in parts for chapter in part["chapters"]]
    found = [
        [ROOT / f"{entry['file']}.md" for entry in (chapter, *chapter.get("sections", []))]
        for chapter in chapters
    ]
    return [pages for pages in found if set(pages) & set(CHAPTERS)]


def test_every_page_with_exercises_is_in_the_book():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for page in CHAPTERS:
        assert f"file: {page.relative_to(ROOT).with_suffix('').as_posix()}\n" in toc


@pytest.mark.parametrize("pages", chapters_with_sections(), ids=lambda pages: pages[0].stem)
def test_a_chapter_has_five_exercises(pages):
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert sum(len(EXERCISE.findall(text)) for text in texts) >= 5


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_every_exercise_has_its_folded_solution(page):
    text = page.read_text(encoding="utf-8")
    exercises = EXERCISE.findall(text)
    solutions = SOLUTION.findall(text)
    assert [label for _, label, _ in solutions] == exercises
    for _, label, content in solutions:
        assert content.startswith(":class: dropdown\n"), f"{label} is not folded"
