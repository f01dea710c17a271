"""Each notebook alone on a machine like Colab's: `make test-colab`, and the weekly run.

What stays untried is Colab itself: its Python, its own builds of the packages, its GPU.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("BN_COLAB") != "1":  # before the imports: not every environment has nbformat
    pytest.skip(
        "takes many minutes and several GB: `make test-colab` runs it", allow_module_level=True
    )

import nbformat
from nbclient.exceptions import CellExecutionError

from tools import address
from tools import notebooks as nb

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A whole notebook, and the first test also makes the environment.
pytestmark = pytest.mark.timeout(4 * 3600)

# Added below the notebook's own cells: where everything came from.
PROBE = """\
import json, sys
import google.colab
import torch
print(json.dumps({
    "bn": sorted({m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "bn"}),
    "torch": [torch.__version__, torch.__file__],
}))
"""

# All of the book's records that an installed package carries and can read.
RECORDS = """\
from bn.experiments import record
print(*(path.stem for path in record.SHIPPED.glob("*.json") if record.load(path.stem)))
"""


def published_copy(path: Path, where: str) -> Any:
    """Return a notebook as it is after `make address`, without outputs."""
    notebook = nbformat.reads(address.in_notebook(path, where), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def set_up_alone(where: str) -> Any:
    """Return a notebook of the set-up cell and nothing else."""
    notebook = published_copy(NOTEBOOKS[0], where)  # all have the same, another test says
    notebook.cells = [cell for cell in notebook.cells if "setup" in nb.tags(cell)]
    return notebook


def printed(cell: Any) -> str:
    return "".join(nb.text_of(output) for output in cell.outputs)


def differences(stored: Any, now: Any) -> list[str]:
    """Return what the cells that nbval compares print differently, line by line.

    The set-up cell may say what pip says.
    """
    lines = []
    for position, (old, new) in enumerate(zip(stored.cells, now.cells, strict=False), 1):
        if old.cell_type != "code" or not nb.is_compared(old) or "setup" in nb.tags(old):
            continue
        before, after = printed(old), printed(new)
        if before != after:
            lines.append(f"cell {position}, {old.source.splitlines()[0]!r}:")
            compared = difflib.ndiff(before.splitlines(), after.splitlines())
            lines += [line for line in compared if not line.startswith("?")]
    return lines


def test_without_an_address_the_set_up_stops(machine: Any) -> None:
    before, content = machine.packages(), machine.new_folder()
    with pytest.raises(CellExecutionError) as caught:
        machine.run(set_up_alone(""), content, "without an address")
    assert caught.value.ename == "RuntimeError"
    assert "set REPOSITORY above to owner/name" in caught.value.evalue
    assert list(content.iterdir()) == []
    assert machine.packages() == before


def test_beside_an_installed_package_no_address_is_needed(machine: Any, published: str) -> None:
    machine.pip("install", "--quiet", "--no-deps", str(machine.work / "github"))
    content, notebook = machine.new_folder(), set_up_alone("")
    notebook.cells.append(nbformat.v4.new_code_cell(RECORDS))
    machine.run(notebook, content, "beside an installed package")
    kept = {path.stem for path in (ROOT / "results").glob("*.json")}
    assert set(printed(notebook.cells[1]).split()) == kept
    assert list(content.iterdir()) == []


def test_where_nothing_is_missing_pip_is_not_called(machine: Any) -> None:
    machine.pip("install", "--quiet", *machine.missing)
    before, content = machine.packages(), machine.new_folder()
    log = content.with_suffix(".log")
    notebook = set_up_alone(machine.address)
    machine.run(notebook, content, "nothing missing", PIP_LOG=str(log))
    assert not log.exists(), "pip was called where nothing is missing"
    assert machine.packages() == before
    assert printed(notebook.cells[0]) == ""
    assert [path.name for path in content.iterdir()] == ["batch-normalization"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_alone(machine: Any, published: str, our_torch: str, path: Path) -> None:
    before, content = machine.packages(), machine.new_folder()
    notebook = published_copy(path, machine.address)
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    machine.run(notebook, content, path.name)

    after = machine.packages()
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() == set(machine.missing)
    installed = ", ".join(f"{name} {after[name]}" for name in machine.missing)
    print(f"colab: installed {installed}; torch stays {after['torch']} (ours is {our_torch})")

    found = json.loads(printed(notebook.cells[-1]))
    clone = content / "batch-normalization"
    assert found["bn"]
    assert [file for file in found["bn"] if not Path(file).is_relative_to(clone / "bn")] == []
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=clone, text=True)
    assert head.strip() == published
    version, file = found["torch"]
    assert version.split("+")[0] == before["torch"].split("+")[0] != our_torch
    assert Path(file).is_relative_to(machine.python.parent.parent)

    moved = differences(nb.read(path), notebook)
    assert not moved, "printed otherwise than stored (-) here (+):\n" + "\n".join(moved)
