"""The list of the paper's statements, and the markers that code and tests carry.

``paper_map`` puts them on a page; how a marker is written stands there.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]
from sphinx.errors import ExtensionError

MAP = "book/paper-map.yml"
#: What an entry can need.
KINDS = ("chapter", "notebook", "code", "test")
#: What became of a statement in the book; the page says what each means.
MEASURED = ("measured, agrees", "measured, agrees in part", "measured, does not agree")
VERDICTS = ("definition", "derived", *MEASURED, "retold")
KEYS = {"id", "name", "label", "says", "verdict", "note", "needs"}


class MapError(ExtensionError):
    """The list of statements cannot be used as it is."""


class Entry(NamedTuple):
    """One statement of the paper."""

    id: str
    section: str
    name: str
    says: str
    label: str
    verdict: str  # empty for later
    note: str
    needs: tuple[str, ...]
    later: bool
    line: int


class Definition(NamedTuple):
    """A function or class, with the ids of the entries that it computes or tests."""

    ids: tuple[str, ...]
    path: str
    line: int  # of the marker
    name: str  # qualified, within its module


def load(root: Path) -> dict[str, Entry]:
    """Read the list of statements, in its order.

    Raises
    ------
    MapError
        If it is not of the form that is described at its top.
    """
    try:
        text = (root / MAP).read_text(encoding="utf-8")
        listed = yaml.safe_load(text)
        rows = [(part, dict(row)) for part in listed["sections"] for row in part["entries"]]
    except (OSError, yaml.YAMLError, TypeError, ValueError, KeyError) as error:
        raise MapError(f"{MAP} cannot be read as sections with entries: {error!r}") from error
    entries: dict[str, Entry] = {}
    for part, row in rows:
        name = str(row.get("id"))
        if not {"id", "name", "says", "needs"} <= row.keys() <= KEYS:
            has, takes = ", ".join(row), "id, name, says, needs, and perhaps label, verdict, note"
            raise MapError(f"{MAP}: entry {name} has {has}; it takes {takes}")
        if name in entries:
            raise MapError(f"{MAP}: the id {name} stands there twice")
        if not row["needs"] or not set(row["needs"]) <= set(KINDS):
            raise MapError(
                f"{MAP}: entry {name} needs {row['needs']}, not one of {', '.join(KINDS)}"
            )
        later, verdict = part.get("later", False), row.get("verdict", "")
        if verdict not in VERDICTS and not (later and not verdict):
            raise MapError(
                f"{MAP}: entry {name} has the verdict {verdict!r}; it takes one of "
                f"{'; '.join(VERDICTS)}, and in a section marked later it can have none"
            )
        entries[name] = Entry(
            name, str(part["section"]), row["name"], row["says"], row.get("label", ""), verdict,
            row.get("note", ""), tuple(row["needs"]), later,
            1 + text.partition(f"id: {name}\n")[0].count("\n"),
        )  # fmt: skip
    return entries


def ids_in(comment: str, word: str = "paper") -> tuple[str, ...]:
    """Return the ids that a comment names behind ``word:``; none if it is no such marker."""
    found = [re.fullmatch(f"{word}:(.*)", line.strip()) for line in comment.splitlines()]
    return tuple(name.strip() for match in found if match for name in match[1].split(","))


def definitions(path: Path, root: Path) -> Iterator[Definition]:
    """Yield the markers of a Python file; the name is empty where one belongs to nothing."""
    text = path.read_text(encoding="utf-8")
    if "paper:" not in text:
        return
    lines, scopes = text.splitlines(), list(_scopes(ast.parse(text), ""))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (ids := ids_in(token.string.removeprefix("#"))):
            line = below = token.start[0]
            while below <= len(lines) and lines[below - 1].lstrip().startswith("#"):
                below += 1
            above = [name for first, _, name in scopes if first == below]
            around = [name for first, last, name in scopes if first <= line <= last]
            name = (above or around or [""])[-1]
            yield Definition(ids, path.relative_to(root).as_posix(), line, name)


def _scopes(node: ast.AST, within: str) -> Iterator[tuple[int, int, str]]:
    """Yield first line, last line and name of what a marker can belong to, the outer ones first.

    That is each function, each class, and each constant of the module.
    """
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}".lstrip(".")
            first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            yield first, child.end_lineno or child.lineno, name
        elif isinstance(node, ast.Module) and isinstance(child, ast.Assign | ast.AnnAssign):
            target = child.targets[0] if isinstance(child, ast.Assign) else child.target
            yield child.lineno, child.end_lineno or child.lineno, ast.unparse(target)
        yield from _scopes(child, name)


def documented(definition: Definition, root: Path, objects: Container[str]) -> tuple[str, bool]:
    """Return the name that the API page has for it, if any, and whether it should have one.

    It should where the package's ``__init__`` imports it. A method of a class whose methods are
    not on the page is found as its class.
    """
    module = definition.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    first, *rest = definition.name.split(".")
    public = [package for package in _above(module) if first in _imported(root, package, module)]
    for package in [*public, module]:
        for length in range(len(rest), -1, -1):
            name = ".".join([package, first, *rest[:length]])
            if name in objects:
                return name, bool(public)
    return "", bool(public)


def _above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]


def _imported(root: Path, package: str, module: str) -> set[str]:
    """Return the names that a package's ``__init__`` takes from a module."""
    path = root / package.replace(".", "/") / "__init__.py"
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    taken = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == module]
    return {alias.name for node in taken for alias in node.names}
