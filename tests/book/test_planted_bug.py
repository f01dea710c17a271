"""A test of the test: the notebooks must fail when the backward pass is wrong."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

RIGHT = "(centred - x_hat * mean_dy_x_hat)"
WRONG = {"the term with x_hat": "centred", "the mean of dy": "(dy - x_hat * mean_dy_x_hat)"}


def run_nbval(folder, notebook):
    """Run nbval on a notebook with the copy of bn in `folder`."""
    settings = os.environ | {"PYTHONPATH": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    command = [
        sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q",
        "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", str(notebook),
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


def up_to_gradient_check(path):
    """The notebook, cut after the cell tagged `gradient-check`: the training takes minutes."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [
        i for i, cell in enumerate(notebook.cells)
        if "gradient-check" in cell.metadata.get("tags", [])
    ]  # fmt: skip
    assert len(tagged) == 1, f"{path.name} needs one cell tagged gradient-check"
    notebook.cells = notebook.cells[: tagged[0] + 1]
    return notebook


@pytest.mark.parametrize("name", ["backward", "mnist"])
def test_nbval_fails_without_a_term(tmp_path, root, name):
    shutil.copytree(root / "bn", tmp_path / "bn", ignore=shutil.ignore_patterns("__pycache__"))
    notebook = tmp_path / f"{name}.ipynb"
    nbformat.write(up_to_gradient_check(root / "notebooks" / f"{name}.ipynb"), notebook)

    sound = run_nbval(tmp_path, notebook)
    assert sound.returncode == 0, sound.stdout

    source = tmp_path / "bn" / "reference" / "algorithm.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(RIGHT) == 1
    for left_out, wrong in WRONG.items():
        source.write_text(text.replace(RIGHT, wrong), encoding="utf-8")
        broken = run_nbval(tmp_path, notebook)
        assert broken.returncode == 1, f"without {left_out}\n{broken.stdout}"
        assert "below 1e-" in broken.stdout  # the gradient check is among what failed
