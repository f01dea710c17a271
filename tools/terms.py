"""Terms of the glossary that pages use before they are introduced.

The glossary is the table under "Terms" in book/notation.md: a term, and what it means, with the
page that introduces it in brackets. Before that page, in the order of _toc.yml, no page may use
the term, except to say what it needs or teaches (the box "Before you start"). On that page, a line
``% term: Jacobian`` above the paragraph that introduces it says that no line above does; a page
without such a line can use the term anywhere.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = Path("book", "notation.md")
#: Terms whose words mean other things elsewhere, and how they are recognized.
PATTERNS = {
    "`cache`": r"`cache`",
    "ρ": r"\\rho(?![_a-z])",
    "detach": r"`detach\(\)`|`detach`",
    "plane": r"\b[Pp]lanes? of (?:a|one) channel",
    "He's standard deviation": r"\bHe(?:'s| et al|’s)|Kaiming",
    "pivot": r"\bpivots?\b",
    "drift": r"(?<!-)\bdrifts?\b",
}
#: Parts of a line that are no words of the text, and what stands for them.
HIDDEN = (
    (re.compile(r"\]\([^)]*\)"), "]"),  # where a link leads
    (re.compile(r"\{(?:eq|numref|ref|cite|result|setting|bench|term)\}`[^`]*`"), " "),
    (re.compile(r"<(?:result|bench)\b[^`]*>`"), "`"),  # the condition of a claim
)


class Term(NamedTuple):
    """A row of the glossary."""

    name: str
    page: str  # book/transform
    pattern: re.Pattern[str]


class Line(NamedTuple):
    """A line of text that a reader sees."""

    where: int  # its number in a page, or that of its cell in a notebook
    text: str


def glossary(root: Path = ROOT) -> list[Term]:
    """Return the terms, in the order of the table."""
    text = (root / GLOSSARY).read_text(encoding="utf-8")
    pages = dict(re.findall(r"^\[([^\]]*)\]: (\S+)\.(?:md|ipynb)$", text, re.MULTILINE))
    table = text.partition("\n## Terms\n")[2].partition("\n## ")[0]
    terms = []
    for row in re.findall(r"^\| (.*?) \| .* \(\[(.*?)\]\) \|$", table, re.MULTILINE):
        name, page = row
        target = pages[page]
        path = target.removeprefix("../") if target.startswith("../") else f"book/{target}"
        terms.append(Term(name, path, pattern(name)))
    return terms


def pattern(name: str) -> re.Pattern[str]:
    """Return what finds a term and its plural, in either case."""
    plain = PATTERNS.get(name) or rf"\b{re.escape(name.strip('`'))}s?\b"
    return re.compile(plain, re.IGNORECASE if name not in PATTERNS else 0)


def lines(path: Path) -> Iterator[Line]:
    """Yield what a reader sees of a page or a notebook, and comments ``% term: ...``."""
    if is_notebook(path):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for number, cell in enumerate(cells, 1):
            if cell["cell_type"] == "markdown":
                for line in visible("".join(cell["source"])):
                    yield Line(number, line.text)
    else:
        yield from visible(path.read_text(encoding="utf-8"))


def is_notebook(path: Path) -> bool:
    """Whether a page is a notebook."""
    return path.suffix == ".ipynb"


def visible(text: str) -> Iterator[Line]:
    """Yield the lines of Markdown without code, options, comments and links' targets."""
    fences: list[tuple[str, bool]] = []  # of each open block: its fence, and whether it is hidden
    for number, line in enumerate(text.splitlines(), 1):
        if fence := re.match(r"\s*(`{3,}|:{3,})(.*)", line):
            if fences and not fence[2].strip() and len(fence[1]) >= len(fences[-1][0]):
                fences.pop()
            else:
                name = fence[2].strip()
                hidden = not re.match(r"\{(?!literalinclude|code)", name)
                hidden |= "Before you start" in name
                fences.append((fence[1], hidden))
                if not hidden:  # the title of an exercise or a box
                    yield Line(number, name.partition("}")[2])
            continue
        if any(hidden for _, hidden in fences) or re.match(r"\s*:[\w-]+:", line):
            continue
        if line.startswith("%") and not line.startswith("% term:"):
            continue
        for part, instead in HIDDEN:
            line = part.sub(instead, line)
        yield Line(number, line)


def too_early(terms: list[Term], pages: list[Path], root: Path = ROOT) -> list[str]:
    """Return each use of a term before it is introduced: page, line and word."""
    found = []
    order = [path.relative_to(root).with_suffix("").as_posix() for path in pages]
    for term in terms:
        if term.page not in order:
            found.append(f"{GLOSSARY}: {term.name}: {term.page} is no page that is read in order")
            continue
        last = order.index(term.page)
        for path in pages[: last + 1]:
            here = list(lines(path))
            if path is pages[last]:
                marks = [k for k, line in enumerate(here) if line.text == f"% term: {term.name}"]
                if not any(term.pattern.search(line.text) for line in here):
                    found.append(f"{GLOSSARY}: {term.name}: {term.page} does not use it")
                here = here[: marks[0]] if marks else []
            name = path.relative_to(root).as_posix() + (":cell " if is_notebook(path) else ":")
            where = "further down" if path is pages[last] else f"in {term.page}"
            found += [
                f"{name}{line.where}: {word[0]!r} is introduced {where}"
                for line in here
                if not line.text.startswith("%") and (word := term.pattern.search(line.text))
            ]
    return found


def unmarked(terms: list[Term], root: Path = ROOT) -> list[str]:
    """Return the terms of which no line says where on their page they are introduced."""
    out = []
    for term in terms:
        path = root / f"{term.page}.md"
        if path.is_file() and not re.search(
            rf"^% term: {re.escape(term.name)}$", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            out.append(f"{term.name} ({term.page})")
    return out


def reading_order(root: Path = ROOT) -> list[Path]:
    """Return the pages that are read one after the other: those before the glossary's."""
    from tools import browser

    names = browser.pages(root / "_toc.yml")
    names = names[: names.index(GLOSSARY.with_suffix("").as_posix())]
    paths = [root / f"{name}{end}" for name in names for end in (".md", ".ipynb")]
    return [path for path in paths if path.is_file()]


def main() -> None:
    """Print what is used too early."""
    terms = glossary()
    found = too_early(terms, reading_order())
    print(
        f"terms: without a line '% term: ...' on their page: {', '.join(unmarked(terms)) or 'none'}"
    )
    if found:
        sys.exit("\n".join([*found, f"terms: {len(found)} used before they are introduced"]))
    print("terms: none is used before it is introduced")


if __name__ == "__main__":
    main()
