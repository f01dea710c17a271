"""Figures come from code and records, and the stored one shows the present record."""

import base64

import nbformat
import pytest


def test_every_figure_is_drawn_the_same_twice(figures):
    for source in figures.SOURCES.glob("[a-z]*.py"):
        assert figures.svg(source) == figures.svg(source), source.name


def test_the_readmes_picture_shows_the_present_record(figures):
    stored = figures.README_PICTURE.read_text(encoding="utf-8")
    assert figures.record_hash() in stored, (
        "results/mnist-paper.json changed: run .venv/bin/python book/_ext/figures.py"
    )


def notebook_with(tmp_path, cells):
    """A notebook whose cells have these figure names (or None) and numbers of pictures."""
    notebook = nbformat.v4.new_notebook()
    for name, pictures in cells:
        cell = nbformat.v4.new_code_cell("draw()")
        if name:
            cell.metadata["mystnb"] = {"figure": {"name": name}}
        data = {"image/png": base64.b64encode(b"picture").decode()}
        cell.outputs = [nbformat.v4.new_output("display_data", data) for _ in range(pictures)]
        notebook.cells.append(cell)
    path = tmp_path / "some.ipynb"
    nbformat.write(notebook, path)
    return path


def test_named_figures_of_a_notebook(figures, tmp_path):
    notebook = notebook_with(tmp_path, [("fig-a", 1), (None, 1), (None, 0)])
    assert list(figures.stored(notebook)) == [("fig-a", b"picture")]


@pytest.mark.parametrize("pictures", [0, 2])
def test_a_named_cell_without_one_picture_is_an_error(figures, tmp_path, pictures):
    notebook = notebook_with(tmp_path, [("fig-a", pictures)])
    with pytest.raises(ValueError, match=rf"fig-a stores {pictures} pictures"):
        list(figures.stored(notebook))
