"""Sphinx extension: what the class `dropdown` folds is HTML's own <details>.

Its whole title opens it, with a mouse, a key, or the browser's search, and without a script. The
theme's way needs one, and the title of a solution was a link to its exercise, which stands right
above it.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class Folded(nodes.General, nodes.Element):  # type: ignore[misc]
    """A folded admonition."""


class FoldedTitle(nodes.TextElement):  # type: ignore[misc]
    """The line that opens it."""


class Fold(SphinxPostTransform):
    """Fold admonitions, after titles of exercises and solutions have been resolved."""

    default_priority = 900
    formats = ("html",)

    def run(self, **options: Any) -> None:
        """Mend one page."""
        for section in list(self.document.findall(nodes.section)):
            # Exercises and solutions wrap what they hold in sections, all under the same two ids.
            if {"exercise-content", "solution-content"} & set(section["ids"]):
                section.parent.replace(section, section.children)
        for folded in list(self.document.findall(nodes.Admonition)):
            assert isinstance(folded, nodes.Element)
            if "dropdown" in folded["classes"]:
                folded.replace_self(self.folded(folded))

    def folded(self, admonition: nodes.Element) -> Folded:
        """Return the same, folded."""
        title, *content = admonition.children
        for link in list(title.findall(nodes.reference)):
            link.replace_self(link.children)
        classes = [name for name in admonition["classes"] if name != "dropdown"]
        result: Folded = Folded("", ids=admonition["ids"], classes=[*classes, "admonition", "fold"])
        result += FoldedTitle("", "", *title.children)
        result += content
        return result


def open_fold(self: Any, element: nodes.Element) -> None:
    """Begin <details>."""
    self.body.append(self.starttag(element, "details"))


def close_fold(self: Any, element: nodes.Element) -> None:
    """End it."""
    self.body.append("</details>\n")


def open_title(self: Any, element: nodes.Element) -> None:
    """Begin <summary>."""
    self.body.append(self.starttag(element, "summary", "", CLASS="admonition-title"))


def close_title(self: Any, element: nodes.Element) -> None:
    """End it."""
    self.body.append("</summary>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_node(Folded, html=(open_fold, close_fold))
    app.add_node(FoldedTitle, html=(open_title, close_title))
    app.add_post_transform(Fold)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
