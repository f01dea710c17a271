"""The first line of an exercise: how hard it is, and how long it takes.

The role takes a difficulty (1 easy, 2 medium, 3 hard) and minutes, in a paragraph of its own::

    ```{exercise} By hand
    :label: ex-by-hand

    {effort}`2, 15`

    Compute ...
    ```

Anything else is an error. Unless ``effort_required`` is false, an exercise that does not
begin with it is a warning, which fails the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx_exercise.nodes import is_exercise_node

LEVELS = ("easy", "medium", "hard")

logger = logging.getLogger(__name__)


def parse(text: str) -> tuple[int, int]:
    """Return difficulty and minutes of ``2, 15``."""
    found = re.fullmatch(r"\s*([1-9])\s*,\s*([1-9][0-9]{0,2})\s*", text)
    if found is None or int(found[1]) > len(LEVELS):
        raise ValueError(f"expected a difficulty from 1 to 3 and minutes, '2, 15', got {text!r}")
    return int(found[1]), int(found[2])


class EffortRole(SphinxRole):
    """``{effort}``, described above."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            level, minutes = parse(self.text)
        except ValueError as error:
            message = self.inliner.reporter.error(f"effort: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        dots = "●" * level + "○" * (len(LEVELS) - level)
        time = "1 minute" if minutes == 1 else f"{minutes} minutes"
        text = f" {LEVELS[level - 1]}, about {time}"
        # Read aloud, the dots would say nothing that the words do not.
        picture = nodes.raw("", f'<span aria-hidden="true">{dots}</span>', format="html")
        return [nodes.inline("", "", picture, nodes.Text(text), classes=["effort"])], []


def begins_with_effort(exercise: nodes.Element) -> bool:
    """Whether the first paragraph of an exercise is its effort and nothing else."""
    first = exercise.next_node(nodes.paragraph)
    return (
        first is not None
        and len(first) == 1
        and isinstance(first[0], nodes.inline)
        and "effort" in first[0]["classes"]
    )


def check(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of each exercise of a page that does not say what it takes."""
    if not app.config.effort_required:
        return
    for exercise in doctree.findall(is_exercise_node):
        if not begins_with_effort(exercise):
            logger.warning(
                "effort: the exercise %s does not begin with a paragraph such as {effort}`2, 15`",
                exercise["label"],
                location=exercise,
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("effort_required", True, "env", types=(bool,))
    app.add_role("effort", EffortRole())
    app.connect("doctree-read", check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
