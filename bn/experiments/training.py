"""The training loop: of every network of the book, in NumPy and in PyTorch.

What is trained is a :class:`Learner`: a network with its optimizer and its mini-batches, see
:mod:`bn.experiments.numpy_training` and :mod:`bn.experiments.torch_training`. What is measured,
and when, is the caller's.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from tqdm import tqdm

#: Called with the step and the mean loss since the last call; the network is in inference mode.
#: Returns what it measured, by name.
Evaluate = Callable[[int, float], Mapping[str, Any] | None]


class DivergedError(ArithmeticError):
    """The loss of a step is no finite number; the parameters are those before it."""


class Learner(ABC):
    """A network, its optimizer, and the mini-batches that it is trained on.

    Attributes
    ----------
    network
        A :class:`bn.layers.Sequential` or a ``torch.nn.Module``: it has ``train(mode)``.
    device_type : str
        Kind of device, of which a checkpoint says that it belongs to it.
    """

    network: Any
    device_type = "cpu"

    @abstractmethod
    def batches(self, done: int, steps: int) -> Iterator[Any]:
        """Return the mini-batches of the steps from `done` + 1 to `steps`."""

    @abstractmethod
    def step(self, batch: Any) -> SupportsFloat:
        """Do one step of the optimizer on a mini-batch and return its loss.

        A loss on a GPU may be returned as it is, a tensor: it is read when the network is
        evaluated, as each reading waits for the GPU.

        Raises
        ------
        DivergedError
            If the loss has been read and is not finite.
        """

    def while_training(self) -> AbstractContextManager[Any]:
        """Return a context for all of the training."""
        return nullcontext()

    def while_measuring(self) -> AbstractContextManager[Any]:
        """Return a context for an evaluation."""
        return nullcontext()

    def state(self) -> dict[str, Any]:
        """Return what an interrupted training needs to go on, for ``torch.save``.

        Raises
        ------
        TypeError
            If this kind of learner cannot be resumed.
        """
        raise TypeError(f"a {type(self).__name__} cannot be resumed: train it without keep")

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that :meth:`state` returned."""
        raise TypeError(f"a {type(self).__name__} cannot be resumed: train it without keep")

    def where(self) -> dict[str, str]:
        """Return what the record says of device and versions beside its usual provenance."""
        return {}


@dataclass
class History:
    """What a training has done so far.

    Attributes
    ----------
    rows : list of dict
        One per evaluation: `step`, `loss` (the mean since the evaluation before) and what was
        measured.
    steps : int
        Done with a finite loss, as far as it was read.
    diverged : bool
        The loss stopped being finite, and the training with it.
    train_seconds, seconds : float
        Spent on steps, and on steps and evaluations; over all sessions of a training that was
        interrupted.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    diverged: bool = False
    train_seconds: float = 0.0
    seconds: float = 0.0

    def column(self, name: str) -> list[Any]:
        """Return one figure over all evaluations; NaN where an evaluation does not have it."""
        return [row.get(name, math.nan) for row in self.rows]


def train(
    learner: Learner,
    *,
    steps: int,
    evaluate: Evaluate | None = None,
    evaluate_at: Iterable[int] = (),
    keep: Path | None = None,
    run: Mapping[str, Any] | None = None,
    progress: str | None = None,
) -> History:
    """Train, going on from the checkpoint if there is one.

    An interrupted training ends as it would have without the interruption: to the last bit on
    one CPU with one number of threads, to rounding where the device adds in no fixed order, as
    GPUs do.

    Parameters
    ----------
    learner : Learner
        Its network is changed in place, and is left in inference mode.
    steps : int
        Length of the training in mini-batches.
    evaluate, evaluate_at
        A function, and the numbers of steps after which to call it (0 = before the first).
    keep : Path, optional
        The checkpoint, written after each evaluation. Without it training cannot be resumed.
    run : dict, optional
        What the checkpoint must belong to; see :func:`bn.experiments.checkpoint.path_for`.
    progress : str, optional
        Label of a progress bar; none is shown without it.

    Returns
    -------
    History
    """
    history, due = _resumed(learner, keep, run), frozenset(evaluate_at)
    losses: list[SupportsFloat] = []  # since the last evaluation
    earlier, trained_before = history.seconds, history.train_seconds
    measuring = 0.0

    def stop_clock() -> None:
        history.seconds = earlier + time.perf_counter() - begun
        history.train_seconds = trained_before + history.seconds - earlier - measuring

    def look() -> None:
        nonlocal measuring
        loss = float(np.mean([float(each) for each in losses])) if losses else math.nan
        started = time.perf_counter()
        history.diverged = bool(losses) and not math.isfinite(loss)  # a loss read only now
        row: dict[str, Any] = {"step": history.steps, "loss": loss}
        if evaluate is not None and not history.diverged:
            learner.network.train(False)
            with learner.while_measuring():
                row |= evaluate(history.steps, loss) or {}
            learner.network.train(True)
        history.rows.append(row)
        losses.clear()
        measuring += time.perf_counter() - started
        stop_clock()
        shown = {name: f"{value:.3f}" for name, value in row.items() if name.endswith("accuracy")}
        bar.set_postfix(shown, refresh=False)
        if keep is not None:
            from bn.experiments import checkpoint  # imported here: it needs PyTorch

            checkpoint.save(keep, run or {}, learner.state() | {"history": vars(history)})

    learner.network.train(True)
    with learner.while_training(), tqdm(
        total=steps, initial=history.steps, desc=progress, disable=progress is None,
        unit=" steps", mininterval=0.5,
    ) as bar:  # fmt: skip
        begun = time.perf_counter()
        if 0 in due and not history.rows:
            look()
        batches = learner.batches(history.steps, steps)
        while history.steps < steps and not history.diverged:
            try:
                losses.append(learner.step(next(batches)))
            except DivergedError:
                history.diverged = True
                break
            history.steps += 1
            bar.update()
            if history.steps in due:
                look()
        stop_clock()
    learner.network.train(False)
    return history


def _resumed(learner: Learner, keep: Path | None, run: Mapping[str, Any] | None) -> History:
    """Return the history in the checkpoint, and put the learner into its state; or a new one."""
    if keep is None:
        return History()
    from bn.experiments import checkpoint

    state = checkpoint.load(keep, run or {})
    if state is None:
        return History()
    learner.load_state(state)
    return History(**state["history"])
