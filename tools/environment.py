"""Create or refresh .venv, the one environment that every make target uses.

Run by the system's Python before anything is installed, so: standard library only, and
no syntax that an old Python cannot parse (it must get as far as the message below).
Nothing is done when requirements.txt, the dependencies in pyproject.toml, the folder and
the interpreter are those of the last finished set-up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "set-up-finished"  # written last: an interrupted set-up has none
HOME_MARK = VENV / "made-in"  # an environment does not survive being moved
BUILD = ROOT / "_build"
LOG = BUILD / "environment.log"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# PyTorch's own index of builds without CUDA (about 200 MB instead of several GB).
TORCH_CPU = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Bring .venv up to date, or stop with a message that says what to do."""
    require_python()
    wanted = fingerprint()
    if is_finished(wanted):
        return
    with one_at_a_time():
        if is_finished(wanted):  # another make did it while this one waited
            return
        with contextlib.suppress(FileNotFoundError):
            STAMP.unlink()
        started = time.monotonic()
        if not is_sound():
            create()
        install()
        STAMP.write_text(wanted, encoding="utf-8")
        say(f"ready after {time.monotonic() - started:.0f} s")


def require_python() -> None:
    """Refuse a Python that is too old or that cannot create environments."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"This project needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and "
            f"{sys.executable} is Python {platform.python_version()}.\n"
            "Install a newer one, or name it: make PYTHON=python3.12 ..."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            f"{sys.executable} cannot create environments: it lacks venv or ensurepip.\n"
            "On Debian and Ubuntu: sudo apt install python3-venv"
        )


def fingerprint() -> str:
    """Return what a finished set-up depends on, as one line."""
    parts = [
        (ROOT / "requirements.txt").read_text(encoding="utf-8"),
        # The rest of pyproject.toml configures tools: no need to install again for it.
        json.dumps(project_table(), sort_keys=True),
        str(VENV),
        f"{sys.version_info[0]}.{sys.version_info[1]}",
        "npm" if shutil.which("npm") else "no npm",
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def project_table() -> dict[str, Any]:
    """Return [project] of pyproject.toml."""
    import tomllib  # new in 3.11, so not at the top of the file

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def is_finished(wanted: str) -> bool:
    """Tell whether the last set-up ran to its end with the same fingerprint."""
    try:
        return STAMP.read_text(encoding="utf-8") == wanted and PYTHON.exists()
    except FileNotFoundError:
        return False


def is_sound() -> bool:
    """Tell whether .venv can be built upon, or was left half-installed.

    pip writes a distribution's RECORD last, and moves what it replaces to names that begin
    with ~: a missing RECORD or such a name is the trace of an installation cut short.
    """
    check = (
        "import sys, pathlib, sysconfig, importlib.metadata as m, pip\n"
        "home = pathlib.Path(sysconfig.get_path('purelib'))\n"
        "ok = all(d.read_text('RECORD') for d in m.distributions(path=[str(home)]))\n"
        "ok = ok and not list(home.glob('~*'))\n"
        f"sys.exit(not ok or sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    )
    try:
        if HOME_MARK.read_text(encoding="utf-8") != str(VENV):
            return False
        # -I: what the user's PYTHONPATH holds is not in .venv
        return subprocess.run([str(PYTHON), "-I", "-c", check], capture_output=True).returncode == 0
    except OSError:  # no such file, or the interpreter it was made from is gone
        return False


def create() -> None:
    """Make an empty environment in .venv, in place of whatever was there."""
    if VENV.exists():
        say("rebuilding .venv (moved, of another Python, or left half-installed)")
    else:
        say("creating .venv (the first time takes a few minutes and about 2 GB)")
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    HOME_MARK.write_text(str(VENV), encoding="utf-8")


def install() -> None:
    """Install requirements.txt, and what this machine needs besides."""
    say(f"installing requirements.txt into .venv (details: {LOG.relative_to(ROOT)})")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "-r", str(ROOT / "requirements.txt")]
    if not shutil.which("npm"):
        command += project_table()["optional-dependencies"]["npm"]
    if wants_cpu_torch():
        command += ["--extra-index-url", TORCH_CPU]
    run(command)


def wants_cpu_torch() -> bool:
    """Tell whether to look for PyTorch in its index of CPU builds.

    Only Linux needs to: PyPI's build for it carries CUDA. Where the index does not answer
    within seconds, pip goes on with the sources it knows.
    """
    if platform.system() != "Linux":
        return False
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        return False
    try:
        with urllib.request.urlopen(TORCH_CPU + "/torch/", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def run(command: list[str]) -> None:
    """Run a command with its output in the log; show all of it when it fails."""
    with open(LOG, "wb") as log:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
        ).returncode
    if status:
        sys.stderr.write(LOG.read_text(encoding="utf-8", errors="replace"))
        sys.exit(
            f"\nSet-up failed: {' '.join(command)}\nended with status {status}; the lines above "
            "are all it said. After mending the cause, run the same make command again."
        )


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock, so that two make commands at once do not install into one .venv."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".environment.lock", "a+") as lock:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(message: str) -> None:
    """Print one line at once, also into a pipe."""
    print("environment: " + message, flush=True)


if __name__ == "__main__":
    main()
