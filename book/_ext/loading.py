"""Sphinx extension: what a page loads before a reader sees it, and what it says of itself.

The theme makes a page wait for scripts that nothing on it needs at once, and leaves it without
colours until the last of them has run.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# Sets light or dark before anything is drawn; the theme's own script, at the page's end, then
# finds what it would set itself. Without JavaScript the page is light.
THEME = """<script>
    {
      const page = document.documentElement, kept = name => localStorage.getItem(name);
      page.dataset.mode = kept("mode") || "auto";
      const dark = kept("mode") === "dark" || (page.dataset.mode === "auto" &&
        matchMedia("(prefers-color-scheme: dark)").matches);
      page.dataset.theme = dark ? "dark" : "light";
    }
  </script>"""

LIGHTER: list[tuple[str, str]] = [
    # Font Awesome as a script (1.5 MB) draws the icons that its style sheet and fonts show too.
    (r"<script src=\"[^\"]*fontawesome[^\"]*\.js[^\"]*\"></script>", ""),
    # Its fonts come when an icon asks for one; few pages ask for two.
    (r"<link rel=\"preload\" as=\"font\"[^>]*>", ""),
    (r'<script data-cfasync="false">.*?</script>', THEME),
    (r'data-theme="auto"', 'data-theme="light"'),
    # Scripts of the head wait until the page has been read; what follows them waits as well.
    (r'<script src="', '<script defer="defer" src="'),
    (r'<script (data-[a-z-]+="[^"]*") src="', r'<script defer="defer" \1 src="'),
    (r"<script>(DOCUMENTATION_OPTIONS\.)", r'<script type="module">\1'),
]

LONGEST = 200  # characters of a description; search engines show some 160


def lighten(page: str) -> str:
    """Return a finished page that waits for less."""
    for heavy, light in LIGHTER:
        page = re.sub(heavy, light, page, flags=re.DOTALL)
    return page


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give a page a description, and a title that says the book's name once."""
    title = re.sub("<[^>]*>", "", context.get("title", "Index"))
    text = (context.get("meta") or {}).get("description") or (doctree and opening(doctree))
    if not text:
        text = f"{title}: {app.config.html_title}."
    description = f'<meta name="description" content="{html.escape(text)}" />'
    context["metatags"] = context.get("metatags", "") + description
    if title.casefold() == app.config.html_title.casefold():
        context["docstitle"] = ""  # the theme's template appends it to the page's own


def opening(doctree: nodes.document) -> str:
    """Return the beginning of the first paragraph of running text, cut at a sentence or word."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section | nodes.document):
            text = " ".join(plain(paragraph).split())
            if len(text) > 40:
                return shortened(text)
    return ""


def plain(element: nodes.Node) -> str:
    """Return the text of a node; formulas keep their letters and lose their commands."""
    if isinstance(element, nodes.math):
        return re.sub(r"\\[a-zA-Z]+|[\\{}^_]", "", element.astext()).strip()
    if isinstance(element, nodes.Text):
        return str(element.astext())
    return "".join(map(plain, element.children))


def shortened(text: str) -> str:
    """Return at most LONGEST characters, whole sentences if there are any."""
    if len(text) <= LONGEST:
        return text
    text = text[:LONGEST]
    end = max(text.rfind(f"{mark} ") for mark in ".?!")
    return text[: end + 1] if end > 60 else text[: text.rfind(" ")] + " …"


def lighten_pages(app: Sphinx) -> None:
    """Have every page lightened after its template is filled in."""
    if app.builder.format != "html":
        return
    templates = app.builder.templates
    render: Callable[[str, dict[str, Any]], str] = templates.render
    templates.render = lambda name, context: lighten(render(name, context))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", describe, priority=900)
    app.connect("builder-inited", lighten_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
