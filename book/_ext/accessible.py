"""Sphinx extension: mend what docutils, Sphinx and the theme write that HTML or ARIA forbids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

# The theme's arrow that unfolds the pages below a chapter, in the sidebar, has no name
# (pydata-sphinx-theme 0.15).
ARROW = "Pages below this one"

SIDEBAR = '<div role="region" aria-label="Sidebar" class="bd-sidebar-primary'

MENDS: list[tuple[str, str]] = [
    # docutils 0.21 calls a bibliography a list whose children are no list items, and its entries
    # by a role that ARIA 1.2 gave up. Without the roles both read well.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r' role="doc-biblioentry"', ""),
    # The elements that these are have the roles anyway.
    (r'<main([^>]*) role="main"', r"<main\1"),
    # docutils closes a paragraph around a list in a field (numpydoc's lists of values), where
    # HTML has closed it at the list.
    (r"<dd class=\"(field-\w+)\"><p><ul", r'<dd class="\1"><ul'),
    (r"</ul>\n</p>", "</ul>"),
    # myst-nb puts paragraphs into the line that unfolds a cell.
    (r'<p( class="(?:collapsed|expanded)[^"]*")>(.*?)</p>', r"<span\1>\2</span>"),
    # The theme says the viewport three times, and loads a page's contents once more for print,
    # with a second title and every id a second time.
    (r'<meta name="viewport" content="width=device-width, initial-scale=1" ?/>', ""),
    (r'<div id="jb-print-docs-body" class="onlyprint">.*?</nav>\s*</div>\s*</div>\s*</div>', ""),
    (r'<div id="jb-print-docs-body" class="onlyprint">.*?</div>\s*</div>\s*</div>', ""),
    # MathJax's one element with capital letters; HTML knows none.
    (r"(</?)mjx-TeXAtom", r"\1mjx-texatom"),
    # The mark and the name of the book stand outside of every landmark, and a paragraph in a link.
    (r'<p class="title logo__title">(.*?)</p>', r'<span class="title logo__title">\1</span>'),
    (r'<div class="bd-sidebar-primary', SIDEBAR),
    # A control is called what stands on it.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'(search-button-field[^>]*aria-label="Search)"', r'\1 Ctrl+K"'),
    # An empty cell at the top left of a table heads nothing.
    (r'<th class="head">(?:<p></p>)?</th>', "<td></td>"),
]


def mend(html: str) -> str:
    """Return a finished page without the faults."""
    for wrong, right in MENDS:
        html = re.sub(wrong, right, html, flags=re.DOTALL)
    # The search page has the theme's field and its own under one id.
    head, _, tail = html.rpartition('id="search-input"')
    if 'id="search-input"' in head:
        html = head + 'id="search-page-input"' + tail
    return html


def name_arrows(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Name the arrows of the sidebar, which is made while the page is written."""
    if "generate_toctree_html" not in context:
        return
    write_sidebar: Callable[..., Any] = context["generate_toctree_html"]

    def write_named(*args: Any, **options: Any) -> Any:
        sidebar = write_sidebar(*args, **options)
        if not isinstance(sidebar, str):  # a tree of BeautifulSoup; a string if it is empty
            for arrow in sidebar.find_all("summary"):
                arrow["aria-label"] = ARROW
        return sidebar

    context["generate_toctree_html"] = write_named


def mend_pages(app: Sphinx) -> None:
    """Have every page mended after its template is filled in."""
    if app.builder.format != "html":
        return
    templates = app.builder.templates
    render: Callable[[str, dict[str, Any]], str] = templates.render
    templates.render = lambda name, context: mend(render(name, context))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", name_arrows, priority=900)  # after the theme added its own
    app.connect("builder-inited", mend_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
