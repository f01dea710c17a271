"""Draw the book's figures before the pages are read.

Every module in ``book/figures`` has a ``draw() -> Figure``; its picture becomes
``book/_generated/NAME.svg``. Figures that show measurements read them from ``results/``, so
they cannot differ from the records. A file is rewritten only when its content changed, which
keeps rebuilding fast.
"""

from __future__ import annotations

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


def draw(source: Path) -> Figure:
    """Run one module's ``draw``."""
    spec = importlib.util.spec_from_file_location(f"book_figure_{source.stem}", source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figure: Figure = module.draw()
    return figure


def draw_all(app: Sphinx | None = None) -> list[Path]:
    """Draw every figure; return the files."""
    GENERATED.mkdir(exist_ok=True)
    files = []
    for source in sorted(SOURCES.glob("[a-z]*.py")):
        figure = draw(source)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(figure)
        target = GENERATED / f"{source.stem.replace('_', '-')}.svg"
        if not target.exists() or target.read_bytes() != buffer.getvalue():
            target.write_bytes(buffer.getvalue())
        files.append(target)
    return files


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw when the configuration is known and before any page is read."""
    app.connect("builder-inited", draw_all)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for path in draw_all():
        print(path)
