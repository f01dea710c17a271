"""Section 3.2 and the inputs: whether batch normalization replaces normalizing the data.

A network of three hidden layers of ReLUs on MNIST's grey values, with and without batch
normalization in its hidden layers, and with five things done to its inputs. The paper does not
treat the inputs; all settings here are our choice.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from bn.data import ImageDataset
from bn.experiments import mnist as paper
from bn.experiments.order import ShortTrial, batch_norm, images
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_rates
from bn.experiments.trial import of_length
from bn.layers import Linear, ReLU, Sequential
from bn.layers.dense import Array, Layer, Parameterless

Inputs = Literal["raw", "standard", "units", "map", "pixel"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
#: Mean and standard deviation of all pixels of the training images.
MEAN, STD = 33.3, 78.6
PIXELS = 784


class Fixed(Parameterless):
    """``y = (x - offset) * factor``, with numbers that are given once, or one for each feature."""

    def __init__(self, offset: float, factor: Array | float) -> None:
        self.offset, self.factor = np.float32(offset), np.asarray(factor, np.float32)

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x."""
        y: Array = (x - self.offset) * self.factor
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        dx: Array = dy * self.factor
        return dx


class Rows(Parameterless):
    """Arrange the values in rows of `features`: with 1, every pixel of a batch is an example."""

    def __init__(self, features: int) -> None:
        self.features = features

    def forward(self, x: Array) -> Array:
        """Return y, shape (x.size / features, features)."""
        self.shape = x.shape
        y: Array = x.reshape(-1, self.features)
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        dx: Array = dy.reshape(self.shape)
        return dx


@dataclass(frozen=True)
class Config(paper.Config):
    """Settings of one run: those of the training, and the following.

    Attributes
    ----------
    batch_norm : bool
        Before the nonlinearity of each hidden layer.
    inputs : {"raw", "standard", "units", "map", "pixel"}
        ``raw``: grey values from 0 to 255. ``standard``: minus their mean, divided by their
        standard deviation, two numbers for all pixels. ``units``: ``standard``, then each pixel
        times a fixed number of its own between 1/32 and 32, as if measured in another unit.
        ``map`` and ``pixel``: raw into a batch normalization with one mean and one variance for
        the whole image, or one for each pixel.
    """

    batch_norm: bool = True
    steps: int = 1000
    inputs: Inputs = "standard"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        super().__post_init__()
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs is {self.inputs!r}, expected one of {', '.join(INPUTS)}")

    def fetch(self) -> ImageDataset:
        """Return MNIST with its grey values."""
        return images(binarize=False)

    def begin(self, seed: int, data: ImageDataset) -> "PixelsTrial":
        """Return the run, with its network as it starts."""
        return PixelsTrial(self, seed, data)


def other_units() -> Array:
    """Return a factor for each pixel, the same in every run: its logarithm is uniform."""
    exponents = np.random.default_rng(2).uniform(-5, 5, PIXELS)
    factors: Array = (2.0**exponents).astype(np.float32)
    return factors


def first_layers(inputs: Inputs, eps: float) -> list[Layer]:
    """Return what is done to the inputs, in front of the first weights."""
    if inputs == "standard":
        return [Fixed(MEAN, 1 / STD)]
    if inputs == "units":
        return [Fixed(MEAN, other_units() / STD)]
    if inputs == "map":
        return [Rows(1), *batch_norm(1, eps), Rows(PIXELS)]
    return batch_norm(PIXELS, eps) if inputs == "pixel" else []


class PixelsTrial(ShortTrial):
    """One run."""

    config: Config

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network."""
        return build(self.config, rng)


def build(config: Config, rng: np.random.Generator) -> Sequential:
    """Build the network; equal generators give every kind the same weights."""
    layers, inputs = first_layers(config.inputs, config.eps), PIXELS
    for _ in range(3):
        std, bias = math.sqrt(2 / inputs), not config.batch_norm
        layers.append(Linear(inputs, config.hidden, std=std, rng=rng, bias=bias))
        if config.batch_norm:
            layers += batch_norm(config.hidden, config.eps)
        layers.append(ReLU())
        inputs = config.hidden
    layers.append(Linear(inputs, 10, std=1 / math.sqrt(inputs), rng=rng))
    return Sequential(layers)


#: Of the sweep; raw values need rates that are lower by orders of magnitude.
RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SWEEP_SEED = 100
HELD_OUT = 10_000
STUDIES = ("pixels-sweep", "pixels-best")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name: ``raw-plain``, ``raw-bn`` and so on.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``pixels-best``, if the sweep that decides it has not been run to its end.
    """
    kinds = {
        f"{inputs}-{name}": Config(inputs=inputs, batch_norm=name == "bn")
        for inputs in INPUTS
        for name in ("plain", "bn")
    }
    if study == "pixels-sweep":
        chosen = {
            f"{arm}-lr{lr:g}": replace(config, lr=lr, held_out=HELD_OUT)
            for arm, config in kinds.items()
            for lr in (RATES if arm in ("raw-plain", "units-plain") else RATES[4:])
        }
    elif study == "pixels-best":
        best = best_rates("pixels", arms("pixels-sweep"), kinds)
        chosen = {arm: replace(config, lr=best[arm]) for arm, config in kinds.items()}
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "pixels-sweep":
        return Protocol("learning rates, for each treatment of the inputs", first_seed=SWEEP_SEED)
    return Protocol(
        "treatments of the inputs, with and without batch normalization in the hidden layers, "
        "each network at its own learning rate",
        settings="chosen",
        chosen_by="held_out_accuracy",
        sweep="pixels-sweep",
    )
