"""Draw the book's figures before the pages are read.

Every module in ``book/figures`` has a ``draw() -> Figure``; its picture becomes
``book/_generated/NAME.svg``. Figures that show measurements read them from ``results/``, so
they cannot differ from the records. A file is rewritten only when its content changed, which
keeps rebuilding fast.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parents[1]
SOURCES, GENERATED = BOOK / "figures", BOOK / "_generated"
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


def draw_all(app: Sphinx | None = None) -> list[Path]:
    """Draw every figure; return the files."""
    GENERATED.mkdir(exist_ok=True)
    files = []
    for source in sorted(SOURCES.glob("[a-z]*.py")):
        picture = svg(source)
        target = GENERATED / f"{source.stem.replace('_', '-')}.svg"
        if not target.exists() or target.read_bytes() != picture:
            target.write_bytes(picture)
        files.append(target)
    return files


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
