"""Running a compiled kernel on several threads.

Not Numba's: its threads (``prange``) come from a pool of their own. PyTorch's threads do not
sleep between two operations but wait in a loop for some milliseconds, and so do Numba's; two
pools on the same cores then take turns at waiting, which costs both of them more than batch norm
itself. So where PyTorch is loaded, its own OpenMP runtime is asked to run the kernel, on the
threads that PyTorch uses and on as many of them as ``torch.get_num_threads()`` says. Without
PyTorch, plain Python threads do: a kernel does not hold the interpreter's lock.

A kernel is a C function of one argument, the address of a job (see ``jobs``). Every thread calls
it once; in it, the threads take items of work by turns until there is none left.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

_forked = False


def thread_count(asked: int | None = None) -> int:
    """Return how many threads a kernel may use: PyTorch's number, or one for each CPU."""
    if _forked:
        return 1
    if asked is not None:
        return asked
    found = _openmp()
    return found[1]() if found else _cpu_count()


def runtime() -> int:
    """Return the address of ``GOMP_parallel`` in PyTorch's OpenMP runtime, or 0."""
    found = None if _forked else _openmp()
    return found[0] if found else 0


def run(kernel: int, job: int) -> None:
    """Call the C function at address `kernel` with the job's address."""
    _callable(kernel)(job)


def run_on_threads(kernel: int, job: int, threads: int, keep: Any) -> None:
    """Do so on that many threads, without OpenMP.

    Whatever happens, memory that `keep` holds is not given back while a thread uses it: Ctrl-C,
    for one, may end the wait for the other threads.
    """
    others = []
    if threads > 1 and not _forked:
        with suppress(RuntimeError):  # the interpreter is shutting down: there are no new threads
            others = [_pool().submit(_call, kernel, job, keep) for _ in range(threads - 1)]
    _callable(kernel)(job)
    for other in others:
        if not other.cancel():  # one that has not begun has nothing left to do
            other.result()


def _call(kernel: int, job: int, keep: Any) -> None:
    """Call a C function; until it returns, this holds `keep`."""
    _callable(kernel)(job)


@functools.cache
def _callable(kernel: int) -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel)  # calls without the interpreter's lock


@functools.cache
def _cpu_count() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # users set it for everything
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _cpu_count() - 1), thread_name_prefix="bn-kernel")


_runtime: tuple[int, Callable[[], int]] | None = None


def _openmp() -> tuple[int, Callable[[], int]] | None:
    """Return GOMP_parallel and omp_get_max_threads of the runtime that PyTorch runs on."""
    global _runtime
    if _runtime is None and "torch" in sys.modules and sys.platform == "linux":
        try:
            library = ctypes.CDLL(None)  # torch makes its libraries visible to the whole process
            parallel, threads = library.GOMP_parallel, library.omp_get_max_threads
        except AttributeError:
            return None  # a PyTorch that was built without OpenMP, or with another's
        _runtime = ctypes.cast(parallel, ctypes.c_void_p).value or 0, threads
    return _runtime


def _after_fork() -> None:
    """Go on with one thread: neither runtime survives a fork, and a call to it would hang."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
