"""The paper map: markers are found where they stand, and a hole or a stray one fails the build."""

import io
import json
import re
import subprocess
import sys

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

CONF = """
extensions = ['myst_nb', 'paper_map']
nb_execution_mode = 'off'
myst_enable_extensions = ['dollarmath']
html_theme = 'basic'
master_doc = 'index'
exclude_patterns = ['out', 'doctrees', 'jupyter_execute']
"""
MAP = r"""
sections:
  - section: "1"
    entries:
      - id: s1-shift
        name: About s1-shift
        says: Distributions move, $\mu$ too.
        verdict: measured, agrees in part
        needs: [chapter]
      - id: alg-1
        name: About alg-1
        label: Algorithm 1
        says: Normalize.
        verdict: definition
        note: The value of $\epsilon$ is not stated.
        needs: [chapter, code, test]
  - section: "4.1"
    later: true
    entries:
      - id: fig-1
        name: About fig-1
        says: It learns faster.
        verdict: measured, agrees
        needs: [notebook, code]
      - id: fig-2
        name: About fig-2
        says: On other data, too.
        needs: [notebook]
"""
NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    },
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Digits\n\n## Curves"},
        {
            "cell_type": "code", "id": "b", "metadata": {"paper": ["fig-1"]}, "source": "1",
            "execution_count": 1, "outputs": [],
        },
    ],
}  # fmt: skip
INDEX = """# Index

```{toctree}
book/one
book/api
book/paper-map
notebooks/digits
```
"""
PAGE = """# Map

```{paper-map} counts
```

## One

```{paper-map} 1
```

## Four

```{paper-map} 4.1
```
"""
CHAPTER = """% paper: s1-shift

# One: a title

## Before

Text.

% paper: alg-1
(here)=
## The transform

Text.

% another comment

% measured: s1-shift
## After

Text.
"""
STEPS = """# paper: alg-1
def forward(x):
    return x


# paper: alg-1
def helper(x):
    return x
"""
FILES = {
    "conf.py": CONF,
    "index.md": INDEX,
    "book/paper-map.yml": MAP,
    "book/paper-map.md": PAGE,
    "book/one.md": CHAPTER,
    "book/api.md": "# API\n\n```{py:function} bn.kit.forward(x)\n```\n",
    "notebooks/digits.ipynb": json.dumps(NOTEBOOK),
    "bn/__init__.py": "",
    "bn/kit/__init__.py": "from bn.kit.steps import forward\n",
    "bn/kit/steps.py": STEPS,
    "tests/test_steps.py": "# paper: alg-1\ndef test_forward():\n    pass\n",
}


@pytest.fixture
def tree(tmp_path, root, monkeypatch):
    """A small book with its code and tests, and no fault."""
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def markers(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    import paper_markers

    return paper_markers


def build(tree):
    """Build, with what an earlier build left; return the map's HTML and the warnings."""
    warnings = io.StringIO()
    out, doctrees = tree / "out", tree / "doctrees"
    with patch_docutils(str(tree)), docutils_namespace():
        app = Sphinx(tree, tree, out, doctrees, "html", status=None, warning=warnings)
        app.build()
    page = out / "book" / "paper-map.html"
    return page.read_text(encoding="utf-8"), re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())


def change(tree, name, old, new):
    text = (tree / name).read_text(encoding="utf-8")
    assert old in text
    (tree / name).write_text(text.replace(old, new), encoding="utf-8")


def lines(html, entry):
    """Return the verdict of a statement and the list below it, without tags, and its links."""
    row = rf'<details class="paper-entry" id="paper-{entry}">(.*?)</details>'
    block = re.search(row, html, re.DOTALL)[1]
    name, verdict = re.search(
        r'<summary><span class="paper-name">(.*?)</span> <span class=".*?">(.*?)</span></summary>',
        block,
    ).groups()
    assert name == f"About {entry}"
    listed = re.sub(r"^[^>]*>", "", block.partition("<ul")[2]).replace("</li>", "|")
    places = [" ".join(line.split()) for line in re.sub(r"<[^>]*>", "", listed).split("|")[:-1]]
    return [verdict, *places], re.findall('href="([^"]*)"', block)


def test_each_statement_shows_its_places(tree):
    html, warnings = build(tree)
    assert warnings == ""
    assert lines(html, "s1-shift") == (
        ["measured, agrees in part", "Measured: One: After", "Chapter: One"],
        ["one.html", "one.html#after", "one.html"],
    )
    text, links = lines(html, "alg-1")
    assert text == [
        "definition",
        r"Remark: The value of \(\epsilon\) is not stated.",
        "Chapter: One: The transform",
        "Code: bn.kit.forward bn.kit.steps.helper",
        "Tests: tests/test_steps.py::test_forward",
    ]
    assert links == ["one.html", "one.html#the-transform", "api.html#bn.kit.forward"]
    assert lines(html, "fig-1") == (
        ["measured, agrees", "Measured: Digits: Curves", "Later: code"],
        ["../notebooks/digits.html", "../notebooks/digits.html#curves"],
    )
    assert lines(html, "fig-2") == (["later", "Later: notebook"], [])
    assert 'id="the-transform"' in (tree / "out" / "book" / "one.html").read_text(encoding="utf-8")
    assert "Algorithm 1: Normalize." in html
    assert r"\(\mu\)" in html
    assert (
        "4 statements. definition: 1; measured, agrees: 1; measured, agrees in part: 1; later: 1."
    ) in html
    assert "2 statements. definition: 1; measured, agrees in part: 1." in html


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("book/one.md", "paper: alg-1", "paper: alg-1, alg-7", r"one\.md.* no entry 'alg-7'"),
        ("notebooks/digits.ipynb", "fig-1", "fig-7", r"digits\.ipynb.* no entry 'fig-7'"),
        ("bn/kit/steps.py", "alg-1", "alg-7", r"bn/kit/steps\.py:1: .* no entry 'alg-7'"),
        ("tests/test_steps.py", "alg-1", "alg-7", r"tests/test_steps\.py:1: .* no entry 'alg-7'"),
        (
            "book/one.md",
            "% paper: alg-1\n",
            "",
            "yml:10: .* alg-1 needs a chapter.*'% paper: alg-1'",
        ),
        ("bn/kit/steps.py", "# paper: alg-1\n", "", "yml:10: .* alg-1 needs a code"),
        ("tests/test_steps.py", "# paper: alg-1\n", "", "yml:10: .* alg-1 needs a test"),
        ("book/one.md", "measured: s1", "paper: s1", "yml:5: .* where s1-shift is measured"),
        ("book/one.md", "measured: s1-shift", "measured: s1-shft", "no entry 's1-shft'"),
        (
            "book/one.md",
            "paper: alg-1",
            "measured: alg-1",
            "alg-1 is marked as measured, and its verdict .* is 'definition'",
        ),
        ("bn/kit/steps.py", "\n\n\n", "\n\n# paper: alg-1\n\n", "py:5: .* belongs to nothing"),
        ("tests/test_steps.py", "test_forward", "forward", "belongs to forward, which is no test"),
        ("book/api.md", "forward", "backward", r"forward is public .* add it to book/api\.md"),
        ("book/paper-map.md", "{paper-map} 4.1", "{note}", "yml:20: .* fig-1 is shown 0 times"),
        ("book/paper-map.md", "{paper-map} 4.1", "{paper-map} 1", "alg-1 is shown 2 times"),
        ("book/paper-map.md", "{paper-map} 4.1", "{paper-map} 9", "no section '9'; there are 1, 4"),
    ],
)
def test_what_fails_the_build(tree, name, old, new, says):
    change(tree, name, old, new)
    assert re.search(says, build(tree)[1])


def test_what_is_missing_in_a_later_section_is_no_fault(tree):
    change(tree, "notebooks/digits.ipynb", '"fig-1"', "")
    change(tree, "book/paper-map.yml", "        verdict: measured, agrees\n", "")
    html, warnings = build(tree)
    assert warnings == ""
    assert lines(html, "fig-1") == (["later", "Later: notebook, code"], [])
    assert "2 statements. later: 2." in html


def test_a_second_build_sees_what_changed_in_code_and_tests_alone(tree):
    build(tree)
    change(tree, "tests/test_steps.py", "test_forward", "test_other")
    change(tree, "bn/kit/steps.py", "helper", "aid")
    html, warnings = build(tree)
    assert warnings == ""
    assert lines(html, "alg-1")[0][3:] == [
        "Code: bn.kit.forward bn.kit.steps.aid",
        "Tests: tests/test_steps.py::test_other",
    ]
    for marker in ("paper", "measured"):  # and in one page of several
        change(tree, "book/one.md", f"% {marker}: s1-shift\n", "")
    assert "s1-shift needs a chapter" in build(tree)[1]
    (tree / "tests" / "test_steps.py").unlink()
    warnings = build(tree)[1]
    assert "alg-1 needs a test" in warnings
    assert "s1-shift needs a chapter" in warnings  # still, though the page was not read again
    change(tree, "book/paper-map.yml", "Normalize.", "Divide.")
    assert "Algorithm 1: Divide." in build(tree)[0]
    change(tree, "index.md", "book/one\n", "")
    (tree / "book" / "one.md").unlink()
    assert "alg-1 needs a chapter" in build(tree)[1]


def test_a_mark_in_an_exercise_belongs_to_the_section_around_it(tree):
    import paper_map
    from docutils import nodes

    mark = nodes.comment("", "paper: alg-1")
    content = nodes.section("", nodes.paragraph("", "Show it."), mark)  # as sphinx-exercise has it
    around = nodes.section("", nodes.title("", "Exercises"), content, ids=["exercises"])
    nodes.section("", nodes.title("", "Page"), around, ids=["page"])
    found = paper_map._heading(mark, "book/one")
    assert (found.ids, found.title) == (("alg-1",), "Exercises")


def test_pages_read_in_parallel(tree, root):
    extra = "\n".join(f"book/extra{i}" for i in range(8))
    for i in range(8):
        (tree / "book" / f"extra{i}.md").write_text(f"% paper: s1-shift\n\n# Extra {i}\n")
    change(tree, "index.md", "book/one", f"book/one\n{extra}")
    path = f"import sys\nsys.path.insert(0, {str(root / 'book' / '_ext')!r})\n"
    (tree / "conf.py").write_text(path + CONF, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-j", "2", tree, tree / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    html = (tree / "out" / "book" / "paper-map.html").read_text(encoding="utf-8")
    pages = [*(f"Extra {i}" for i in range(8)), "One"]
    assert lines(html, "s1-shift")[0][2:] == [f"Chapter: {'; '.join(pages)}"]


CODE = '''
import functools

LIMIT = 4.0  # paper: trailing
# paper: above-constant
OTHER = (
    # paper: in-constant
    1,
)


# paper: above, two
# more words
@functools.cache
def plain():
    text = """
    # paper: in-a-string
    """
    # paper: inside
    def inner():
        return text  # paper: behind

    return inner


# paper: on-class
class Layer:
    # paper: method
    def forward(self):
        pass

    # paper: in-class

    def backward(self):  # paper: on-def
        pass


# paper: lost

print()
'''


def test_a_marker_belongs_to_the_innermost_thing_around_it_or_to_the_one_below(markers, tmp_path):
    path = tmp_path / "code.py"
    path.write_text(CODE)
    got = {name: d.name for d in markers.definitions(path, tmp_path) for name in d.ids}
    assert got == {
        "trailing": "LIMIT",
        "above-constant": "OTHER",
        "in-constant": "OTHER",
        "above": "plain",
        "two": "plain",
        "inside": "plain.inner",
        "behind": "plain.inner",
        "on-class": "Layer",
        "method": "Layer.forward",
        "in-class": "Layer",
        "on-def": "Layer.backward",
        "lost": "",
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("s1-shift", "alg-1", "the id alg-1 stands there twice"),
        ("needs: [chapter]", "needs: [chapters]", "entry s1-shift needs"),
        ("needs: [chapter]", "needs: []", "entry s1-shift needs"),
        ("label:", "lable:", "entry alg-1 has id, name, lable"),
        ("says: Normalize.", "", "entry alg-1 has id, name, label, verdict, note, needs"),
        ("        verdict: definition\n", "", "entry alg-1 has the verdict ''; it takes one of"),
        ("verdict: measured, agrees\n", "verdict: agrees\n", "fig-1 has the verdict 'agrees'"),
        ("sections:", "parts:", "cannot be read"),
        ("sections:", "sections: [", "cannot be read"),
    ],
)
def test_a_list_that_is_not_one_is_refused(markers, tree, old, new, says):
    change(tree, "book/paper-map.yml", old, new)
    with pytest.raises(markers.MapError, match=says):
        markers.load(tree)


# --- the book's own map ---------------------------------------------------------------------


def test_sections_1_to_3_have_no_hole(markers, root):
    """The build finds the same and more; this says it in a second, and for all at once."""
    entries = markers.load(root)
    marked = {kind: set() for kind in markers.KINDS}
    for kind, folder in (("code", "bn"), ("test", "tests")):
        for path in (root / folder).rglob("*.py"):
            for definition in markers.definitions(path, root):
                marked[kind].update(definition.ids)
    for path in (root / "book").glob("*.md"):
        for comment in re.findall(r"^%(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            for word in ("paper", "measured"):
                marked["chapter"].update(markers.ids_in(comment, word))
    for path in (root / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            marked["notebook"].update(cell["metadata"].get("paper", ()))
    holes = [
        f"{entry.id}: {kind}"
        for entry in entries.values()
        for kind in entry.needs
        if not entry.later and entry.id not in marked[kind]
    ]
    assert holes == []
    assert set().union(*marked.values()) <= entries.keys()


def test_each_verdict_is_explained_on_the_page(markers, root):
    page = (root / "book" / "paper-map.md").read_text(encoding="utf-8")
    assert re.findall(r"^(.*)\n: ", page, re.MULTILINE) == [*markers.VERDICTS, "later"]


def test_only_what_comes_after_section_3_may_be_later(markers, root):
    entries = markers.load(root).values()
    assert {e.section for e in entries if not e.later} >= {"1", "2", "3", "5", "Appendix"}
    assert all(e.verdict for e in entries if not e.later)
    assert {"alg-1", "alg-2", *(f"fig-{i}" for i in ("1a", "1bc", 2, 3, 4, 5))} <= {
        e.id for e in entries
    }


def test_every_section_is_on_the_page(markers, root):
    page = (root / "book" / "paper-map.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```\{paper-map\} (.*)$", page, re.MULTILINE)
    sections = list(dict.fromkeys(e.section for e in markers.load(root).values()))
    assert shown == ["counts", *sections]
