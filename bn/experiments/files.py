"""Writing a file whole or not at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

#: Held while a file is written. A thread that ends the process takes it first.
writing = threading.RLock()


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in the place of `path` in one step.

    Whatever happens, an interruption included, `path` is the old file or the new one.

    Raises
    ------
    OSError
        With the name `path`, which the system leaves out where a disk is full.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        with writing:
            write(temporary)
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed left of writing `path`; nobody may be writing it."""
    for left in path.parent.glob(f".{path.name}-*.tmp"):
        left.unlink(missing_ok=True)
