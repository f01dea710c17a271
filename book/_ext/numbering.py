"""Sphinx extension: a number says where it stands.

Sphinx counts the pages of all numbered parts as chapters, and figures, equations and exercises
within them. Here each page gets a label instead, with which all numbers on it begin:

* chapters 1, 2, 3;
* pages of the part "Appendices" A, B, C;
* the notebook of a chapter or an appendix, ``notebooks/NAME`` beside ``book/NAME``, N and the label
  of that: N1, NA;
* other notebooks, the paper's experiments, E1, E2, E3.

So Figure N2.3 is in the notebook of chapter 2. A figure, an equation or an exercise that has a
number on a page that has none is a warning, which fails the build; and so are equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

APPENDICES = "Appendices"
PAGES, NOTEBOOKS = "book/", "notebooks/"

logger = logging.getLogger(__name__)

Number = tuple[int | str, ...]


def labels(parts: Iterable[tuple[str, list[str]]]) -> dict[str, str]:
    """Return the label of each page, from the captions and pages of the numbered parts."""
    out: dict[str, str] = {}
    counted = {"chapter": 0, APPENDICES: 0, NOTEBOOKS: 0}
    notebooks = []
    for caption, pages in parts:
        for page in pages:
            if page.startswith(NOTEBOOKS):
                notebooks.append(page)
                continue
            kind = APPENDICES if caption == APPENDICES else "chapter"
            counted[kind] += 1
            out[page] = letter(counted[kind]) if kind == APPENDICES else str(counted[kind])
    for page in notebooks:  # last: a notebook can stand before its chapter
        beside = page.replace(NOTEBOOKS, PAGES, 1)
        if beside in out:
            out[page] = f"N{out[beside]}"
        else:
            counted[NOTEBOOKS] += 1
            out[page] = f"E{counted[NOTEBOOKS]}"
    return out


def letter(count: int) -> str:
    """Return A for 1, B for 2, without E and N, which are notebooks'."""
    return "ABCDFGHIJKLMOPQRSTUVWXYZ"[count - 1]


def below(env: BuildEnvironment, page: str) -> Iterator[str]:
    """Yield a page and those that stand below it."""
    yield page
    for inner in env.toctree_includes.get(page, []):
        yield from below(env, inner)


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Put labels in place of the numbers that Sphinx gave; return the pages to write again."""
    contents = env.get_doctree(env.config.root_doc).findall(addnodes.toctree)
    parts = [
        (part["caption"] or "", [page for _, page in part["entries"]])
        for part in contents
        if part.get("numbered")
    ]
    label = {inner: name for page, name in labels(parts).items() for inner in below(env, page)}
    for page, name in label.items():
        relabel(env, page, name)
    check(env)
    return sorted(label)


def relabel(env: BuildEnvironment, page: str, name: str) -> None:
    """Replace the first part of every number of a page."""

    def new(number: Any) -> Any:
        return type(number)([name, *number[1:]]) if number else number

    # The table of contents holds the title's number once more, sometimes in the same list.
    if "secnumber" in env.titles[page]:
        env.titles[page]["secnumber"] = new(env.titles[page]["secnumber"])
    for entry in env.tocs[page].findall(nodes.reference):
        if "secnumber" in entry:
            entry["secnumber"] = new(entry["secnumber"])
    for numbers in [
        env.toc_secnumbers.get(page, {}),
        *env.toc_fignumbers.get(page, {}).values(),
    ]:
        for anchor in numbers:
            numbers[anchor] = new(numbers[anchor])


def check(env: BuildEnvironment) -> None:
    """Warn of numbers that do not say where they stand, and of equal ones."""
    seen: dict[tuple[str, Number], str] = {}
    for page, kinds in env.toc_fignumbers.items():
        for kind, numbers in kinds.items():
            for anchor, number in numbers.items():
                text = ".".join(map(str, number))
                if len(number) < 2:
                    message = "numbering: the page has no number, and its %s %s has one: %s"
                    logger.warning(message, kind, anchor, text, location=page)
                elif other := seen.get((kind, number)):
                    message = "numbering: %s %s is here (%s) and in %s"
                    logger.warning(message, kind, text, anchor, other, location=page)
                seen[kind, number] = page


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("env-get-updated", renumber, priority=900)  # after Sphinx has numbered
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
