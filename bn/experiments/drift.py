"""Section 1 of the paper: how the inputs of a network's sigmoids move while it trains.

The network and its training are those of section 4.1 (`mnist`), with other learning rates,
initial weights and depths beside them.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from bn.data import ImageDataset
from bn.experiments import mnist as section_4_1
from bn.experiments.inputs import Track, sigmoid_inputs
from bn.experiments.networks import mnist_network
from bn.experiments.protocol import Protocol
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final
from bn.layers import Sequential


@dataclass(frozen=True)
class Config(section_4_1.Config):
    """Settings of one run: those of section 4.1, and these.

    Attributes
    ----------
    steps : int
        A fifth of the paper's.
    depth : int
        Hidden layers; the paper has 3.
    images, every : int
        Test images on which the inputs are measured, the same at all times and in all runs;
        steps from one measurement to the next.
    accuracy_every : int
        Steps from one look at the accuracy to the next until 90 percent are reached; after
        that, it is looked at when the inputs are measured.
    """

    steps: int = 10_000
    depth: int = 3
    images: int = 2000
    every: int = 250
    accuracy_every: int = 25

    def __post_init__(self) -> None:
        """Refuse what cannot be trained or measured, before anything is fetched."""
        super().__post_init__()
        if self.depth < 1 or self.images < 2:
            raise ValueError(f"depth must be at least 1, images at least 2: {self}")
        if not all(1 <= every <= self.steps for every in (self.every, self.accuracy_every)):
            raise ValueError(f"every and accuracy_every must be from 1 to steps: {self}")

    def begin(self, seed: int, data: ImageDataset) -> "DriftTrial":
        """Return the run, with its network as it starts."""
        return DriftTrial(self, seed, data)


#: What is also measured with running statistics.
IN_BOTH_MODES = ("drift", "wander", "spread")


class DriftTrial(section_4_1.MnistTrial):
    """One network, with the inputs of all its sigmoids measured as it trains.

    Batch norm normalizes with the statistics of the measured images, as in a training step; the
    accuracy is that of the whole test set with running statistics. In the names, k is a hidden
    layer, 1 the lowest.

    The curve holds `step`, `test_accuracy`, `loss` on the training set (of the mini-batches
    since the measurement before) and, per layer, the median over units of the mean's distance
    from 0 (`offset_k`), of the standard deviation (`spread_k`) and of what is new in the pattern
    since the measurement before (`reordered_k`), the share of saturated inputs (`saturated_k`),
    and percentiles (`p15_k`, `p50_k`, `p85_k`) of one typical unit, whose drift ranks in the
    middle.

    Final figures, medians over units: `drift_k`; `wander_k`, the largest minus the smallest
    mean; `start_spread_k` and `spread_k` before and after training; `drift_inference_k`,
    `wander_inference_k` and `spread_inference_k`, the same with running statistics and without
    the measurement at step 0, when these are 0 and 1 whatever the network does (a network
    without batch norm has them, too, of the same times); `reordered_k`, the mean over training;
    `saturated_k` after it; `steps_to_90`, where 90 percent are reached, to within
    `accuracy_every` steps; and `training_loss`, of all training images in inference mode.
    """

    config: "Config"

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.images = self.other_x[: config.images]
        self.layers = [Track() for _ in range(config.depth)]
        self.at_inference = [Track() for _ in range(config.depth)]
        self.measure_at = {*range(0, config.steps, config.every), config.steps}
        self.evaluate_at = self.measure_at | {*range(0, config.steps, config.accuracy_every)}
        self.best = 0.0

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network, of any depth."""
        config = self.config
        return mnist_network(
            batch_norm=config.batch_norm,
            std=config.std,
            rng=rng,
            hidden=config.hidden,
            depth=config.depth,
            eps=config.eps,
        )

    def evaluate(self, step: int, loss: float) -> dict[str, float]:
        """Return the accuracy where it is looked at; measure the inputs where that is due."""
        measured: dict[str, float] = {}
        if step in self.measure_at or self.best < 0.9:
            measured["accuracy"] = self.accuracy()
            self.best = max(self.best, measured["accuracy"])
        if step in self.measure_at:
            network = self.learner.network
            for layer, x in zip(self.layers, sigmoid_inputs(network, self.images), strict=True):
                layer.add(x)
            if step > 0:
                inputs = sigmoid_inputs(network, self.images, of_batch=False)
                for layer, x in zip(self.at_inference, inputs, strict=True):
                    layer.add(x)
        return measured

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curves and figures of every layer."""
        looks = [row for row in history.rows if "accuracy" in row]
        measured = [row for row in looks if row["step"] in self.measure_at]
        losses = losses_between(history, [row["step"] for row in measured])
        curve: Curve = {
            "step": [row["step"] for row in measured],
            "test_accuracy": [row["accuracy"] for row in measured],
            "loss": [*losses],
        }
        complete = not history.diverged
        final: Final = {
            # what diverged has none: the last evaluation was before it did
            "test_accuracy": measured[-1]["accuracy"] if complete else None,
            "loss": losses[-1],
            "training_loss": self.training_loss() if complete else None,
            "steps_done": history.steps,
        }
        first = section_4_1.first_step(
            [row["step"] for row in looks], [row["accuracy"] for row in looks], 0.90
        )
        if first is not None:
            final["steps_to_90"] = first
        for k, layer in enumerate(self.layers, start=1):
            curve |= {f"{name}_{k}": [*values] for name, values in layer.curve().items()}
            final |= {f"{name}_{k}": value for name, value in layer.final().items()}
        for k, layer in enumerate(self.at_inference, start=1):
            if layer.mean:  # else it diverged before the first measurement
                figures = layer.final()
                final |= {f"{name}_inference_{k}": figures[name] for name in IN_BOTH_MODES}
        return curve, final


def losses_between(history: History, steps: list[int]) -> list[float]:
    """Return the mean loss since the step before, for some of the evaluated steps; NaN at first."""
    found: list[float] = []
    last, total, begun = 0, 0.0, 0
    for row in history.rows:
        if row["step"] > last:
            total += (row["step"] - last) * row["loss"]
        last = row["step"]
        if last in steps:
            found.append(total / (last - begun) if found else math.nan)
            total, begun = 0.0, last
    return found


#: Ten times the learning rate of the other arms.
FAST = 1.0
DEEP = 6
#: An initial scale for layers of 100 sigmoids: 0.4 * sqrt(100) * 1/4 = 1, so that near input 0
#: differences between images, and gradients, leave a layer as large as they came in.
CAREFUL = 0.4
STUDIES = ("drift", "drift-deep")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    chosen = {"plain": Config(batch_norm=False), "bn": Config(batch_norm=True)}
    if study == "drift":
        chosen |= {f"{kind}-fast": replace(config, lr=FAST) for kind, config in chosen.items()}
    elif study == "drift-deep":
        # nothing is said of how soon these reach 90 percent, and to look often is most of the time
        chosen = {
            kind: replace(config, depth=DEEP, accuracy_every=config.every)
            for kind, config in chosen.items()
        }
        chosen["plain-careful"] = replace(chosen["plain"], std=CAREFUL)
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    if steps is None:
        return chosen
    return {
        arm: replace(
            config,
            steps=steps,
            every=min(config.every, steps),
            accuracy_every=min(config.accuracy_every, steps),
        )
        for arm, config in chosen.items()
    }


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    varied = "learning rates" if study == "drift" else "scales of the initial weights"
    return Protocol(
        f"a network with and one without batch normalization, at given {varied}: not the best "
        "of each",
        settings="same",
    )
