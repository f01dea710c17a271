"""Sphinx extension: mend what docutils and the theme write and a screen reader cannot follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

# docutils marks the bibliography as a list whose children are no list items
# (docutils 0.21: role="doc-biblioentry"), which ARIA forbids. Without the role it reads well.
WRONG = '<div role="list" class="citation-list">'
RIGHT = '<div class="citation-list">'

# The theme's arrow that unfolds the pages below a chapter, in the sidebar, has no name
# (pydata-sphinx-theme 0.15).
ARROW = "Pages below this one"


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Replace the wrong markup in a page that is about to be written."""
    if "body" in context:
        context["body"] = context["body"].replace(WRONG, RIGHT)
    if "generate_toctree_html" in context:
        write_sidebar: Callable[..., Any] = context["generate_toctree_html"]

        def write_named(*args: Any, **options: Any) -> Any:
            sidebar = write_sidebar(*args, **options)
            if not isinstance(sidebar, str):  # a tree of BeautifulSoup; a string if it is empty
                for arrow in sidebar.find_all("summary"):
                    arrow["aria-label"] = ARROW
            return sidebar

        context["generate_toctree_html"] = write_named


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", mend, priority=900)  # after the theme has added its own
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
