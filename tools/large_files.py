"""Refuse files over 1 MB: a clone carries every version of every file for ever."""

from __future__ import annotations

import sys
from pathlib import Path

LARGEST = 1_000_000  # bytes


def main(paths: list[Path]) -> None:
    """Name the files that are too large, and fail if there are any."""
    large = [path for path in paths if path.is_file() and path.stat().st_size > LARGEST]
    for path in large:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, and at most 1 MB belongs in git")
    sys.exit(bool(large))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
