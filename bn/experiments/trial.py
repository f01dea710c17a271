"""How a run is described, and made into a record.

An experiment is a module with settings, a frozen dataclass of the base :class:`Settings`, and
measurements, a :class:`Trial`. Its function ``arms(study, length)`` names the settings of each
side of a comparison, and ``protocol(study)`` says what is compared. Training, recording and
going on after an interruption are here, once for all of them.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from bn.data import ImageDataset
from bn.experiments.record import Run, provenance
from bn.experiments.training import History, Learner, train

#: Columns of equal length, one entry per evaluation.
Curve = dict[str, list[float | None]]
#: The figures that the book quotes, by name; None where there is none.
Final = dict[str, float | None]


class Trial(ABC):
    """One run: what is trained, when it is evaluated, and what is measured.

    Attributes
    ----------
    learner : Learner
    steps : int
        Length of the training in mini-batches.
    evaluate_at : collection of int
        Numbers of steps after which :meth:`evaluate` is called.
    resumable : bool
        Whether a checkpoint is kept after each evaluation.
    """

    learner: Learner
    steps: int
    evaluate_at: Collection[int] = ()
    resumable = False

    def evaluate(self, step: int, loss: float) -> dict[str, Any]:
        """Return what is measured after a step, by name; the network is in inference mode."""
        return {}

    @abstractmethod
    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve and the final figures of the record."""


class Settings(ABC):
    """Base of the settings of a run, which are frozen dataclasses."""

    @abstractmethod
    def fetch(self) -> ImageDataset:
        """Return the data that it is trained on."""

    @abstractmethod
    def begin(self, seed: int, data: ImageDataset) -> Trial:
        """Return the run that is to be made, with its network as it starts."""


def of_length(arms: Mapping[str, Any], **length: float | None) -> dict[str, Any]:
    """Return arms with another length of training, such as ``steps=100``; None leaves theirs."""
    given = {name: value for name, value in length.items() if value is not None}
    return {arm: replace(config, **given) for arm, config in arms.items()}


def run(
    config: Any,
    seed: int,
    data: ImageDataset | None = None,
    *,
    resume: bool = True,
    progress: str | None = None,
) -> Run:
    """Make one run of an experiment and return its record.

    Interrupt it at any time. If its trial is resumable it goes on, called again with the same
    settings, seed and kind of device, from its last evaluation.

    Parameters
    ----------
    config : Settings
        A dataclass: all that the result depends on.
    seed : int
        Of the initial weights, and of the order of the images.
    data : ImageDataset, optional
        Default: what the settings fetch.
    resume : bool
        Keep a checkpoint while training, where the trial is resumable, and go on from the one
        there is. It is removed when the run is done.
    progress : str, optional
        Label of a progress bar; none is shown without it.

    Returns
    -------
    Run
        Its arm is ``?``: a study gives it its name.
    """
    begun = time.perf_counter()
    trial = config.begin(seed, config.fetch() if data is None else data)
    set_up = time.perf_counter() - begun
    learner = trial.learner
    identity = {"config": asdict(config), "seed": seed, "device": learner.device_type}
    keep = None
    if resume and trial.resumable:
        from bn.experiments import checkpoint  # imported here: it needs PyTorch

        keep = checkpoint.path_for(identity)
    history = train(
        learner, steps=trial.steps, evaluate=trial.evaluate, evaluate_at=trial.evaluate_at,
        keep=keep, run=identity, progress=progress,
    )  # fmt: skip
    ended = time.perf_counter()
    curve, final = trial.finish(history)
    seconds = set_up + history.seconds + time.perf_counter() - ended
    if keep is not None:
        keep.unlink(missing_ok=True)
    return Run("?", seed, asdict(config), curve, final, seconds, provenance() | learner.where())


def trained(config: Any, seed: int, data: ImageDataset, *, progress: str | None = None) -> Any:
    """Train the network of a run without measuring anything, and return it."""
    trial = config.begin(seed, data)
    train(trial.learner, steps=trial.steps, progress=progress)
    return trial.learner.network


def run_task(config: Any, seed: int, label: str | None) -> Run:
    """Fetch the data and make one run: what a study does for each of its runs."""
    return run(config, seed, progress=label)
