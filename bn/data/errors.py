"""What can go wrong, and how it is told."""

from __future__ import annotations

import importlib.util
import sys


class DataError(RuntimeError):
    """A data set could not be had; the message says what was tried and what to do."""


class SourceError(Exception):
    """One source is of no use (the text says why); the next one may be."""


class NoAnswerError(SourceError):
    """The host itself did not answer, so its other addresses need not be tried."""


def say(line: str) -> None:
    """Print one line of news on stderr, where it cannot mix with results."""
    print(f"bn.data: {line}", file=sys.stderr, flush=True)


#: What fetching needs: the module that is imported, and the package that brings it.
PACKAGES = {
    "platformdirs": "platformdirs",
    "requests": "requests",
    "filelock": "filelock",
    "PIL": "pillow",
    "tqdm": "tqdm",
}
INSTALL = f"pip install {' '.join(PACKAGES.values())}"


def require_packages() -> None:
    """Check that everything fetching may need is installed, before anything is fetched.

    Raises
    ------
    ImportError
        If a package is missing: named, with the command that installs it.
    """
    missing = [name for module, name in PACKAGES.items() if not _installed(module)]
    if missing:
        raise ImportError(
            f"bn.data needs {', '.join(missing)} to fetch data sets; "
            f"install what it uses with: {INSTALL}"
        )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
