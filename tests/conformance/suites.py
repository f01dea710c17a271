"""The suites: what belongs to each, how its cases are counted, how it runs on a copy of bn."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Suite:
    """A name for a set of tests."""

    title: str
    paths: tuple[str, ...]  # files or folders below the root
    networks: bool = False  # of the two suites that share a file, the slow one

    def has(self, node: str) -> bool:
        """Tell whether a test, named as pytest names it, belongs here."""
        return node.startswith(self.paths) and ("test_network[" in node) == self.networks


#: Those that are quick to start come first: of several suites that catch a bug, the first is
#: the one that continuous integration runs.
SUITES = {
    "properties": Suite(
        "Property-based tests",
        ("tests/conformance/test_properties.py", "tests/conformance/test_properties_statistics.py"),
    ),
    "onnx": Suite("ONNX, single operators", ("tests/conformance/test_onnx.py",)),
    "accuracy": Suite("Accuracy figures", ("tests/conformance/test_accuracy.py",)),
    "contract": Suite("Contract", ("tests/contract",)),
    "torch": Suite(
        "PyTorch's samples",
        ("tests/conformance/test_torch_samples.py", "tests/conformance/test_torch_modules.py"),
    ),
    "networks": Suite("ONNX, networks", ("tests/conformance/test_onnx.py",), networks=True),
}


#: The parts of bn that have batch norm.
IMPLEMENTED = "reference", "pytorch", "kernels"


def suite_of(node: str) -> str | None:
    """Return the name of the suite that a test belongs to, if it belongs to one."""
    return next((name for name, suite in SUITES.items() if suite.has(node)), None)


def implementation(node: str) -> str:
    """Return what a case runs on: the reference, unless its name says pytorch or numba."""
    name = re.sub(r"^.*?::", "", node)
    return "pytorch" if "pytorch" in name else "kernels" if "numba" in name else "reference"


def count(nodes: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return how many cases of each suite there are on each implementation."""
    found = Counter((suite_of(node), implementation(node)) for node in nodes)
    return {name: {on: found[name, on] for on in IMPLEMENTED if found[name, on]} for name in SUITES}


def text(cases: dict[str, int]) -> str:
    """Say how many cases there are, in words."""
    parts = [f"{number} on bn.{on}" for on, number in cases.items()]
    return parts[0] if len(parts) == 1 else f"{sum(cases.values())} ({', '.join(parts)})"


# --- a copy of the package -------------------------------------------------------------------

#: Names the copy to the tests that run on it; see `on_copy`.
COPY = "BN_CONFORMANCE_COPY"
FAILED = "failed-suites"


class PlantError(Exception):
    """A bug could not be planted, or a suite could not be run on the copy."""


def copy_package(to: Path) -> None:
    """Copy bn into a folder."""
    shutil.copytree(ROOT / "bn", to / "bn", ignore=shutil.ignore_patterns("__pycache__"))


def failing(names: Iterable[str], copy: Path) -> list[str]:
    """Run what suites have for the reference on a copy of bn; return those that fail.

    Raises
    ------
    PlantError
        If pytest ended in another way than with tests that passed or failed.
    """
    names = list(names)
    paths = dict.fromkeys(path for name in names for path in SUITES[name].paths)
    command = [
        sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
        "--rootdir", str(ROOT), "-p", "no:cacheprovider", "-p", "pytest_timeout",
        "-p", "tests.conformance.on_copy",
        *(str(ROOT / path) for path in paths),
    ]  # fmt: skip
    settings = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # nbval's imports would take most of the time
        "OMP_NUM_THREADS": "1",
        COPY: os.pathsep.join([str(copy), *names]),
    }
    done = subprocess.run(
        command, cwd=copy, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    failed = (copy / FAILED).read_text("utf-8").split() if (copy / FAILED).is_file() else []
    if done.returncode not in (0, 1) or bool(failed) != bool(done.returncode):
        raise PlantError(
            f"{', '.join(names)}: pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return [name for name in names if name in failed]
