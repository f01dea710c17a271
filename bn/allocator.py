"""Memory that is kept instead of given back to the system.

A program gets memory from the system in pages of 4 kB. The first write to each costs an
interrupt, in which the system finds a page and fills it with zeros. glibc's malloc asks the
system anew for every large array and gives it back when it is freed: so a training step, which
makes and drops the same arrays over and over, pays for each page of each of them every time.
"""

import ctypes
import sys
from collections.abc import Callable

# Parameters of mallopt, from glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
#: Smaller requests than this are served from memory that is kept. Bytes.
LARGEST_KEPT = 1 << 30
#: Up to this much free memory is kept at the end of the heap: the most that an int can say.
TRIM = (1 << 31) - 1


def tune_allocator() -> bool:
    """Let the C library keep freed memory for this process instead of giving it back.

    Arrays of NumPy and tensors of PyTorch on the CPU then live in memory that was written
    before. The chapter "Where the time goes" measures what that brings.

    The price: memory that was once used stays with the process until it ends, even after the
    arrays are gone, and free memory between used blocks may be too small for the next request.
    It cannot be undone. Call it at the beginning of a training program; not in a long-lived
    service that needs much memory for a moment only.

    It sets ``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``mallopt``, as the
    environment variables ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_`` would for
    every program started with them.

    Returns
    -------
    bool
        True if the C library took the settings; False, and nothing is changed, where there is
        no glibc: macOS, Windows, musl.
    """
    mallopt = _mallopt()
    if mallopt is None or not mallopt(_TRIM_THRESHOLD, TRIM):
        return False
    if mallopt(_MMAP_THRESHOLD, LARGEST_KEPT):
        return True
    # Before glibc 2.35 the threshold could be 32 MB at most: allow no request to the system's
    # memory map at all instead. malloc still goes there when the heap cannot grow.
    return bool(mallopt(_MMAP_MAX, 0))


def _mallopt() -> Callable[[int, int], int] | None:
    """Return glibc's mallopt, or None where there is no glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return None  # musl: its malloc has no such settings
    mallopt: Callable[[int, int], int] = library.mallopt
    return mallopt
