"""Run the checks behind `make test`, each announced in one line and timed.

All of them run, also after a failure, and the last lines say which failed. `quick` is a part of
`tests`, for `make test-quick`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# nbval has a time limit of its own for a cell; like pytest's, it only ends what hangs.
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=3600", "-p", "no:cacheprovider"]

# The tests of a file stay on one worker, since they share what took long to make.
TWO_AT_A_TIME = ["-n", "2", "--dist", "loadfile"]

# Under two minutes, with the types: what shows most of what can go wrong in a formula.
QUICK = ["tests/reference", "tests/layers", "tests/contract", "tests/test_warnings.py"]

STEPS: dict[str, tuple[str, list[list[str]]]] = {
    "style": (
        "ruff: lint and format",
        [["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"]],
    ),
    "types": ("mypy --strict", [["-m", "mypy"]]),
    "imports": ("import-linter: imports run downwards only", [["lint-imports"]]),
    "tests": ("pytest: package, site and browser", [["-m", "pytest", *TWO_AT_A_TIME]]),
    "quick": (
        "pytest: the reference, and the contract of all implementations",
        [["-m", "pytest", *TWO_AT_A_TIME, *QUICK]],
    ),
    "notebooks": (
        "nbval: every notebook again, compared with its stored outputs",
        [["-m", "tools.notebooks", "check"], ["-m", "pytest", *NBVAL, "notebooks"]],
    ),
}


# nbval compares what stands on stderr. A warning is a notebook's output where its own code or ours
# causes it, and not where torch and others warn inside their own modules.
START_UP = """\
import warnings
warnings.filterwarnings("ignore")
warnings.filterwarnings("default", module=r"(__main__|bn)(\\..*)?$")
del warnings
"""


def ipython_folder() -> Path:
    """Return the settings of IPython for notebooks under test, in place of the user's own."""
    folder = ROOT / "_build" / "ipython"
    start_up = folder / "profile_default" / "startup"
    start_up.mkdir(parents=True, exist_ok=True)
    (start_up / "warnings.py").write_text(START_UP, encoding="utf-8")
    return folder


def settings() -> dict[str, str]:
    """Return the environment in which tests run; what the user sets comes first."""
    return {
        "BN_EPOCHS": "0.2",  # CIFAR-10, live: a part of an epoch, which no machine is too slow for
        # Threads that wait leave the cores to others. By default they spin, and where other
        # processes want the cores too, a small step of training takes five to ten times as long.
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "IPYTHONDIR": str(ipython_folder()),
    }


def run(command: list[str]) -> bool:
    """Run a Python module, or a script installed beside the interpreter; tell if it passed."""
    start = [sys.executable] if command[0] == "-m" else [str(BIN / command.pop(0))]
    made = subprocess.run([*start, *command], cwd=ROOT, env=settings(), stdin=subprocess.DEVNULL)
    return made.returncode == 0


def main() -> None:
    """Run the steps named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tools.check", description=__doc__)
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(STEPS)} (default: all but quick)")
    names = parser.parse_args().steps or [name for name in STEPS if name != "quick"]
    unknown = set(names) - set(STEPS)
    if unknown:
        parser.error(f"no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    failed = []
    for position, name in enumerate(names, 1):
        title, commands = STEPS[name]
        print(f"\ntest {position}/{len(names)}: {title}", flush=True)
        started = time.monotonic()
        if not all([run(list(command)) for command in commands]):
            failed.append(name)
        print(f"test {position}/{len(names)}: {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        sys.exit(f"\ntest: FAILED: {', '.join(failed)}")
    print(f"\ntest: all passed: {', '.join(names)}")


if __name__ == "__main__":
    main()
