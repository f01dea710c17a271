"""A study: several arms, several seeds, one record that grows run by run."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bn.experiments.record import Run, load, results_dir, same_config, save

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

    Interrupt it at any time: finished runs are kept, and the next call goes on from there.

    Parameters
    ----------
    study : str
        Name of the record.
    arms : dict of str to a dataclass
        The configuration of each side of the comparison.
    run_task : function
        Makes one run; it must be importable by name when there are several jobs.
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
    """
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds is {seeds} and jobs {jobs}, expected at least 1")
    exists = ((folder or results_dir()) / f"{study}.json").is_file()
    kept = [
        run
        for run in (load(study, folder) if exists else [])
        if run.arm in arms and same_config(run.config, asdict(arms[run.arm]))
    ]
    done = {(run.arm, run.seed) for run in kept}
    tasks = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in done]
    with tqdm(total=len(kept) + len(tasks), initial=len(kept), desc=study, unit=" runs") as bar:
        for run in _execute(tasks, arms, run_task, jobs):
            kept.append(run)
            save(study, kept, folder)
            bar.update()
    return kept


def _execute(
    tasks: list[tuple[str, int]], arms: Mapping[str, Any], run_task: RunTask, jobs: int
) -> Iterator[Run]:
    """Yield the run of each task as it is finished, from one process or several."""
    if jobs == 1:
        for arm, seed in tasks:
            yield replace(run_task(arms[arm], seed, f"{arm}, seed {seed}"), arm=arm)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_task, arms[arm], seed, None): arm for arm, seed in tasks}
        try:
            for future in as_completed(futures):
                yield replace(future.result(), arm=futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what was asked for last never starts
            raise
