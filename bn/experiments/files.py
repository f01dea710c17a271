"""Writing a file whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in the place of `path` in one step.

    Whatever happens, an interruption included, `path` is the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
