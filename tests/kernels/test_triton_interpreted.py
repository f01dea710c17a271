"""Run the Triton kernels in Triton's interpreter, where there is no GPU.

Whether Triton interprets is settled once, when it is first imported, so the tests of the numbers
get a process of their own. In this one they skip, unless there is a GPU: then they run on it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

HERE = Path(__file__).parent
INTERPRETED = ["test_triton_numbers.py", "test_triton_extremes.py", "test_triton_memory.py"]


def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
    command += [str(HERE / name) for name in INTERPRETED]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.fail(f"in the interpreter:\n{done.stdout}\n{done.stderr}", pytrace=False)
    last = done.stdout.strip().splitlines()[-1]
    assert "passed" in last
    assert "skipped" not in last, done.stdout


def test_all_are_run():
    """A file that is forgotten above would never run where there is no GPU."""
    waiting = {
        path.name
        for path in HERE.glob("test_triton_*.py")
        if "NEEDS_INTERPRETER" + " = " in path.read_text()
    }
    assert waiting == set(INTERPRETED)
