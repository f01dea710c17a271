"""Guard the notebooks' stored outputs, and renew them.

The site shows what the notebooks store, and nbval compares it with a new run. But nbval
never compares a cell without an execution count, so a stripped notebook would pass. The
guard here closes that gap, and a few others that readers would notice first.
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
LARGEST = 400_000  # bytes; a clone carries every version of every notebook

WIDEST = 79  # characters; a longer line is scrolled sideways on a page, and breaks on paper

# Cells with one of these tags are run by nbval but not compared.
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip", "raises-exception", "nbval-raises-exception"}
KNOWN_TAGS = NOT_COMPARED | {"nbval-check-output"}

# The one line of the set-up cell that `make address` writes.
SETUP_LINE = re.compile(r'^REPOSITORY = "([^"\n]*)"  # written by make address$', re.MULTILINE)

# Folders of the machine that ran the notebook: no reader has them.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|private|mnt|opt|usr|var|workspaces?)/"
    r"|[A-Z]:\\|site-packages|ipykernel_\d"
)


def faults(notebook: Any, size: int = 0) -> Iterator[str]:
    """Yield what is wrong with a notebook's stored form, one line each.

    Parameters
    ----------
    notebook
        A notebook of format 4, as read by nbformat.
    size
        Its size on disk in bytes.
    """
    if size > LARGEST:
        yield f"{size // 1000} kB, and at most {LARGEST // 1000} are allowed: store smaller figures"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield 'no kernelspec named "python3": the site would show no launch button'
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    set_up = [cell for cell in code if "setup" in tags(cell)]
    if len(set_up) != 1 or not SETUP_LINE.search(set_up[0].source):
        yield "no cell tagged `setup` with the line that `make address` writes"
    if not any(cell.outputs for cell in code if is_compared(cell)):
        yield "no compared cell stores an output: nbval would prove nothing"
    for position, cell in enumerate(code, 1):
        for fault in cell_faults(cell, position):
            yield f"code cell {position} ({cell.source.splitlines()[0][:40]!r}): {fault}"


def cell_faults(cell: Any, position: int) -> Iterator[str]:
    """Yield what is wrong with one code cell, the `position`-th of its notebook."""
    unknown = {tag for tag in tags(cell) if tag.startswith("nbval")} - KNOWN_TAGS
    if unknown:
        yield f"unknown tag {', '.join(sorted(unknown))}"
    for line in cell.source.splitlines():
        if len(line) > WIDEST:
            start = line.strip()[:30]
            yield f"{len(line)} characters, and {WIDEST} are what a page shows: {start!r}"
    if "NBVAL_" in cell.source:
        yield "nbval is steered by a comment; use a cell tag, which readers do not see"
    if cell.source.rstrip().endswith(";") and is_compared(cell):
        yield "it ends with a semicolon, which nbval does not heed: assign the value instead"
    if cell.execution_count is None:
        yield "no execution count: nbval would not compare it"
    elif cell.execution_count != position:
        yield f"execution count {cell.execution_count}: run all cells once, in order"
    if prints(cell.source) and not cell.outputs and "nbval-skip" not in tags(cell):
        yield "it prints, and no output is stored"
    for output in cell.outputs:
        if output.output_type == "error" and not {"raises-exception", "nbval-raises-exception"} & (
            tags(cell)
        ):
            yield f"it stores an error: {output.ename}: {output.evalue}"
        if wide := [line for line in printed(output).splitlines() if len(line) > WIDEST]:
            yield f"it prints {len(wide[0])} characters on a line; a page shows {WIDEST}"
        found = MACHINE_PATH.search(text_of(output))
        if found or str(ROOT) in text_of(output):
            yield f"its output holds a path of one machine: {found[0] if found else ROOT}"


def tags(cell: Any) -> set[str]:
    """Return a cell's tags."""
    return set(cell.metadata.get("tags", []))


def is_compared(cell: Any) -> bool:
    """Tell whether nbval compares a cell's outputs with those of its own run."""
    return not tags(cell) & NOT_COMPARED


def prints(source: str) -> bool:
    """Tell whether a cell itself (not a function that it defines) calls print or display."""
    from IPython.core.inputtransformer2 import TransformerManager

    python = TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
    pending: list[ast.AST] = [ast.parse(python)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in {"print", "display"}:
            return True
        pending.extend(ast.iter_child_nodes(node))
    return False


def text_of(output: Any) -> str:
    """Return all text of an output; images are left out."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return "\n".join(str(v) for k, v in output.data.items() if not k.startswith("image/"))


def printed(output: Any) -> str:
    """Return what a page shows of an output in a box of fixed width; nothing of a figure."""
    if output.output_type == "stream":
        return str(output.text)
    data = output.get("data", {})
    return str(data.get("text/plain", "")) if data.keys() == {"text/plain"} else ""


def execute(path: Path) -> None:
    """Run a notebook in a new kernel, in its own folder, and store what it shows."""
    from nbclient import NotebookClient

    notebook = read(path)
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,  # times would change in every run
        coalesce_streams=True,  # where prints are cut in two depends on the clock
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    # Of the kernel keep what the site needs; versions would change with every machine.
    notebook.metadata.kernelspec = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata.pop("widgets", None)
    # Progress bars go to stderr. They are no part of a page, which would not show them, and
    # every redrawing of one is kept: for minutes of training, more than all figures together.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = lighter(output.data["image/png"])
    replace(path, as_text(notebook))


def lighter(png: str) -> str:
    """Return the same picture, base64 as in a notebook, in fewer bytes.

    A chart has few colours beside the shades along its edges, so a palette of 256 does for it
    and makes it three times smaller. A picture that a palette would change visibly keeps its
    colours.
    """
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    ground = Image.new("RGBA", picture.size, "white")
    colours = Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    palette = colours.quantize(256, dither=Image.Dither.NONE)
    change = np.asarray(palette.convert("RGB"), float) - np.asarray(colours, float)
    stored = palette if np.sqrt(np.mean(change**2)) < 1 else colours  # of 255 levels
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def read(path: Path) -> Any:
    """Return a notebook as nbformat's nested dictionaries."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def as_text(notebook: Any) -> str:
    """Return a notebook's text in nbformat's own layout, so that diffs stay small."""
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def replace(path: Path, text: str) -> None:
    """Give a file new contents, whole or not at all, and keep its permissions."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def check(paths: list[Path]) -> int:
    """Print the faults of notebooks; return how many there are."""
    count = 0
    for path in paths:
        for fault in faults(read(path), path.stat().st_size):
            print(f"{path.name}: {fault}")
            count += 1
    return count


def main() -> None:
    """Check or execute the notebooks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    parser.add_argument("action", choices=["check", "execute"])
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (default: all)")
    options = parser.parse_args()
    paths: list[Path] = options.paths or sorted(NOTEBOOKS.glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        parser.error(f"there is no {', '.join(missing)}")
    if options.action == "check":
        if check(paths):
            sys.exit("notebooks: run `make outputs`, or mend what the lines above name")
        print(f"notebooks: {len(paths)} checked, no fault in what they store")
        return
    os.environ["IPYTHONDIR"] = str(ROOT / "_build" / "ipython")  # not the user's start-up files
    for path in paths:
        print(f"outputs: {path.name}", flush=True)
        execute(path)


if __name__ == "__main__":
    main()
