"""A process of its own that times what it is told to: ``python -m bn.bench.worker``.

Settings of the memory allocator are made once for a process, so functions under different
settings are timed in different processes, by turns: each waits until it is told to go round once.
Questions and answers are lines of JSON, on stdin and stdout. :class:`Worker` is the other end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from bn.bench.rounds import Round
from bn.bench.timing import Timer, brief

#: Seconds after which a worker that does not answer is given up.
PATIENCE = 200.0


class WorkerError(RuntimeError):
    """A worker could not do what it was told to, and says why."""


class Worker:
    """The other end: starts the process, asks, and ends it.

    It does not wait for the start, so that several can start at once.

    Parameters
    ----------
    environment : dict of str to str
        Variables that differ from ours.
    tune : bool
        Whether it shall call :func:`bn.tune_allocator` first.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, tune: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bn.bench.worker", *(["tune"] if tune else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {}), "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
        )
        self._started = False

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a question and return the answer.

        Raises
        ------
        WorkerError
            If it reports an error, ended, or does not answer in time.
        """
        assert self.process.stdin is not None
        if not self._started:
            self._answer()  # it says whether it could do what the settings want
            self._started = True
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"the process that measures has ended: {brief(error)}") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        watch = threading.Timer(PATIENCE, self.process.kill)
        watch.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            code = self.process.wait()
            raise WorkerError(f"the process that measures ended with code {code}, or was too slow")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def round(self) -> Round:
        """Let it go round once."""
        return Round.from_dict(self.ask(round=True)["round"])

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # something may be left that nobody reads
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- in the process --------------------------------------------------------------------------


def _layers(shape: list[int], names: list[str]) -> dict[str, Callable[[], object]]:
    from bn.bench.cases import draw
    from bn.bench.contenders import BY_NAME

    case = draw(tuple(shape))
    return {name: BY_NAME[name].make(case).both for name in names}


def _cifar(names: list[str], batch_size: int) -> dict[str, Callable[[], object]]:
    from bn.bench.networks import cifar_step

    return {name: cifar_step(name, batch_size) for name in names}


SUBJECTS: dict[str, Callable[..., Mapping[str, Callable[[], object]]]] = {
    "layers": _layers,
    "cifar": _cifar,
}


def main(arguments: list[str]) -> int:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process ends it
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def say(**answer: Any) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    if "tune" in arguments:
        from bn.allocator import tune_allocator

        if not tune_allocator():
            say(error="the allocator cannot be tuned here: this is not glibc")
            return 1
    say(started=True)
    timer: Timer | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "open" in question:
                timer = None  # first give back what was measured before
                make = functools.partial(SUBJECTS[question["open"]], **question["arguments"])
                timer = Timer(make(), question["span"])
                say(failed=timer.failed)
            elif timer is not None:
                say(round=timer.round().to_dict())
            else:
                say(error="nothing was opened")
        except Exception as error:
            say(error=brief(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
