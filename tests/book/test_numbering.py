"""Numbers say where they stand: chapter, appendix, notebook of a chapter, experiment."""

import io
from types import SimpleNamespace

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

TOC = """root: index
subtrees:
  - caption: The paper
    numbered: true
    entries: [{file: book/one}]
  - caption: Notebooks
    numbered: true
    entries: [{file: notebooks/one}, {file: notebooks/alone}, {file: notebooks/extra}]
  - caption: More
    numbered: true
    entries: [{file: book/two}]
  - caption: Appendices
    numbered: true
    entries:
      - file: book/extra
        subtrees: [{entries: [{file: book/under}]}]
  - caption: Other
    entries: [{file: book/other}]
"""
PAGE = """# Title

## Section

```{{figure}} {picture}
:name: fig-{name}

Caption
```

$$x$$ (eq-{name})

{{numref}}`fig-{name}` {{eq}}`eq-{name}` {{numref}}`fig-one` {{numref}}`fig-extra-note`
"""
NAMES = {
    "book/one": "1", "book/two": "2", "book/extra": "A", "book/under": "A",
    "notebooks/one": "N1", "notebooks/extra": "NA", "notebooks/alone": "E1",
}  # fmt: skip


@pytest.fixture
def numbering(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    import numbering

    return numbering


def build(tree):
    """Build; return the pages and the warnings."""
    settings = {
        "extensions": ["myst_parser", "sphinx_external_toc", "numbering"],
        "source_suffix": {".md": "markdown"},  # the default is shared with other tests' builds
        "external_toc_path": "_toc.yml", "use_multitoc_numbering": True,
        "myst_enable_extensions": ["dollarmath"],
        "numfig": True, "math_numfig": True, "numfig_secnum_depth": 1, "html_theme": "basic",
    }  # fmt: skip
    warnings = io.StringIO()
    with patch_docutils(str(tree)), docutils_namespace():
        app = Sphinx(
            tree, None, tree / "out", tree / "trees", "html", settings,
            status=None, warning=warnings,
        )  # fmt: skip
        app.setup_extension("sphinx_multitoc_numbering")  # as Jupyter Book has it
        app.build()
    pages = {p: (tree / "out" / f"{p}.html").read_text(encoding="utf-8") for p in NAMES}
    return pages, warnings.getvalue()


@pytest.fixture
def tree(tmp_path, numbering):
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "index.md").write_text("# Book\n")
    (tmp_path / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    for name in NAMES:
        path = tmp_path / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        key = path.stem + ("-note" if name.startswith("notebooks") else "")
        path.write_text(PAGE.format(name=key, picture="../picture.svg"))
    (tmp_path / "book" / "other.md").write_text("# Other\n")
    return tmp_path


def test_labels(numbering):
    parts = [
        ("", ["book/a", "notebooks/c", "notebooks/d", "notebooks/b"]),
        ("Appendices", ["book/b", "book/e"]),
        ("", ["book/c", "notebooks/f"]),
    ]
    assert numbering.labels(parts) == {
        "book/a": "1", "book/c": "2", "book/b": "A", "book/e": "B",
        "notebooks/c": "N2", "notebooks/b": "NA", "notebooks/d": "E1", "notebooks/f": "E2",
    }  # fmt: skip


def test_letters_leave_out_those_of_the_notebooks(numbering):
    assert [numbering.letter(k) for k in (1, 4, 5, 12, 13, 24)] == list("ADFMOZ")


def test_numbers_and_references(tree):
    for _ in range(2):  # the second build reads nothing again
        pages, warnings = build(tree)
        assert warnings == ""
        for page, label in NAMES.items():
            second = 2 if page == "book/under" else 1  # it goes on where the page above it ends
            number = f"{label}.{second}"
            assert f'<span class="caption-number">Fig. {number} </span>' in pages[page]
            assert f'<span class="eqno">({number})' in pages[page]
            assert f'std-numref">Fig. {number}</span>' in pages[page]
            assert f"({number})</a>" in pages[page]
            assert 'std-numref">Fig. 1.1</span>' in pages[page]
            assert 'std-numref">Fig. NA.1</span>' in pages[page]
            # Its place below the page above it makes the rest of a subpage's number.
            if page != "book/under":
                assert f'<span class="section-number">{label}. </span>Title' in pages[page]
                assert f'<span class="section-number">{label}.1. </span>Section' in pages[page]
        (tree / "index.md").touch()


def test_a_number_on_a_page_that_has_none_fails_the_build(tree):
    (tree / "book" / "other.md").write_text("# Other\n\n$$x$$ (eq-other)\n")
    warnings = build(tree)[1]
    assert "other.md: WARNING: numbering: the page has no number, and its displaymath" in warnings


def test_equal_numbers_are_a_warning(numbering, monkeypatch):
    said = []
    monkeypatch.setattr(
        numbering.logger, "warning", lambda text, *values, location: said.append(text % values)
    )
    one, two = {"figure": {"a": ("2", 1)}}, {"figure": {"b": ("2", 1)}, "exercise": {"c": ("2", 1)}}
    numbering.check(SimpleNamespace(toc_fignumbers={"one": one, "two": two}))
    assert said == ["numbering: figure 2.1 is here (b) and in one"]
