"""No term of the glossary is used before it is introduced."""

import json
import sys

import pytest


@pytest.fixture(scope="module")
def terms(root):
    sys.path.insert(0, str(root))  # `tools` is not installed
    from tools import terms

    return terms


NOTATION = """# Notation

## Terms

| term | meaning |
|---|---|
| Jacobian | a matrix (of numbers) ([two]) |
| ρ | rounding ([three]) |

## Symbols

| a | b ([none]) |

[two]: two.md
[three]: ../notebooks/three.ipynb
"""


@pytest.fixture
def tree(tmp_path):
    """Three pages in order, without a fault."""
    cells = [
        {"cell_type": "code", "source": ["rho = r'\\rho'"]},
        {"cell_type": "markdown", "source": ["Let $\\rho$ be small."]},
    ]
    files = {
        "book/notation.md": NOTATION,
        "book/one.md": "# One\n\nText.\n",
        "book/two.md": "# Two\n\nText.\n\n% term: Jacobian\nA Jacobian is a matrix.\n",
        "notebooks/three.ipynb": json.dumps({"cells": cells}),
        "_toc.yml": "root: book/one\nchapters:\n- file: book/two\n- file: notebooks/three\n"
        "- file: book/notation\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def found(terms, tree):
    return terms.too_early(terms.glossary(tree), terms.reading_order(tree), tree)


def test_nothing_is_found_where_nothing_is_wrong(terms, tree):
    assert found(terms, tree) == []
    assert terms.unmarked(terms.glossary(tree), tree) == []


@pytest.mark.parametrize(
    ("page", "text", "says"),
    [
        ("book/one.md", "Two Jacobians.", "book/one.md:4: 'Jacobians' is introduced in book/two"),
        ("book/one.md", "```{note} About Jacobians\nx\n```", "book/one.md:4: 'Jacobians' is intr"),
        ("book/one.md", "```{note}\nA jacobian\n```", "book/one.md:5: 'jacobian' is introduced in"),
        ("book/two.md", "It has $\\rho$", "book/two.md:8: '\\\\rho' is introduced in notebooks/th"),
    ],
)
def test_what_is_used_too_early(terms, tree, page, text, says):
    with (tree / page).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n" if page == "book/one.md" else f"\n{text}\n")
    assert len(found(terms, tree)) == 1
    assert found(terms, tree)[0].startswith(says)


def test_what_is_used_above_its_mark(terms, tree):
    page = tree / "book" / "two.md"
    page.write_text(page.read_text().replace("Text.", "Take its Jacobian."), encoding="utf-8")
    assert found(terms, tree) == ["book/two.md:3: 'Jacobian' is introduced further down"]
    page.write_text(page.read_text().replace("% term: Jacobian\n", ""), encoding="utf-8")
    assert found(terms, tree) == []
    assert terms.unmarked(terms.glossary(tree), tree) == ["Jacobian (book/two)"]


@pytest.mark.parametrize(
    "text",
    [
        "```{admonition} Before you start\nYou need Jacobians.\n```",
        "```python\njacobian = 1\n```",
        "````{note}\n```python\njacobian = 1\n```\n````",
        "```{figure} x\n:name: fig-jacobian\n```",
        "% Jacobian",
        "[Text](jacobian.md), {numref}`jacobian` and {claim}`more <result a: jacobian: x; > 1>`",
        "$\\rho_j$ is another letter",
    ],
)
def test_what_is_no_use_of_a_term(terms, tree, text):
    with (tree / "book" / "one.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    assert found(terms, tree) == []


def test_a_row_that_is_out_of_date(terms, tree):
    page = tree / "book" / "two.md"
    page.write_text("# Two\n", encoding="utf-8")
    assert found(terms, tree) == ["book/notation.md: Jacobian: book/two does not use it"]
    (tree / "_toc.yml").write_text("root: book/one\nchapters: [{file: book/notation}]\n")
    assert any("book/two is no page that is read in order" in line for line in found(terms, tree))


def test_the_book(terms):
    """The same with a list of the terms that no mark stands above: python -m tools.terms."""
    assert len(terms.glossary()) > 20
    assert terms.too_early(terms.glossary(), terms.reading_order()) == []
