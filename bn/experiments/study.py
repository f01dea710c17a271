"""A study: several arms, several seeds, one record that grows run by run."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bn.allocator import tune_allocator
from bn.experiments.record import RecordError, Run, add, open_study, same_config

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
) -> list[Run]:
    """Run what is missing of a study, writing its record after each run.

    Interrupt it at any time: finished runs are kept, and the next call goes on from there. Two
    processes may work on one study; each adds its runs to what the file holds then.

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
        Seeds 0, 1, .. of each arm.
    jobs : int
        Processes at once.
    folder : Path, optional
        Where the record is kept; default ``results/``.

    Returns
    -------
    list of Run
        All runs of these arms that the record now holds.

    Raises
    ------
    ValueError, RecordError, OSError
        If there are no seeds or jobs; if the record holds an arm with other settings, or is
        damaged; if the folder cannot be written.
    """
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds is {seeds} and jobs {jobs}, expected at least 1")
    kept = open_study(study, folder)  # also finds out now whether the folder can be written
    for run in kept:
        if run.arm in arms and not same_config(run.config, asdict(arms[run.arm])):
            raise RecordError(
                f"the record {study!r} holds runs of arm {run.arm!r} with other settings; a record "
                "is not mixed. Move or delete the file to start anew"
            )
    done = {(run.arm, run.seed) for run in kept}
    tasks = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in done]
    already = sum(run.arm in arms for run in kept)
    with tqdm(total=already + len(tasks), initial=already, desc=study, unit=" runs") as bar:
        for run in _execute(tasks, arms, run_task, jobs):
            kept = add(study, run, folder)
            bar.update()
    return [run for run in kept if run.arm in arms]


def share_cores(jobs: int) -> None:
    """Prepare this process, one of several, before it imports PyTorch.

    It gets its share of the cores, and keeps its memory, as the process that started it does.
    """
    tune_allocator()
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))


def _execute(
    tasks: list[tuple[str, int]], arms: Mapping[str, Any], run_task: RunTask, jobs: int
) -> Iterator[Run]:
    """Yield the run of each task as it is finished, from one process or several."""
    if jobs == 1:
        for arm, seed in tasks:
            yield replace(run_task(arms[arm], seed, f"{arm}, seed {seed}"), arm=arm)
        return
    # Spawned, not forked: a progress bar has a thread, and a fork with threads may hang. No more
    # is handed over than is being worked on, so that an interruption leaves nothing in a queue.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=share_cores, initargs=(jobs,)
    )
    waiting = iter(tasks)
    running: dict[Future[Run], str] = {}

    def start(task: tuple[str, int]) -> None:
        arm, seed = task
        running[pool.submit(run_task, arms[arm], seed, None)] = arm

    try:
        for task in islice(waiting, jobs):
            start(task)
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                arm = running.pop(future)
                yield replace(future.result(), arm=arm)
                for task in islice(waiting, 1):
                    start(task)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
