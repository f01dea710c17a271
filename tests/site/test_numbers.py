"""A number in the book says on which page it stands, and no two are equal."""

import html
import posixpath
import re
from pathlib import Path

import pytest

from tools import browser

HEADING = re.compile(r'<h1>(?:<span class="section-number">([^<]*)\. </span>)?')
#: What stands before a number in a caption or title, and the number itself.
CAPTION = re.compile(r'<span class="caption-number">(\w+\.?) ([^<]*?) </span>')
SECTION = re.compile(r'<h[2-6]><span class="section-number">([^<]*)\. </span>')
EQUATION = re.compile(r'<span class="eqno">\(([^)]*)\)')
REFERENCE = re.compile(
    r'<a class="reference internal" href="([^"#]*)#[^"]*"><span class="std std-numref">'
    r"(Fig\.|Table|Exercise) ([^<]*)</span>"
)


def numbers(text: str) -> list[str]:
    """Return all numbers on a page with their kinds: 'Fig. 2.3', '(2.4)'."""
    return [
        *(f"{kind} {number}" for kind, number in CAPTION.findall(text)),
        *(f"({number})" for number in EQUATION.findall(text)),
    ]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    return {n: (site / f"{n}.html").read_text(encoding="utf-8") for n in browser.pages()}


def label(text: str) -> str:
    """Return the number of a page, as it stands before its title."""
    found = HEADING.search(text[text.index('<article class="bd-article"') :])
    assert found
    return found[1] or ""


def test_each_chapter_appendix_and_notebook_has_a_label_of_its_own(pages: dict[str, str]) -> None:
    given = {name: label(text) for name, text in pages.items()}
    numbered = [text for text in given.values() if text]
    assert len(set(numbered)) == len(numbered)
    assert given["book/preface"] == given["book/notation"] == ""
    chapters = [text for name, text in given.items() if name.startswith("book/")]
    assert [t for t in chapters if t.isdigit()] == [
        str(n + 1) for n in range(sum(t.isdigit() for t in chapters))
    ]
    for name, text in given.items():
        if name.startswith("notebooks/"):
            beside = given.get(name.replace("notebooks/", "book/"))
            assert re.fullmatch(rf"N{beside}" if beside else r"E\d+", text), name


def test_numbers_begin_with_the_label_of_their_page(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for number in numbers(text):
            assert re.search(rf"[( ]{label(text)}\.\d+\)?$", number), f"{name}: {number}"


def test_no_two_numbers_are_equal(pages: dict[str, str]) -> None:
    every = [number for text in pages.values() for number in numbers(text)]
    assert len(every) > 150
    assert sorted(every) == sorted(set(every))


def test_sections_begin_with_the_label_of_their_page(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        article = text[text.index('<article class="bd-article"') :]
        for number in re.findall(
            r'<h[2-6]><span class="section-number">([^<]*)\. </span>', article
        ):
            assert re.fullmatch(rf"{label(text)}(\.\d+)+", number), f"{name}: {number}"


def test_references_name_the_page_that_they_lead_to(pages: dict[str, str]) -> None:
    found = 0
    for name, text in pages.items():
        for target, kind, number in REFERENCE.findall(text):
            path = posixpath.join(posixpath.dirname(name), html.unescape(target))
            page = posixpath.normpath(path).removesuffix(".html") if target else name
            assert number.startswith(f"{label(pages[page])}."), f"{name}: {kind} {number}"
            found += 1
    assert found > 20
