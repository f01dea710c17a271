"""The role ``{effort}``: difficulty and minutes, and each exercise has them."""

import io
import re

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

PAGE = """# Title

```{{exercise}} By hand
:label: ex-by-hand

{}

Compute it.
```
"""


def build(tmp_path, root, monkeypatch, first, required=True):
    """Build a page with one exercise; return its HTML and the warnings."""
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    (tmp_path / "index.md").write_text(PAGE.format(first), encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "sphinx_exercise", "effort"],
        "effort_required": required,
        "source_suffix": {".md": "markdown"},  # the default is shared with other tests' builds
    }
    warnings = io.StringIO()
    with patch_docutils(str(tmp_path)), docutils_namespace():
        app = Sphinx(
            tmp_path, None, tmp_path / "out", tmp_path / "trees", "html", settings,
            status=None, warning=warnings,
        )  # fmt: skip
        app.build()
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    return html, warnings.getvalue()


@pytest.mark.parametrize(
    ("text", "dots", "words"),
    [
        ("1, 5", "●○○", "easy, about 5 minutes"),
        ("2,15", "●●○", "medium, about 15 minutes"),
        ("3, 120", "●●●", "hard, about 120 minutes"),
        ("1, 1", "●○○", "easy, about 1 minute"),
    ],
)
def test_what_it_shows(tmp_path, root, monkeypatch, text, dots, words):
    html, warnings = build(tmp_path, root, monkeypatch, f"{{effort}}`{text}`")
    assert warnings == ""
    assert f'<span class="effort"><span aria-hidden="true">{dots}</span> {words}</span>' in html


@pytest.mark.parametrize("text", ["2", "4, 15", "0, 15", "2, 0", "2, 15 min", "two, 15", "2, 1000"])
def test_what_is_malformed_fails_the_build(tmp_path, root, monkeypatch, text):
    _, warnings = build(tmp_path, root, monkeypatch, f"{{effort}}`{text}`")
    assert f"expected a difficulty from 1 to 3 and minutes, '2, 15', got '{text}'" in warnings


@pytest.mark.parametrize("first", ["", "{effort}`2, 15` and text", "Text.\n\n{effort}`2, 15`"])
def test_an_exercise_without_it_fails_the_build(tmp_path, root, monkeypatch, first):
    _, warnings = build(tmp_path, root, monkeypatch, first)
    assert re.search(r"index\.md:3: WARNING: .*exercise ex-by-hand does not begin", warnings)


def test_where_it_is_not_required(tmp_path, root, monkeypatch):
    assert build(tmp_path, root, monkeypatch, "", required=False)[1] == ""
