"""The guard of the notebooks' stored outputs, on the real ones and on made-up bad ones."""

import base64
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat import v4
from PIL import Image

from tools import check, notebooks

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_stored_notebook_has_no_fault(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert list(notebooks.faults(notebook, path.stat().st_size)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_stored_layout_is_nbformats_own(path: Path) -> None:
    # so that `make outputs` and `make address` change only what they mean to
    assert path.read_text("utf-8") == notebooks.as_text(notebooks.read(path))


def text(value: str) -> Any:
    return v4.new_output("stream", name="stdout", text=value)


@pytest.fixture
def good() -> Any:
    """A notebook with nothing wrong."""
    notebook = v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    notebook.cells = [
        v4.new_markdown_cell("# Title"),
        v4.new_code_cell(
            'REPOSITORY = ""  # written by make address\n%matplotlib inline',
            execution_count=1,
            metadata={"tags": ["setup"]},
        ),
        v4.new_code_cell("print(1 + 1)", execution_count=2, outputs=[text("2\n")]),
        v4.new_code_cell(
            "print(clock())",
            execution_count=3,
            outputs=[text("12:00\n")],
            metadata={"tags": ["nbval-ignore-output"]},
        ),
        v4.new_code_cell("def f():\n    print(3)", execution_count=4),
        v4.new_code_cell(""),
    ]
    return notebook


def test_good_notebook_passes(good: Any) -> None:
    assert list(notebooks.faults(good, 1000)) == []


def strip_outputs(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []


def strip_counts(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None


def ignore_everything(notebook: Any) -> None:
    notebook.cells[2].metadata.tags = ["nbval-ignore-output"]


def run_twice(notebook: Any) -> None:
    notebook.cells[2].execution_count = 7


def store_an_error(notebook: Any) -> None:
    notebook.cells[2].outputs = [
        v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"])
    ]


def store_a_path(notebook: Any) -> None:
    notebook.cells[2].outputs = [text("saved in /home/ada/book/x.png\n")]


def misspell_a_tag(notebook: Any) -> None:
    notebook.cells[3].metadata.tags = ["nbval-ignore-outputs"]


def steer_by_comment(notebook: Any) -> None:
    notebook.cells[2].source = "# NBVAL_IGNORE_OUTPUT\nprint(1 + 1)"


def end_with_a_semicolon(notebook: Any) -> None:
    notebook.cells[2].source += ";"


def write_a_long_line(notebook: Any) -> None:
    notebook.cells[2].source = f"print({' + '.join('1' * 20)})"


def print_a_long_line(notebook: Any) -> None:
    notebook.cells[2].outputs = [text("short\n" + "2" * 80 + "\n")]


def show_a_long_value(notebook: Any) -> None:
    value = {"text/plain": "[" + "2, " * 30 + "2]"}
    notebook.cells[2].outputs = [v4.new_output("display_data", value)]


def drop_the_set_up(notebook: Any) -> None:
    del notebook.cells[1].metadata["tags"]


def drop_the_kernel(notebook: Any) -> None:
    del notebook.metadata["kernelspec"]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (strip_outputs, "no compared cell stores an output"),
        (strip_outputs, "it prints, and no output is stored"),
        (strip_counts, "no execution count"),
        (ignore_everything, "no compared cell stores an output"),
        (run_twice, "run all cells once, in order"),
        (store_an_error, "stores an error: ValueError"),
        (store_a_path, "path of one machine"),
        (misspell_a_tag, "unknown tag nbval-ignore-outputs"),
        (steer_by_comment, "steered by a comment"),
        (end_with_a_semicolon, "ends with a semicolon"),
        (write_a_long_line, "84 characters, and 79 are what a page shows"),
        (print_a_long_line, "it prints 80 characters on a line"),
        (show_a_long_value, "it prints 93 characters on a line"),
        (drop_the_set_up, "no cell tagged `setup`"),
        (drop_the_kernel, "no kernelspec"),
    ],
)
def test_bad_notebook_is_caught(good: Any, spoil: Callable[[Any], None], word: str) -> None:
    spoil(good)
    assert any(word in fault for fault in notebooks.faults(good, 1000))


def test_the_widest_line_and_a_wide_markdown_source_pass(good: Any) -> None:
    table = {"text/plain": "<IPython.core.display.Markdown object>", "text/markdown": "|a|" * 99}
    good.cells[2].source = "print(2)  " + "#" * 69
    good.cells[2].outputs = [text("2" * 79), v4.new_output("display_data", table)]
    assert list(notebooks.faults(good, 1000)) == []


def test_large_notebook_is_caught(good: Any) -> None:
    assert "400" in next(notebooks.faults(good, 400_001))


def test_execute_stores_outputs_and_nothing_of_the_machine(tmp_path: Path, good: Any) -> None:
    path = tmp_path / "trial.ipynb"
    del good.cells[3]  # its clock is made up
    strip_outputs(good)
    strip_counts(good)
    path.write_text(notebooks.as_text(good), encoding="utf-8")
    notebooks.execute(path)
    first = path.read_text("utf-8")
    made = notebooks.read(path)
    assert list(notebooks.faults(made, len(first))) == []
    assert made.cells[2].outputs[0].text == "2\n"
    notebooks.execute(path)
    assert path.read_text("utf-8") == first


def test_a_charts_picture_becomes_lighter_and_a_photograph_keeps_its_colours() -> None:
    def as_png(pixels: Any) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    def pixels(png: str) -> Any:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), float)

    chart = np.full((200, 300, 3), 255, np.uint8)
    chart[50:60] = (0, 114, 178)
    assert np.array_equal(pixels(notebooks.lighter(as_png(chart))), chart)
    photograph = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    assert np.array_equal(pixels(notebooks.lighter(as_png(photograph))), photograph)
    transparent = np.zeros((10, 10, 4), np.uint8)
    assert pixels(notebooks.lighter(as_png(transparent))).min() == 255  # shown on white


def set_up_cell(path: Path) -> str:
    cells = notebooks.read(path).cells
    return next(cell.source for cell in cells if "setup" in notebooks.tags(cell))


def test_every_notebook_has_the_same_set_up() -> None:
    assert len({set_up_cell(path) for path in NOTEBOOKS}) == 1


def test_alone_and_without_an_address_the_set_up_says_what_to_do() -> None:
    source = "\n".join(
        line for line in set_up_cell(NOTEBOOKS[0]).splitlines() if not line.startswith("%")
    )
    source = notebooks.SETUP_LINE.sub('REPOSITORY = ""', source)
    hidden = "import sys\nsys.modules['bn'] = sys.modules['bn.reference'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + source], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert done.returncode != 0
    assert "set REPOSITORY above to owner/name" in done.stderr.replace("\n", " ")


WARNING = """
import warnings
exec("import warnings; warnings.warn('of theirs', UserWarning)", {"__name__": "torch.compiler"})
exec("import warnings; warnings.warn('of ours', UserWarning)", {"__name__": "bn.pytorch"})
warnings.warn("of the notebook")
"""


def test_only_our_own_warnings_are_a_notebooks_output() -> None:
    made = v4.new_notebook(cells=[v4.new_code_cell(WARNING)])
    settings = os.environ | {"IPYTHONDIR": str(check.ipython_folder())}
    NotebookClient(made, timeout=None, kernel_name="python3").execute(env=settings)
    (said,) = made.cells[0].outputs
    assert said.name == "stderr"
    assert "of theirs" not in said.text
    assert "of ours" in said.text
    assert "of the notebook" in said.text
