"""Section 2 of the paper: what happens when the gradient ignores the normalization.

The network of section 4.1 on binary MNIST, with nothing between a layer and its nonlinearity,
with the mini-batch's mean subtracted, or with the values standardized; and each of the two
with a backward pass that takes the statistics for constants, or one of them, and with the right
one. The paper
reports the failure from initial experiments and describes none of them, so all settings here
are our choice.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from bn.data import ImageDataset, mnist
from bn.experiments.mnist import accuracy_of, split
from bn.experiments.normalize import THROUGH, Normalize, ScaleShift, Through
from bn.experiments.numpy_training import NumpyLearner
from bn.experiments.protocol import Protocol
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, Settings, Trial, of_length
from bn.layers import Linear, ReLU, Sequential, Sigmoid
from bn.layers.dense import Layer

Nonlinearity = Literal["sigmoid", "relu"]
Kind = Literal["nothing", "centre", "scale"]
#: Training images whose statistics are used for the test accuracy.
POPULATION = 10_000


@dataclass(frozen=True)
class Config(Settings):
    """Settings of one run.

    Attributes
    ----------
    nonlinearity : {"sigmoid", "relu"}
        After each hidden layer.
    kind : {"nothing", "centre", "scale"}
        What is done to its input: nothing, x - mean, or (x - mean) / standard deviation.
    through : bool, "mean" or "variance"
        Whether the gradient goes through the statistics, or through one of the two only.
    affine : bool
        Whether a learned scale and shift follow.
    bias : bool
        Whether the hidden layers have biases that learn; without, they are 0 for ever.
    lr : float
        Learning rate of plain SGD, constant.
    std : float
        Standard deviation of the Gaussian initial weights.
    steps, batch_size, hidden : int
        Mini-batches, examples in each, units in each of the three hidden layers.
    eps : float
        Added to the variance.
    """

    nonlinearity: Nonlinearity = "sigmoid"
    kind: Kind = "nothing"
    through: Through = False
    affine: bool = False
    bias: bool = True
    lr: float = 0.1
    std: float = 0.1
    steps: int = 5000
    batch_size: int = 60
    hidden: int = 100
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        if self.nonlinearity not in get_args(Nonlinearity) or self.kind not in get_args(Kind):
            raise ValueError(f"unknown nonlinearity or kind: {self}")
        if self.through not in THROUGH:
            raise ValueError(f"through is {self.through!r}, expected one of {THROUGH}")
        if min(self.steps, self.hidden) < 1 or self.batch_size < 2:
            raise ValueError(f"steps and hidden must be at least 1, batch_size at least 2: {self}")

    def fetch(self) -> ImageDataset:
        """Return the binary MNIST."""
        return mnist(binarize=True, progress=False)

    def begin(self, seed: int, data: ImageDataset) -> "OutsideTrial":
        """Return the run, with its network as it starts."""
        return OutsideTrial(self, seed, data)


def build(config: Config, rng: np.random.Generator) -> Sequential:
    """Build the network; equal generators give every kind the same weights."""
    layers: list[Layer] = []
    for fan_in, fan_out in itertools.pairwise([784] + [config.hidden] * 3):
        layers.append(Linear(fan_in, fan_out, std=config.std, rng=rng, bias=config.bias))
        if config.kind != "nothing":
            scale = config.kind == "scale"
            layers.append(Normalize(scale=scale, through=config.through, eps=config.eps))
        if config.affine:
            layers.append(ScaleShift(fan_out))
        layers.append(Sigmoid() if config.nonlinearity == "sigmoid" else ReLU())
    layers.append(Linear(config.hidden, 10, std=config.std, rng=rng))
    return Sequential(layers)


def norms(network: Sequential) -> tuple[float, float]:
    """Return the lengths of all hidden biases and of all hidden weights, as two vectors."""
    hidden = [layer for layer in network.layers if isinstance(layer, Linear)][:-1]
    biases = [layer.bias for layer in hidden if layer.bias is not None]
    weights = [layer.weight for layer in hidden]
    return _length(biases), _length(weights)


def input_mean(network: Sequential) -> float | None:
    """Return the squared length of the mean input of the last hidden layer, in its last batch."""
    last = [layer for layer in network.layers if isinstance(layer, Linear)][-2]
    if not hasattr(last, "x"):  # before the first batch
        return None
    return float(np.sum(last.x.mean(axis=0).astype(np.float64) ** 2))


def _length(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(a.astype(np.float64) ** 2) for a in arrays)))


def exponent(steps: list[int], weights: list[float]) -> float:
    """Return p of a growth like ``weights² - weights[0]² = c · step^(2p)``, over the last 4/5."""
    k, w = np.array(steps, float), np.array(weights)
    late = (k >= k[-1] / 5) & (w > w[0])
    if late.sum() < 2:  # nothing has grown
        return 0.0
    grown = np.log(w[late] ** 2 - w[0] ** 2) / 2
    return float(np.polyfit(np.log(k[late]), grown, 1)[0])


# paper: s2-bias-grows, s2-blows-up
class OutsideTrial(Trial):
    """One network on all of the binary MNIST.

    The curve holds `step`, mean training `loss` since the entry before, `bias_norm` and
    `weight_norm` of the hidden layers, and `input_mean`, see :func:`input_mean`. A run whose
    loss stops being finite ends there: its `steps_done` is the last step whose loss was a number.
    """

    learner: NumpyLearner

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        self.config, self.steps = config, config.steps
        (self.train_x, labels), (test, self.labels) = split(data, held_out=0)
        self.test_x = test.astype(np.float32)
        self.learner = NumpyLearner(
            build(config, np.random.default_rng([seed, 0])),
            self.train_x,
            labels,
            batch_size=config.batch_size,
            lr=config.lr,
            rng=np.random.default_rng([seed, 1]),
        )
        self.evaluate_at = evaluation_steps(config.steps)

    def evaluate(self, step: int, loss: float) -> dict[str, float | None]:
        """Return the lengths of biases and weights, and that of the mean input."""
        network = self.learner.network
        of_bias, of_weight = norms(network)
        return {
            "bias_norm": of_bias,
            "weight_norm": of_weight,
            "input_mean": input_mean(network),
        }

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return what was measured, and the figures after training."""
        diverged, network = history.diverged, self.learner.network
        names = ("step", "loss", "bias_norm", "weight_norm", "input_mean")
        curve: Curve = {name: history.column(name) for name in names}
        weights = history.column("weight_norm")
        final: Final = {
            "test_accuracy": None,
            "loss": None if diverged else curve["loss"][-1],
            "bias_norm": None if diverged else curve["bias_norm"][-1],
            "weight_norm": None if diverged else weights[-1],
            "weight_norm_at_start": weights[0],
            "exponent": None if diverged else exponent(history.column("step"), weights),
            "steps_done": history.steps,
            "diverged": float(diverged),
        }
        if not diverged:
            network.train(True)
            network.forward(self.train_x[:POPULATION].astype(np.float32))  # for its statistics
            network.train(False)
            final["test_accuracy"] = accuracy_of(network, self.test_x, self.labels)
        return curve, final


def evaluation_steps(steps: int) -> list[int]:
    """Return the steps at which the norms are taken: 0, 10, 30, then every 100."""
    return [k for k in [0, 10, 30, *range(100, steps, 100)] if k < steps] + [steps]


STUDIES = (
    "outside-sigmoid",
    "outside-relu",
    "outside-fast",
    "outside-which",
    "outside-settings",
)
#: Learning rates and initial standard deviations of `settings`.
SETTINGS = ((0.1, 0.01), (0.1, 0.1), (1.0, 0.1), (10.0, 0.1))


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    `sigmoid` and `relu`: each kind, with the statistics as constants and with the gradient
    through them (`-through`), at a moderate rate. `fast`: sigmoids at ten times that rate, and
    what a learned scale and shift change. `which`: the divided networks of `fast` and of `relu`,
    with the gradient through neither statistic, through one, and through both. `settings`:
    sigmoids without normalization and with all of batch normalization, at several settings.
    """
    if study not in STUDIES:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    if study == "outside-which":
        chosen = which()
    elif study == "outside-settings":
        chosen = settings()
    else:
        chosen = compared(study)
    return of_length(chosen, steps=steps)


def which() -> dict[str, Config]:
    """Return the arms that differ in the statistics which the gradient goes through."""
    divided = {
        "sigmoid": Config(nonlinearity="sigmoid", kind="scale", lr=1.0),
        "relu": Config(nonlinearity="relu", kind="scale"),
    }
    through: dict[str, Through] = {
        "neither": False,
        "mean": "mean",
        "variance": "variance",
        "both": True,
    }
    return {
        f"{network}-{name}": replace(config, through=value)
        for network, config in divided.items()
        for name, value in through.items()
    }


def settings() -> dict[str, Config]:
    """Return the arms that differ in learning rate and initial weights."""
    batch_norm = Config(kind="scale", through=True, affine=True)
    return {
        f"{name}-lr{lr:g}-std{std:g}": replace(config, lr=lr, std=std)
        for lr, std in SETTINGS
        for name, config in (("plain", Config()), ("bn", batch_norm))
    }


def compared(study: str) -> dict[str, Config]:
    """Return the arms of a study that compares what is subtracted and divided."""
    base = Config(nonlinearity="relu" if study == "outside-relu" else "sigmoid")
    centre, scale = replace(base, kind="centre"), replace(base, kind="scale")
    chosen = {
        "plain": base,
        "centre": centre,
        "centre-no-bias": replace(centre, bias=False),
        "centre-through": replace(centre, through=True),
        "scale": scale,
        "scale-through": replace(scale, through=True),
    }
    if study == "outside-fast":
        del chosen["centre-no-bias"]
        affine = replace(scale, affine=True)
        chosen |= {"affine": affine, "affine-through": replace(affine, through=True)}
        chosen = {arm: replace(config, lr=1.0) for arm, config in chosen.items()}
    return chosen


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    return Protocol(
        "ways to normalize, with and without the gradient of the statistics, at the same settings",
        settings="same",
    )
