"""The process in which ``python -m bn check`` imports and checks; it writes JSON to stdout."""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from bn.check.adapters.estimators import is_estimator
from bn.check.estimates import population
from bn.check.names import UsageError
from bn.check.report import Finding, Report, Row
from bn.check.runner import batch_norm


def main(target: str, timeout: float) -> None:
    """Import what `target` names, check it within `timeout` seconds, and write the report."""
    started = time.monotonic()
    say = _take_stdout()
    module, _, names = target.partition(":")
    say({"phase": f"importing {module}"})
    _choose_keras_backend()
    try:
        space = importlib.import_module(module)
        found = [_get(space, name) for name in names.split(",")]
    except _MissingError as missing:
        say({"usage": f"{module} has no {missing}"})
        return
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            say({"usage": f"there is no module {error.name}; is its folder the working directory?"})
            return
        say({"report": _import_failed(target, module, error).to_dict()})
        return
    except BaseException as error:  # SystemExit too
        say({"report": _import_failed(target, module, error).to_dict()})
        return
    say({"phase": f"checking {target}"})
    candidate = found[0] if len(found) == 1 else tuple(found)
    left = max(timeout - (time.monotonic() - started), 0.1)
    try:
        check: Any = population if is_estimator(candidate) else batch_norm
        report = check(candidate, timeout=left, name=target)
    except UsageError as error:
        say({"usage": f"{target}: {error}"})
        return
    say({"report": report.to_dict()})


class _MissingError(Exception):
    """A name that a module does not have."""


def _get(space: Any, path: str) -> Any:
    for name in path.split("."):
        if not hasattr(space, name):
            raise _MissingError(path)
        space = getattr(space, name)
    return space


def _import_failed(target: str, module: str, error: BaseException) -> Report:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
    came = f"{type(error).__name__}: {error}{place}"
    finding = Finding("layouts", "wrong", "raises", f"import {module}", came, "a module")
    return Report(target, "unknown", [Row("layouts", "wrong", came)], {}, [finding])


def _choose_keras_backend() -> None:
    """Let Keras run on what is installed, where nobody said on what."""
    backends = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}
    if "KERAS_BACKEND" not in os.environ:
        there = [name for name, package in backends.items() if importlib.util.find_spec(package)]
        if there:
            os.environ["KERAS_BACKEND"] = there[0]


def _take_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout for messages; what the candidate prints goes to stderr from now on."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return say


if __name__ == "__main__":
    # Who started this process ends it in time. Where that one has been killed, this does; it
    # needs no thread of Python's, which a candidate that is busy in C would not let run.
    faulthandler.dump_traceback_later(float(sys.argv[3]), exit=True)
    main(sys.argv[1], float(sys.argv[2]))
    sys.stderr.flush()
    os._exit(0)  # whatever threads the candidate has left running
