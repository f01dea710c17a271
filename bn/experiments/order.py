"""Section 3.2 of the paper: before the nonlinearity or after it, and dropout beside it.

Three hidden layers on binary MNIST, as in section 4.1. A hidden layer does, in this order,

    Wu (+ b) → BN? → dropout? → g → BN? → dropout?

with batch normalization in one of its two places or in neither, and dropout likewise. The bias b
is left out where batch normalization follows Wu at once, before g. The paper puts batch
normalization before g, gives a reason and no measurement, and says nothing of dropout's place.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from bn.data import ImageDataset, mnist
from bn.experiments import mnist as paper
from bn.experiments.mnist import loss_of
from bn.experiments.normalize import Normalize, ScaleShift
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_rates
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, of_length
from bn.layers import Linear, ReLU, Sequential, Sigmoid
from bn.layers.dense import Array, Layer, Parameterless

Nonlinearity = Literal["relu", "sigmoid", "tanh"]
#: Where something stands in a hidden layer: nowhere, before the nonlinearity, after it.
Place = Literal["none", "before", "after"]
PLACES: tuple[Place, ...] = get_args(Place)
#: Standard deviation of the initial weights of a hidden layer, times the root of its inputs:
#: what keeps the size of the signal, roughly, without batch normalization.
GAINS: dict[str, float] = {"relu": math.sqrt(2), "sigmoid": 4.0, "tanh": 1.0}
#: Training images that the training loss is taken on.
LOOKED_AT = 10_000


class Tanh(Parameterless):
    """``y = tanh(x)``, element by element."""

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x."""
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        dx: Array = dy * (1 - self.y**2)
        return dx


class Dropout(Parameterless):
    """Set each value to 0 with probability `p` in training, and divide the others by 1 - p.

    Parameters
    ----------
    p : float
        From 0 to below 1.
    rng : numpy.random.Generator
        Draws one number for each value of each training batch.
    """

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p is {p}, expected 0 or more and less than 1")
        self.p, self.rng = p, rng

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x; in inference mode x itself."""
        self.factor: Array | None = None
        if not self.training:
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        self.factor = kept.astype(x.dtype) / x.dtype.type(1 - self.p)
        y: Array = x * self.factor
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        return dy if self.factor is None else dy * self.factor


@dataclass(frozen=True)
class Config(paper.Config):
    """Settings of one run: those of the training, and the following.

    Attributes
    ----------
    batch_norm : bool
        Equal to ``norm != "none"``.
    nonlinearity : {"relu", "sigmoid", "tanh"}
        Of the hidden layers; it also decides the initial weights, see :data:`GAINS`.
    norm, dropout : {"none", "before", "after"}
        Where the two stand. Where both are on the same side, dropout comes second.
    p : float
        Share of values that dropout sets to 0.
    """

    batch_norm: bool = True
    steps: int = 1000
    nonlinearity: Nonlinearity = "relu"
    norm: Place = "before"
    dropout: Place = "none"
    p: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        super().__post_init__()
        if self.nonlinearity not in GAINS or {self.norm, self.dropout} - set(PLACES):
            raise ValueError(f"unknown nonlinearity or place: {self}")
        if self.batch_norm != (self.norm != "none"):
            raise ValueError(f"batch_norm is {self.batch_norm} and norm {self.norm!r}")

    def fetch(self) -> ImageDataset:
        """Return the binary MNIST."""
        return images(binarize=True)

    def begin(self, seed: int, data: ImageDataset) -> "OrderTrial":
        """Return the run, with its network as it starts."""
        return OrderTrial(self, seed, data)


@functools.cache
def images(*, binarize: bool) -> ImageDataset:
    """Return MNIST, which is read once for all runs of a process: they are that short."""
    return mnist(binarize=binarize, progress=False)


def batch_norm(features: int, eps: float) -> list[Layer]:
    """Return batch normalization as two layers: in runs this short they take a third of the time.

    Their statistics at inference are those of :class:`ShortTrial`.
    """
    return [Normalize(scale=True, through=True, eps=eps), ScaleShift(features)]


def build(config: Config, rng: np.random.Generator, seed: int = 0) -> Sequential:
    """Build the network.

    Equal generators give every kind the same weights, and equal seeds the same dropout.
    """
    kinds: dict[str, Callable[[], Layer]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}
    layers: list[Layer] = []
    inputs = 784
    for number in range(3):
        std = GAINS[config.nonlinearity] / math.sqrt(inputs)
        bias = config.norm != "before"
        layers.append(Linear(inputs, config.hidden, std=std, rng=rng, bias=bias))
        for place in ("before", "after"):
            if place == "after":
                layers.append(kinds[config.nonlinearity]())
            if config.norm == place:
                layers += batch_norm(config.hidden, config.eps)
            if config.dropout == place:
                layers.append(Dropout(config.p, np.random.default_rng([seed, 2, number])))
        inputs = config.hidden
    layers.append(Linear(inputs, 10, std=1 / math.sqrt(inputs), rng=rng))
    return Sequential(layers)


class ShortTrial(paper.MnistTrial):
    """A run on MNIST that is evaluated once, at its end.

    The statistics of batch normalization are then those of the first :data:`LOOKED_AT` images
    trained on, in training mode. `training_loss` is that of the same images, and like the
    accuracy in inference mode, without dropout; `loss`, the mean of the last steps, is not.
    """

    def __init__(self, config: paper.Config, seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.evaluate_at = sorted({min(100, self.steps), self.steps})

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return two losses, and the figures after training; None if the run diverged."""
        losses = history.column("loss")
        measured = "held_out_accuracy" if self.config.held_out else "test_accuracy"
        final: Final = {measured: None, "training_loss": None}
        if not history.diverged:
            network = self.learner.network
            some, labels = self.train_x[:LOOKED_AT], self.train_labels[:LOOKED_AT]
            network.train(True)
            network.forward(some.astype(np.float32))
            final["training_loss"] = loss_of(network, some, labels)  # in inference mode
            final[measured] = self.accuracy()
        final |= {"steps_done": history.steps, "diverged": float(history.diverged)}
        final["loss"] = None if history.diverged else losses[-1]
        return {"step": history.column("step"), "loss": losses}, final


# paper: s32-before-nonlinearity
class OrderTrial(ShortTrial):
    """One run."""

    config: Config

    def __init__(self, config: Config, seed: int, data: ImageDataset) -> None:
        self.seed = seed
        super().__init__(config, seed, data)

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network."""
        return build(self.config, rng, self.seed)


#: Of the studies of one nonlinearity, which cross these with all places.
RATES = (0.1, 0.3, 1.0)
#: Of the sweep.
SWEEP_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SWEEP_SEED = 100
HELD_OUT = 10_000
STUDIES = ("order-relu", "order-sigmoid", "order-tanh", "order-sweep", "order-best")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    `relu`, `sigmoid`, `tanh`: every place of batch normalization and of dropout, at three rates;
    ``before-after-lr0.1`` has batch normalization before the nonlinearity and dropout after it.
    `sweep`: without dropout, more rates, with images held out; `best`: each of these nine
    networks at its best rate of the sweep.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``order-best``, if the sweep that decides it has not been run to its end.
    """
    nine = {
        f"{nonlinearity}-{norm}": Config(
            nonlinearity=nonlinearity, norm=norm, batch_norm=norm != "none"
        )
        for nonlinearity in get_args(Nonlinearity)
        for norm in PLACES
    }
    if study == "order-sweep":
        chosen = {
            f"{arm}-lr{lr:g}": replace(config, lr=lr, held_out=HELD_OUT)
            for arm, config in nine.items()
            for lr in SWEEP_RATES
        }
    elif study == "order-best":
        best = best_rates("order", arms("order-sweep"), nine)
        chosen = {arm: replace(config, lr=best[arm]) for arm, config in nine.items()}
    elif study in STUDIES:
        kinds = {arm: config for arm, config in nine.items() if arm.split("-")[0] in study}
        chosen = {
            f"{config.norm}-{dropout}-lr{lr:g}": replace(config, dropout=dropout, lr=lr)
            for config in kinds.values()
            for dropout in PLACES
            for lr in RATES
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "order-sweep":
        return Protocol(
            "learning rates, for each place of batch normalization and each nonlinearity",
            first_seed=SWEEP_SEED,
        )
    if study == "order-best":
        return Protocol(
            "batch normalization before the nonlinearity, after it and nowhere, for three "
            "nonlinearities, each network at its own learning rate",
            settings="chosen",
            chosen_by="held_out_accuracy",
            sweep="order-sweep",
        )
    return Protocol(
        "places of batch normalization and of dropout in a hidden layer, at the same settings "
        "and each of three learning rates",
        settings="same",
    )
