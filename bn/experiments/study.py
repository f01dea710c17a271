"""A study: several arms, several seeds, one record that grows run by run."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bn.allocator import tune_allocator
from bn.experiments import files
from bn.experiments.protocol import Protocol
from bn.experiments.record import RecordError, Run, add, open_study, results_dir, same_config

#: Runs one configuration (a dataclass) from a seed; the last argument labels a progress bar.
RunTask = Callable[[Any, int, str | None], Run]


def run_study(
    study: str,
    arms: Mapping[str, Any],
    run_task: RunTask,
    *,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path | None = None,
    protocol: Protocol | None = None,
) -> list[Run]:
    """Run what is missing of a study, writing its record after each run.

    Interrupt it at any time: finished runs are kept, and the next call goes on from there. Its
    processes end with it, even if it is killed. Two calls may work on one study at once; each
    adds its runs to what the file holds then.

    Parameters
    ----------
    study : str
        Name of the record.
    arms : dict of str to a dataclass
        The configuration of each side of the comparison.
    run_task : function
        Makes one run; it must be importable by name when there are several jobs, because each
        is a new process.
    seeds : int
        So many of each arm: 0, 1, .., or from the protocol's first.
    jobs : int
        Processes at once.
    folder : Path, optional
        Where the record is kept; default ``results/``.
    protocol : Protocol, optional
        What is compared, and how its settings were chosen; the record states it.

    Returns
    -------
    list of Run
        All runs of these arms that the record now holds.

    Raises
    ------
    ValueError, RecordError, OSError
        If there are no seeds or jobs; if the record holds an arm with other settings, or is
        damaged; if the folder cannot be written, or one of several processes ended by itself.
    """
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds is {seeds} and jobs {jobs}, expected at least 1")
    stated = None if protocol is None else protocol.stated()
    # also finds out now whether the folder can be written
    kept = open_study(study, folder, stated)
    for run in kept:
        if run.arm in arms and not same_config(run.config, arms[run.arm]):
            raise RecordError(
                f"the record {study!r} holds runs of arm {run.arm!r} with other settings; a record "
                "is not mixed. Move or delete the file to start anew"
            )
    done = {(run.arm, run.seed) for run in kept}
    first = 0 if protocol is None else protocol.first_seed
    every = range(first, first + seeds)
    tasks = [(arm, seed) for seed in every for arm in arms if (arm, seed) not in done]
    already = sum(run.arm in arms for run in kept)
    make = partial(_make, study, folder or results_dir(), stated, run_task)
    with tqdm(total=already + len(tasks), initial=already, desc=study, unit=" runs") as bar:
        if jobs == 1:
            for arm, seed in tasks:
                make(arm, arms[arm], seed, f"{arm}, seed {seed}")
                bar.update()
        else:
            calls = [(arm, arms[arm], seed, None) for arm, seed in tasks]
            _in_processes(make, calls, jobs, bar.update)
    return [run for run in open_study(study, folder) if run.arm in arms]


def _make(
    study: str,
    folder: Path,
    protocol: Mapping[str, Any] | None,
    run_task: RunTask,
    arm: str,
    config: Any,
    seed: int,
    label: str | None,
) -> None:
    """Make one run and record it, in whatever process: so it is kept, whoever ends meanwhile."""
    run = replace(run_task(config, seed, label), arm=arm)
    with files.writing:
        add(study, run, folder, protocol)


def share_cores(jobs: int) -> None:
    """Prepare this process, one of several, before it imports PyTorch.

    It gets its share of the cores, and keeps its memory, as the process that started it does.
    """
    tune_allocator()
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))


def _in_processes(
    make: Callable[..., None],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    done: Callable[[], object],
) -> None:
    """Call `make` on the arguments of each task in processes, and `done` after each."""
    # Spawned, not forked: a progress bar has a thread, and a fork with threads may hang. No more
    # is handed over than is being worked on, so that an interruption leaves nothing in a queue.
    context = get_context("spawn")
    leash, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(jobs, leash)
    )
    waiting = iter(tasks)
    running: set[Future[None]] = set()

    def start(several: int) -> None:
        with _no_ctrl_c():
            running.update(pool.submit(make, *task) for task in islice(waiting, several))

    with leash, held:
        try:
            start(jobs)
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                running.difference_update(finished)
                for future in finished:
                    future.result()
                    done()
                start(len(finished))
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that made a run has ended by itself, perhaps for want of memory. "
                "Finished runs are recorded: the same command goes on from there, with fewer jobs "
                "if need be"
            ) from error
        except KeyboardInterrupt:
            held.close()  # what has begun would take minutes
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Start processes that do not see Ctrl-C, which a terminal sends to all: this one ends them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(jobs: int, leash: Connection) -> None:
    """Prepare a process that makes runs: it ends when nobody holds the other end of `leash`."""
    share_cores(jobs)
    tqdm.set_lock(threading.RLock())  # its own is for several processes, and would be left behind
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        leash.recv()  # nothing is ever sent; where the process at the other end is gone, it fails
    with files.writing:
        os._exit(1)
