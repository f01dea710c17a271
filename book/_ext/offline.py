"""Sphinx extension: serve MathJax from the site itself, so that formulas need no network.

The files come from the package sphinx-mathjax-offline. Loaded as an extension, it copies
all of MathJax (24 MB) into the site; this one copies the 2 MB that a page can ask for.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

# The name has hyphens, so `import` cannot say it.
PACKAGE = "sphinx-mathjax-offline"

NEEDED = (
    "tex-chtml.js",  # TeX in, HTML and CSS out
    "output/chtml/fonts/woff-v2/*.woff",
    "input/tex/extensions/*.js",  # loaded when a formula uses one: \boldsymbol, \cancel, ...
)


def source() -> Path:
    """Return the folder of MathJax in the installed package."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed; requirements.txt names it")
    return Path(found.origin).parent / "static" / "mathjax"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy what is needed of MathJax into the finished site."""
    if error is not None or app.builder.format != "html":
        return
    origin, target = source(), Path(app.outdir) / "_static" / "mathjax"
    for pattern in NEEDED:
        found = list(origin.glob(pattern))
        if not found:
            raise ExtensionError(f"{PACKAGE} holds no {pattern}: has its layout changed?")
        for path in found:
            copy = target / path.relative_to(origin)
            if not copy.exists() or copy.stat().st_size != path.stat().st_size:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    # Overrides Sphinx's own value (a CDN); relative to _static.
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
