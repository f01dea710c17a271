"""Records of runs: what was run, on what, and what came out, as JSON under ``results/``.

One file holds one study: its protocol (:mod:`bn.experiments.protocol`) and a list of runs. A run
belongs to an arm (one side of the comparison) and has a seed; its ``config`` repeats it exactly.
Figures and numbers in the book are read from these files and from nowhere else.
"""

import datetime
import errno
import json
import math
import operator
import os
import platform
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bn import __version__
from bn.experiments import files

ROOT = Path(__file__).resolve().parents[2]
#: Where a wheel keeps the book's records; in a clone there is no such folder.
SHIPPED = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes
    ----------
    arm : str
        The side of the comparison that it belongs to, such as ``bn`` or ``plain``.
    seed : int
        Where its random numbers start.
    config : dict
        Every setting that the result depends on.
    curve : dict
        Lists of equal length, one entry per evaluation; ``step`` or ``epoch`` says when.
    final : dict
        The figures that the book quotes, by name. None where there is none.
    seconds : float
        Wall-clock time. It is a fact about one machine, not a benchmark.
    provenance : dict
        Device, versions, commit and date; see :func:`provenance`.
    """

    arm: str
    seed: int
    config: dict[str, Any]
    curve: dict[str, list[float | None]]
    final: dict[str, float | None]
    seconds: float
    provenance: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """A figure over the runs of an arm: mean, sample standard deviation, seeds, origin."""

    mean: float
    std: float
    values: tuple[float, ...]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, values: tuple[float, ...], runs: tuple[Run, ...]) -> "Summary":
        """Summarize values; the standard deviation of a single one is NaN."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), std, values, runs)

    @property
    def n(self) -> int:
        """How many runs there are."""
        return len(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean, by Student's t; of a single value, all numbers."""
        if self.n < 2:
            return -math.inf, math.inf
        half = _student(self.n - 1) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half


#: The 97.5 % point of Student's t for 1, 2, .. degrees of freedom.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip


def _student(freedom: int) -> float:
    """Return the 97.5 % point; past the table the next smaller one, which errs to the safe side."""
    return STUDENT[min(freedom, len(STUDENT)) - 1]


class RecordError(LookupError):
    """A record, an arm or a figure that was asked for does not exist."""


def results_dir() -> Path:
    """Return the folder of the records.

    That is ``BN_RESULTS_DIR`` where it is set, else ``results/`` of the repository, else, where
    the package was installed without its repository, ``results/`` of the working directory.
    """
    if named := os.environ.get("BN_RESULTS_DIR"):
        return Path(named)
    return (ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()) / "results"


def advice(error: Exception) -> str:
    """Return what helps where a disk is full, to be added to the error, which names the file."""
    full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    if not isinstance(error, OSError) or error.errno not in full:
        return ""
    return (
        ". Make room there, or set BN_RESULTS_DIR to a folder on another disk; what was recorded "
        "before is kept"
    )


def load(study: str, folder: Path | None = None) -> list[Run]:
    """Return the runs of a study, by arm and seed.

    Where no folder is named and that of the records has none of this study, it is the book's own
    record, which the package carries where it was installed without its repository.

    Raises
    ------
    RecordError
        If there is no such record, or it cannot be read.
    """
    path = _path(study, folder)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise RecordError(f"there is no record {study!r} in {path.parent}; known: {known}")
    try:
        runs = [Run(**run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        for run in runs:
            if not all(isinstance(v, dict) for v in (run.config, run.curve, run.final)):
                raise TypeError(f"config, curve and final of {run.arm!r} must be objects")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is not a record of runs ({error}); restore it, or delete it to start anew"
        ) from error
    if not runs:
        raise RecordError(f"{path} holds no runs; delete it to start anew")
    return runs


def _path(study: str, folder: Path | None) -> Path:
    path = (folder or results_dir()) / f"{study}.json"
    if folder is None and not path.is_file() and (SHIPPED / path.name).is_file():
        return SHIPPED / path.name
    return path


def load_sweep(experiment: str, arms: Collection[str], study: str = "sweep") -> list[Run]:
    """Return the runs of the sweep that decides the settings of an experiment's other studies.

    Parameters
    ----------
    experiment : str
    arms : collection of str
        All arms of the sweep: the best of some might not be the best.
    study : str
        Its name behind that of the experiment.

    Raises
    ------
    RecordError
        If it cannot be read or lacks an arm; names the command that makes it.
    """
    command = f"python -m bn train {experiment} --study {study}"
    try:
        runs = load(f"{experiment}-{study}")
    except RecordError as error:
        raise RecordError(f"{error}. It decides the settings; make it: {command}") from error
    if missing := set(arms) - {run.arm for run in runs}:
        raise RecordError(
            f"the sweep that decides the settings lacks {len(missing)} of its {len(arms)} arms; "
            f"this goes on with it: {command}"
        )
    return runs


def load_protocol(study: str, folder: Path | None = None) -> dict[str, Any] | None:
    """Return the protocol that a record was made by; None in a record that states none."""
    load(study, folder)  # its errors name the file and say what to do
    text = _path(study, folder).read_text(encoding="utf-8")
    stated: dict[str, Any] | None = json.loads(text).get("protocol")
    return stated


def save(
    study: str,
    runs: list[Run],
    folder: Path | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Path:
    """Write the runs of a study, sorted by arm and seed; the file is replaced in one step.

    Without a `protocol` that of the file stays.
    """
    folder = folder or results_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if protocol is None and (folder / f"{study}.json").is_file():
        protocol = load_protocol(study, folder)
    order = sorted(runs, key=lambda run: (run.arm, run.seed))
    made: dict[str, Any] = {"study": study}
    if protocol is not None:
        made["protocol"] = dict(protocol)
    made["runs"] = [_plain(asdict(run)) for run in order]
    text = json.dumps(made, indent=1, allow_nan=False)
    # a list of numbers on one line: the file stays readable, and so do its diffs
    text = re.sub(r"\[[\s\d.,eE+\-nul]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    path = folder / f"{study}.json"
    files.replace(path, lambda to: to.write_text(text + "\n", encoding="utf-8", newline="\n"))
    return path


def open_study(
    study: str, folder: Path | None = None, protocol: Mapping[str, Any] | None = None
) -> list[Run]:
    """Make sure that a study can be written, and return the runs that it has, if any.

    A record that has runs gets the `protocol`, if one is given and it has another.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    RecordError
        If there is a record and it cannot be read.
    """
    folder = folder or results_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(study, folder):
        files.remove_unfinished(folder / f"{study}.json")
        runs = _existing(study, folder)
        if runs and protocol is not None and load_protocol(study, folder) != _plain(dict(protocol)):
            save(study, runs, folder, protocol)
        return runs


def add(
    study: str, run: Run, folder: Path | None = None, protocol: Mapping[str, Any] | None = None
) -> list[Run]:
    """Add a run to the record, in place of one of the same arm and seed; return all runs.

    The file is read again for it, so that runs which another process has added stay.
    """
    folder = folder or results_dir()
    with _lock(study, folder):
        known = _existing(study, folder)
        runs = [r for r in known if (r.arm, r.seed) != (run.arm, run.seed)] + [run]
        save(study, runs, folder, protocol)
    return runs


def _existing(study: str, folder: Path) -> list[Run]:
    return load(study, folder) if (folder / f"{study}.json").is_file() else []


def _lock(study: str, folder: Path) -> FileLock:
    return FileLock(folder / f".{study}.lock")


def same_config(recorded: Mapping[str, Any], asked: Any) -> bool:
    """Tell whether a recorded configuration is the one asked for, a dataclass.

    A setting that the record does not have came later: it counts as the default, which does
    what was done before there was a choice.
    """
    defaults = {f.name: f.default for f in fields(asked) if f.default is not MISSING}
    return dict(_plain(defaults)) | dict(recorded) == dict(_plain(asdict(asked)))


def summarize(runs: list[Run], arm: str, key: str) -> Summary:
    """Return mean and standard deviation of ``final[key]`` over the runs of an arm.

    Raises
    ------
    RecordError
        If there is no such arm or figure, or some run of the arm does not have it.
    """
    chosen = tuple(run for run in runs if run.arm == arm)
    if not chosen:
        raise RecordError(f"no run of arm {arm!r}; known: {sorted({run.arm for run in runs})}")
    values = tuple(run.final.get(key) for run in chosen)
    present = tuple(value for value in values if value is not None)
    if len(present) < len(values):
        raise RecordError(
            f"{key!r} is missing in {len(values) - len(present)} of {len(values)} runs of arm "
            f"{arm!r}; known: {sorted(chosen[0].final)}"
        )
    return Summary.of(present, chosen)


def paired(
    one: Summary, two: Summary, combine: Callable[[float, float], float] = operator.sub
) -> Summary:
    """Combine two arms seed by seed; by default, subtract the second from the first.

    What a seed does to both arms drops out of the difference, so that its interval says more
    than the two standard deviations.

    Raises
    ------
    RecordError
        If the arms have different seeds.
    """
    first = {run.seed: value for run, value in zip(one.runs, one.values, strict=True)}
    second = {run.seed: value for run, value in zip(two.runs, two.values, strict=True)}
    if first.keys() != second.keys():
        raise RecordError(f"the arms have different seeds: {sorted(first)} and {sorted(second)}")
    values = tuple(combine(first[seed], second[seed]) for seed in sorted(first))
    return Summary.of(values, one.runs + two.runs)


def best_config(runs: list[Run], prefix: str, key: str, *, lowest: bool = False) -> dict[str, Any]:
    """Return the settings of the arm with the highest mean ``final[key]``, or the lowest.

    Parameters
    ----------
    runs : list of Run
        A sweep.
    prefix : str
        Only arms whose names begin so are looked at.
    key : str
        A run that has no such figure, because it diverged or never got there, counts as the
        worst: 0, or infinity where the lowest is looked for.
    lowest : bool
        Such as for a number of steps.

    Raises
    ------
    RecordError
        If no arm begins so.
    """
    values: dict[str, list[float]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.arm.startswith(prefix):
            value = run.final.get(key)
            none = math.inf if lowest else 0.0
            values.setdefault(run.arm, []).append(none if value is None else value)
            configs[run.arm] = run.config
    if not values:
        raise RecordError(f"no run of an arm {prefix!r}..; known: {sorted({r.arm for r in runs})}")
    best = min if lowest else max
    return configs[best(values, key=lambda arm: float(np.mean(values[arm])))]


def best_rates(experiment: str, arms: Collection[str], kinds: Iterable[str]) -> dict[str, float]:
    """Return, for each kind of network, the rate with the highest accuracy on held-out images.

    Parameters
    ----------
    experiment : str
    arms : collection of str
        All arms of its sweep, named by the kind, a hyphen, and more.
    kinds : iterable of str

    Raises
    ------
    RecordError
        As :func:`load_sweep` and :func:`best_config`.
    """
    sweep = load_sweep(experiment, arms)
    return {kind: best_config(sweep, f"{kind}-", "held_out_accuracy")["lr"] for kind in kinds}


def provenance() -> dict[str, str]:
    """Return where and with what a run was made: device, versions, commit, date."""
    return {
        "device": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def cpu_name() -> str:
    """Return the name of the processor and how many cores there are."""
    name = platform.processor() or platform.machine()
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M
        )
        name = found[1] if found else name
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} cores"


def _commit() -> str:
    """Return the commit of the package's code, with -dirty where it was changed since."""
    if not (ROOT / "pyproject.toml").is_file():  # installed: git would find a stranger's commit
        return f"version {__version__}"
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("-dirty" if _git("status", "--porcelain", "--", "bn") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays into what JSON knows; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
