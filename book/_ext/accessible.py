"""Sphinx extension: mend what docutils writes and a screen reader cannot follow."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

# docutils marks the bibliography as a list whose children are no list items
# (docutils 0.21: role="doc-biblioentry"), which ARIA forbids. Without the role it reads well.
WRONG = '<div role="list" class="citation-list">'
RIGHT = '<div class="citation-list">'


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Replace the wrong markup in a page that is about to be written."""
    if "body" in context:
        context["body"] = context["body"].replace(WRONG, RIGHT)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
