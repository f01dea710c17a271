"""Training a network of PyTorch: SGD with momentum, one cycle of the learning rate."""

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bn.experiments.device import autocast, describe, faster_precision
from bn.experiments.images import Batch, Images
from bn.experiments.training import Learner


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


class TorchLearner(Learner):
    """A ``torch.nn.Module`` trained by a :class:`Recipe`; it can be resumed.

    The random numbers of an epoch depend on the seed and the epoch only, and those of a step,
    which torch draws for dropout, on the seed and the step.

    Parameters
    ----------
    network : torch.nn.Module
        On the device of the images.
    images : Images
        To train on.
    recipe : Recipe
    seed : int
        Orders, flips and shifts the images.
    precision : {"float32", "bfloat16"}, optional
        Of the forward pass. Default: the faster one, which three steps each decide.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        recipe: Recipe,
        *,
        seed: int,
        precision: str | None = None,
    ) -> None:
        self.network: nn.Module = network
        self.images, self.recipe, self.seed = images, recipe, seed
        self.device = images.labels.device
        self.device_type = self.device.type
        self.precision = precision
        epochs, self.per_epoch = recipe.passes(len(images))
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.lr,
            total_steps=epochs * self.per_epoch,
            pct_start=recipe.warm_up,
            anneal_strategy="linear",
            cycle_momentum=False,
        )

    def batches(self, done: int, steps: int) -> Iterator[Batch]:
        """Yield the mini-batches, epoch by epoch."""
        first, begun = divmod(done, self.per_epoch)
        for epoch in itertools.count(first):
            rng = np.random.default_rng([self.seed, 1, epoch])
            skipped = begun if epoch == first else 0
            batches = self.images.shuffled(self.recipe.batch_size, rng)
            for step, batch in enumerate(islice(batches, skipped, self.per_epoch), start=skipped):
                # of dropout: it, too, is that of an uninterrupted training
                torch.manual_seed(1_000_003 * self.seed + epoch * self.per_epoch + step)
                yield batch

    def step(self, batch: Batch) -> torch.Tensor:
        """Do one step and return its loss, which has not been read."""
        x, labels = batch
        self.optimizer.zero_grad()
        with self.while_measuring():
            smoothing = self.recipe.label_smoothing
            loss = cross_entropy(self.network(x), labels, label_smoothing=smoothing)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def while_training(self) -> AbstractContextManager[Any]:
        """Decide the precision, if none was given."""
        if self.precision is None:
            rng = np.random.default_rng(self.seed)
            batch = next(self.images.shuffled(self.recipe.batch_size, rng))
            self.precision = faster_precision(self.network, *batch)[0]
        return super().while_training()

    def while_measuring(self) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass has its precision."""
        assert self.precision is not None  # decided when the training begins
        return autocast(self.device, self.precision)

    def state(self) -> dict[str, Any]:
        """Return network, optimizer, schedule and precision."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"precision": self.precision}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that :meth:`state` returned."""
        self.precision = state["precision"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}

    def where(self) -> dict[str, str]:
        """Return the device, torch's version, its threads, and the precision."""
        return {
            "device": describe(self.device),
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "precision": str(self.precision),
        }
