"""The training loop of the PyTorch networks: SGD with momentum, one cycle of the learning rate."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from bn.experiments import checkpoint
from bn.experiments.device import autocast, faster_precision
from bn.experiments.images import Images


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs : int or float
        Passes over the training images. A number below 1 is a part of one pass, to try things.
    batch_size : int
        Images in a mini-batch.
    lr : float
        Highest learning rate. It rises linearly over the first `warm_up` of all steps, from a
        25th, and falls linearly to about zero over the others.
    warm_up : float
        Between 0 and 1.
    momentum, weight_decay, label_smoothing : float
        Nesterov momentum; the decay acts on all parameters.
    """

    lr: float
    epochs: float = 10
    batch_size: int = 128
    warm_up: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        whole = self.epochs >= 1 and float(self.epochs).is_integer()
        if not whole and not 0 < self.epochs < 1:
            raise ValueError(
                "epochs must be at least 1 and whole, or a part of one epoch between 0 and 1, "
                f"and is {self.epochs}"
            )
        if self.batch_size < 2 or not self.lr > 0 or not 0 < self.warm_up < 1:
            raise ValueError(
                f"batch_size must be at least 2, lr positive, warm_up between 0 and 1: {self}"
            )

    def passes(self, count: int) -> tuple[int, int]:
        """Return how many passes over `count` images there are, and the steps of each."""
        steps = count // self.batch_size
        if self.epochs < 1:
            return 1, math.ceil(steps * self.epochs)
        return int(self.epochs), steps


@dataclass
class History:
    """What a training run has done so far.

    Attributes
    ----------
    precision : {"float32", "bfloat16"}
        Of the forward pass.
    loss, accuracy : list of float
        After each epoch: mean training loss in it, accuracy of the network on other images.
    train_seconds, seconds : float
        Spent on training steps, and on all; over all sessions of a run that was interrupted.
    diverged : bool
        The loss stopped being finite, and the run with it.
    """

    precision: str
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    train_seconds: float = 0.0
    seconds: float = 0.0
    diverged: bool = False


def train(
    network: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    precision: str | None = None,
    evaluate: Callable[[nn.Module], float],
    keep: Path | None = None,
    run: dict[str, Any] | None = None,
    progress: str | None = None,
) -> History:
    """Train a network, going on from its checkpoint if there is one.

    The random numbers of an epoch depend on the seed and the epoch only, so that an interrupted
    run ends as it would have without the interruption: to the last bit on one CPU with one
    number of threads; to rounding where the device adds in no fixed order, as GPUs do.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; on the device of the images.
    images : Images
        To train on.
    recipe : Recipe
    seed : int
        Orders, flips and shifts the images.
    precision : {"float32", "bfloat16"}, optional
        Of the forward pass. Default: the faster one, which three steps each decide.
    evaluate : function
        Called after each epoch with the network in inference mode; returns an accuracy.
    keep : Path, optional
        The checkpoint, written after each epoch. Without it the run cannot be resumed.
    run : dict, optional
        What the checkpoint must belong to; see :func:`bn.experiments.checkpoint.path_for`.
    progress : str, optional
        Label of a progress bar over all epochs; none is shown without it.

    Returns
    -------
    History
    """
    epochs, per_epoch = recipe.passes(len(images))
    device = images.labels.device
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=recipe.lr,
        total_steps=epochs * per_epoch,
        pct_start=recipe.warm_up,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    state = checkpoint.load(keep, run or {}, device) if keep else None
    if state:
        history = History(**state["history"])
        for name, part in parts.items():
            part.load_state_dict(state[name])
    else:
        batch = next(images.shuffled(recipe.batch_size, np.random.default_rng(seed)))
        history = History(precision or faster_precision(network, *batch)[0])
    earlier, begun = history.seconds, time.perf_counter()
    with tqdm(
        total=epochs * per_epoch, initial=len(history.loss) * per_epoch, desc=progress,
        disable=progress is None, unit=" steps", mininterval=0.5,
    ) as bar:  # fmt: skip
        for epoch in range(len(history.loss), epochs):
            if history.diverged:
                break
            started = time.perf_counter()
            network.train()
            total = torch.zeros((), device=device)
            rng = np.random.default_rng([seed, 1, epoch])
            for x, labels in islice(images.shuffled(recipe.batch_size, rng), per_epoch):
                optimizer.zero_grad()
                with autocast(device, history.precision):
                    loss = cross_entropy(network(x), labels, label_smoothing=recipe.label_smoothing)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.detach()  # read once an epoch: each reading waits for the GPU
                bar.update()
            history.loss.append(float(total) / per_epoch)
            history.diverged = not math.isfinite(history.loss[-1])
            history.train_seconds += time.perf_counter() - started
            network.eval()
            with autocast(device, history.precision):
                history.accuracy.append(math.nan if history.diverged else evaluate(network))
            history.seconds = earlier + time.perf_counter() - begun
            bar.set_postfix(accuracy=f"{history.accuracy[-1]:.3f}")
            if keep is not None:
                state = {name: part.state_dict() for name, part in parts.items()}
                checkpoint.save(keep, run or {}, state | {"history": vars(history)})
    network.eval()
    return history
