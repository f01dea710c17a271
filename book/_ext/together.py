"""Sphinx extension: in Korean, a formula and the particle behind it stay on one line.

Particles are written onto the word that they belong to, and a line ends between words. A browser
may end one behind a formula, whatever follows, so that a line would begin with the particle.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LANGUAGE = "language-ko"  # docutils writes a class of this form as the attribute lang
CLASS = "together"
#: What follows a formula without a space, if it is Korean.
PARTICLE = re.compile(r"\(?[\uac00-\ud7a3]\S*")


def keep(app: Sphinx, doctree: nodes.document) -> None:
    """Put each formula and what hangs on it into a span that does not break."""
    for section in doctree.findall(nodes.section):
        if LANGUAGE in section["classes"]:
            for formula in list(section.findall(nodes.math)):
                join(formula)


def join(formula: nodes.math) -> None:
    """Take the particle out of the text behind a formula, into a span with the formula."""
    behind = formula.next_node(descend=False, siblings=True)
    if not isinstance(behind, nodes.Text) or not (found := PARTICLE.match(behind)):
        return
    parent, place = formula.parent, formula.parent.index(formula)
    parent[place : place + 2] = [
        nodes.inline("", "", formula, nodes.Text(found[0]), classes=[CLASS]),
        nodes.Text(behind[found.end() :]),
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", keep)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
