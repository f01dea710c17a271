"""Draw the book's figures before the pages are read.

Every module in ``book/figures`` has a ``draw() -> Figure``; its picture becomes
``book/_generated/NAME.svg``. Figures that show measurements read them from ``results/``, so
they cannot differ from the records. A file is rewritten only when its content changed, which
keeps rebuilding fast.

A figure that a notebook draws can stand in a chapter too: the picture of each cell with a name
(``mystnb.figure.name`` in its metadata) becomes ``book/_generated/NAME.png``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nbformat
from matplotlib.figure import Figure
from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parents[1]
SOURCES, GENERATED = BOOK / "figures", BOOK / "_generated"
NOTEBOOKS = BOOK.parent / "notebooks"
README_PICTURE = BOOK / "_static" / "mnist-accuracy.svg"
README_RECORD = BOOK.parent / "results" / "mnist-paper.json"


def draw(source: Path) -> Figure:
    """Run one module's ``draw``."""
    spec = importlib.util.spec_from_file_location(f"book_figure_{source.stem}", source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figure: Figure = module.draw()
    return figure


def svg(source: Path, **metadata: str) -> bytes:
    """Draw one module's figure as SVG, without a date, so that the same figure is the same file."""
    figure = draw(source)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, **metadata})
    plt.close(figure)
    return buffer.getvalue()


def stored(notebook: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and PNG of each named figure that a notebook stores."""
    for cell in nbformat.read(notebook, as_version=4).cells:  # type: ignore[no-untyped-call]
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        pictures = [
            output.data["image/png"]
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        if name and len(pictures) != 1:
            raise ValueError(
                f"{notebook.name}: the cell of {name} stores {len(pictures)} pictures, expected 1; "
                f"run make outputs NOTEBOOK=notebooks/{notebook.name}"
            )
        if name:
            yield name, base64.b64decode(pictures[0])


def draw_all(app: Sphinx | None = None) -> list[Path]:
    """Draw every figure, take the others from the notebooks; return the files."""
    GENERATED.mkdir(exist_ok=True)
    pictures: dict[str, bytes] = {}
    for source in sorted(SOURCES.glob("[a-z]*.py")):
        pictures[f"{source.stem.replace('_', '-')}.svg"] = svg(source)
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        for name, picture in stored(notebook):
            if f"{name}.png" in pictures:
                raise ValueError(f"{notebook.name}: another notebook has a figure named {name}")
            pictures[f"{name}.png"] = picture
    for file, picture in pictures.items():
        target = GENERATED / file
        if not target.exists() or target.read_bytes() != picture:
            target.write_bytes(picture)
    return [GENERATED / file for file in pictures]


def record_hash() -> str:
    """Return the SHA-256 of the record behind the README's picture."""
    # Git may have changed the line ends on Windows.
    content = README_RECORD.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(content).hexdigest()


def renew_readme_picture() -> None:
    """Draw the README's picture again, and note in it which record it shows."""
    source = SOURCES / "mnist_accuracy.py"
    README_PICTURE.write_bytes(svg(source, Source=record_hash()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw when the configuration is known and before any page is read."""
    app.connect("builder-inited", draw_all)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for path in draw_all():
        print(path)
    renew_readme_picture()
    print(README_PICTURE)
