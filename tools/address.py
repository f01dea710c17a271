"""Write the repository's address into every file that carries it, or take it out.

The address stands between marker comments in _config.yml, README.md, the preface and
CITATION.cff, and on one line in the set-up cell of each notebook. Everything is worked out
before the first file is written, each file is written whole or not at all, and a second run
changes nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from textwrap import indent

import yaml  # type: ignore[import-untyped]

from tools import notebooks as nb

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
# GitHub's own rules for the two names.
FORM = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")


class AddressError(Exception):
    """An address of the wrong form, or a file without the marks it should have."""


def validate(address: str) -> str:
    """Return the address, owner/name or empty, or say what is wrong with it."""
    if address and (not FORM.fullmatch(address) or address.endswith(".git")):
        raise AddressError(
            f"{address!r} is not an address of the form owner/name, such as "
            "ada/batch-norm (no https://, no .git)"
        )
    return address


def site(address: str) -> str:
    """Return where GitHub Pages serves the book of this repository."""
    owner, name = address.split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def blocks(address: str, notebooks: list[Path]) -> dict[str, list[str]]:
    """Return, for each file with markers, what belongs between each pair of them."""
    if not address:
        return {
            "_config.yml": ["", ""],
            "README.md": [""],
            "book/preface.md": [""],
            "CITATION.cff": [""],
        }
    url = f"https://github.com/{address}"
    colab = "https://colab.research.google.com"
    config = (
        f"repository:\n  url: {url}\n  branch: {BRANCH}\nlaunch_buttons:\n  colab_url: {colab}\n"
    )
    html = f"baseurl: {site(address)}\nuse_repository_button: true\nuse_issues_button: true\n"
    badges = (
        f"[![tests]({url}/actions/workflows/test.yml/badge.svg?branch={BRANCH})]"
        f"({url}/actions/workflows/test.yml)\n"
    )
    for path in notebooks:
        link = f"{colab}/github/{address}/blob/{BRANCH}/notebooks/{path.name}"
        badges += f"[![{path.stem} on Colab]({colab}/assets/colab-badge.svg)]({link})\n"
    badges += f"\nRead the book: <{site(address)}>\n"
    citation = f"repository-code: {url}\nurl: {site(address)}\n"
    preface = (
        f"The repository is at <{url}>; errors are reported under its [issues]({url}/issues).\n"
    )
    return {
        "_config.yml": [config, html],
        "README.md": [badges],
        "book/preface.md": [preface],
        "CITATION.cff": [citation],
    }


def between_markers(name: str, text: str, contents: list[str]) -> str:
    """Put each content between its pair of markers, indented as the markers are."""
    begin, end = ("<!-- address:begin -->", "<!-- address:end -->")
    if not name.endswith(".md"):
        begin, end = "# address:begin", "# address:end"
    pair = re.compile(
        rf"^(?P<pad> *){re.escape(begin)}\n(?P<old>.*?)^(?P=pad){re.escape(end)}$", re.M | re.S
    )
    found = len(pair.findall(text))
    if found != len(contents):
        raise AddressError(
            f"{name} has {found} pairs of lines {begin!r} and {end!r}; it needs {len(contents)}"
        )
    waiting = iter(contents)
    return pair.sub(
        lambda m: f"{m['pad']}{begin}\n{indent(next(waiting), m['pad'])}{m['pad']}{end}", text
    )


def in_notebook(path: Path, address: str) -> str:
    """Return the notebook's text with the address in its set-up cell."""
    notebook = nb.read(path)
    cells = [c for c in notebook.cells if "setup" in c.metadata.get("tags", [])]
    if len(cells) != 1 or not nb.SETUP_LINE.search(cells[0].source):
        raise AddressError(
            f"{path.name} needs one cell tagged `setup` with the line\n"
            '    REPOSITORY = ""  # written by make address'
        )
    line = f'REPOSITORY = "{address}"  # written by make address'
    source = nb.SETUP_LINE.sub(line, cells[0].source)
    if source == cells[0].source:
        return path.read_text(encoding="utf-8")
    cells[0].source = source
    return nb.as_text(notebook)


def write(address: str, root: Path = ROOT) -> list[str]:
    """Write the address everywhere; return the names of the files that changed."""
    validate(address)
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    new: dict[Path, str] = {}
    for name, contents in blocks(address, notebooks).items():
        path = root / name
        new[path] = between_markers(name, path.read_text(encoding="utf-8"), contents)
    for path in notebooks:
        new[path] = in_notebook(path, address)
    changed = [path for path, text in new.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        nb.replace(path, new[path])
    return [path.relative_to(root).as_posix() for path in changed]


def read(root: Path = ROOT) -> dict[str, str]:
    """Return the address that each place names; empty where it names none."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    urls = {
        "_config.yml": config.get("repository", {}).get("url", ""),
        "CITATION.cff": citation.get("repository-code", ""),
    }
    for name in ("README.md", "book/preface.md"):
        text = (root / name).read_text(encoding="utf-8")
        _, _, rest = text.partition("<!-- address:begin -->")
        urls[name] = rest.partition("<!-- address:end -->")[0]
    found = {}
    for place, text in urls.items():
        match = GITHUB.search(text)
        found[place] = match[1] if match else ""
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        line = nb.SETUP_LINE.search("\n".join(cell.source for cell in nb.read(path).cells))
        found[f"notebooks/{path.name}"] = line[1] if line else ""
    return found


def main() -> None:
    """Write the address given, or print the one that is there."""
    parser = argparse.ArgumentParser(prog="make address", description=__doc__)
    parser.add_argument("repository", nargs="?", help="owner/name; empty to take it out")
    options = parser.parse_args()
    try:
        validate(options.repository or "")
    except AddressError as error:
        parser.error(str(error))
    try:
        if options.repository is None:
            for place, address in read().items():
                print(f"{place}: {address or 'no address'}")
            print("To write one: make address REPOSITORY=owner/name")
            return
        changed = write(options.repository)
    except AddressError as error:
        sys.exit(f"address: {error}")
    print(f"address: {', '.join(changed) if changed else 'nothing to change'}")


if __name__ == "__main__":
    main()
