"""``python -m bn data``: fetch and verify both sets, and say what is there."""

from __future__ import annotations

import sys
import time

from bn.data import sources
from bn.data.errors import DataError
from bn.data.obtain import obtain


def run() -> int:
    """Fetch and verify both sets; print where they are, their sizes and hashes.

    Returns
    -------
    int
        Exit code: 0 if both are verified, 1 if one could not be had (told on stderr).
    """
    code = 0
    silent: set[str] = set()
    for spec in (sources.MNIST, sources.CIFAR10):
        start = time.perf_counter()
        try:
            obtained = obtain(spec, silent=silent)
        except (DataError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
            continue
        seconds = time.perf_counter() - start
        how = f"fetched from {obtained.source}" if obtained.source else "from the cache"
        print(f"{spec.title}: verified ({how}, {seconds:.1f} s)")
        print(f"  {obtained.path}")
        print(f"  {spec.size} bytes: {len(spec.parts)} files, joined; their sizes and SHA-256:")
        for part in spec.parts:
            print(f"    {part.name:<23} {part.size:>8}  {part.sha256}")
    return code
