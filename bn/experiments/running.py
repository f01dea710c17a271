"""Section 3.1 of the paper: what a trained network takes for the population's statistics.

The network of section 4.1 on the binary MNIST, with batch normalization. ``running`` keeps moving
averages at several momenta while it trains, and compares them with the statistics of the training
images at the weights of the moment. ``running-population`` recomputes the statistics after
training, by several estimators, from shuffled mini-batches and from ones that are sorted by
class. A third study, ``running-causes``, is that of :mod:`bn.experiments.causes`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bn.data import ImageDataset
from bn.experiments import causes
from bn.experiments import mnist as paper
from bn.experiments.protocol import Protocol
from bn.experiments.statistics import (
    DEFAULT,
    Values,
    WatchedLearner,
    batch_norms,
    batch_statistics,
    distance,
    judged,
    put_statistics,
    statistics_of,
)
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, of_length
from bn.reference import population_statistics

#: Numbers of mini-batches that the statistics are recomputed from.
COUNTS = (1, 2, 5, 10, 50, 1000)
#: The averages that are also tried on the test images.
TRIED = ("recomputed", "0.99", "0.1", "0.01", "0.001", "corrected", "cumulative")


def short(value: float) -> float:
    """Return a number with the digits that a record needs."""
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class Config(paper.Config):
    """Settings of one run of ``running``: those of section 4.1, and these.

    Attributes
    ----------
    steps : int
        Fewer than the paper's 50 000.
    recompute : int
        Mini-batches that the true statistics are taken from.
    images : int
        Test images that the averages are tried on.
    """

    batch_norm: bool = True
    steps: int = 1000
    recompute: int = 200
    images: int = 2000

    def begin(self, seed: int, data: ImageDataset) -> "RunningTrial":
        """Return the run, with its network as it starts."""
        return RunningTrial(self, seed, data)


def looks(steps: int) -> list[int]:
    """Return the steps after which the averages are looked at: 1, 10, 30, 100, .. and the last."""
    rule = [1, 10, 30, 100, 300]
    return [step for step in rule if step < steps] + [steps]


# paper: s31-moving-averages
class RunningTrial(paper.MnistTrial):
    """One network, with moving averages of its statistics kept beside its training.

    Training does not look at them, so all are of the same weights. The curve holds, per look and
    kind of average, its distance from the true statistics over the units of layer k, `mean_k` and
    `std_k`, see :func:`distance`; and for those of :data:`TRIED` the test `accuracy` and
    `test_loss` with it. The true ones, ``recomputed``, are Algorithm 2's for training mini-batches
    at the weights of the moment. ``final`` repeats these at 100 steps and at the end, with `lost`,
    the accuracy that the true ones have more, and `gap`, the loss that they have less.
    """

    config: "Config"
    learner: WatchedLearner
    learner_type = WatchedLearner

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        norms = batch_norms(self.learner.network)
        self.sizes = [norm.num_features for norm in norms]
        self.averages = self.learner.averages
        self.tried = self.other_x[: config.images], self.labels[: config.images]
        self.evaluate_at = looks(config.steps)
        order = np.random.default_rng([seed, 2]).permutation(len(self.train_x))
        size = config.batch_size
        self.chosen = [order[i * size : (i + 1) * size] for i in range(config.recompute)]

    def evaluate(self, step: int, loss: float) -> dict[str, Any]:
        """Return accuracy, loss and distances of all averages, by name."""
        network, m = self.learner.network, self.config.batch_size
        means, variances = statistics_of(
            network, [self.train_x[i].astype(np.float32) for i in self.chosen]
        )
        true = population_statistics(means, variances, m)
        row: dict[str, Any] = {}
        for name, (mean, var) in {"recomputed": true, **self.averages.all()}.items():
            if name in TRIED:
                put_statistics(network, mean, var)
                accuracy, test_loss = judged(network, *self.tried)
                row[f"accuracy_{name}"], row[f"test_loss_{name}"] = accuracy, short(test_loss)
            ends = np.cumsum(self.sizes)[:-1]
            layers = zip(*(np.split(v, ends) for v in (mean, var, *true)), strict=True)
            for k, layer in enumerate(layers, start=1) if name != "recomputed" else ():
                of_mean, of_std = distance(*layer)
                row[f"mean_{k}_{name}"], row[f"std_{k}_{name}"] = short(of_mean), short(of_std)
        put_statistics(network, *self.averages.all()[f"{DEFAULT:g}"])
        return row

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return all that was looked at, and what the book quotes of it."""
        names = [name for name in history.rows[-1] if name != "loss"]
        curve: Curve = {name: history.column(name) for name in names}
        last = history.rows[-1]
        final: Final = {
            "test_accuracy": self.accuracy(),
            "loss": last["loss"],
            "training_loss": self.training_loss(),
        }
        for row in history.rows:
            if row["step"] not in (100, self.steps):
                continue
            when = "end" if row["step"] == self.steps else "100"
            final |= {f"{k}_{when}": row[k] for k in names if k != "step"}
            for kind in TRIED[1:]:
                best, came = (
                    (row[f"accuracy_{name}"], row[f"test_loss_{name}"])
                    for name in ("recomputed", kind)
                )
                final |= {f"lost_{kind}_{when}": best[0] - came[0]}
                final |= {f"gap_{kind}_{when}": came[1] - best[1]}
        return curve, final


@dataclass(frozen=True)
class PopulationConfig(paper.Config):
    """Settings of one run of ``running-population``.

    Attributes
    ----------
    by_class : bool
        Whether the images are sorted by class when the statistics are recomputed. They are
        shuffled while it trains.
    images : int
        Test images that the statistics are tried on.
    """

    batch_norm: bool = True
    steps: int = 1000
    by_class: bool = False
    images: int = 2000

    def begin(self, seed: int, data: ImageDataset) -> "PopulationTrial":
        """Return the run, with its network as it starts."""
        return PopulationTrial(self, seed, data)


# paper: alg-2, eq-unbiased
class PopulationTrial(paper.MnistTrial):
    """One network, trained, and its statistics recomputed by four estimators.

    Three of them make their estimate from the mini-batches' own statistics: ``algorithm2``,
    ``pooled`` and ``ema`` (at momentum 0.1) of :func:`bn.reference.population_statistics`. The
    fourth, ``one``, takes all images as one mini-batch. The mini-batches are spaced evenly
    through one pass over all training images. The curve holds the test accuracy and loss of each
    by the number of mini-batches, :data:`COUNTS`; ``final`` that of all of them, and for layer k
    `var_k`, the median over units of the variance in units of that of ``one``, and `mean_k` and
    `std_k`, see :func:`distance`. `lost` is the accuracy that ``one`` has more with all images,
    `gap` the loss that it has less; followed by a number, `lost` is what an estimator loses when
    it has so many mini-batches instead of all.
    """

    config: "PopulationConfig"

    def __init__(self, config: "PopulationConfig", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.seed = seed

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Recompute the statistics in every way."""
        network, m = self.learner.network, self.config.batch_size
        sizes = [norm.num_features for norm in batch_norms(network)]
        final: Final = {
            "test_accuracy": self.accuracy(),
            "loss_running": judged(network, self.other_x, self.labels)[1],
            "training_loss": self.training_loss(),
        }
        tried_on = self.other_x[: self.config.images], self.labels[: self.config.images]
        order = np.random.default_rng([self.seed, 2]).permutation(len(self.train_x))
        if self.config.by_class:
            order = order[np.argsort(self.train_labels[order], kind="stable")]
        batches = order[: len(order) // m * m].reshape(-1, m)
        means, variances = statistics_of(
            network, [self.train_x[i].astype(np.float32) for i in batches]
        )
        counts = [count for count in COUNTS if count < len(batches)] + [len(batches)]
        tried: dict[str, list[tuple[float, float]]] = {}
        every = {}
        for count in counts:
            chosen = ((np.arange(count) + 0.5) * len(batches) / count).astype(int)
            seen = means[chosen], variances[chosen]
            every = {  # the last is of all mini-batches
                "algorithm2": population_statistics(*seen, m),
                "pooled": population_statistics(*seen, m, method="pooled"),
                "ema": population_statistics(*seen, m, method="ema", momentum=DEFAULT),
                "one": self.as_one(batches[chosen].ravel()),
            }
            for name, statistics in every.items():
                put_statistics(network, *statistics)
                came = judged(network, *tried_on)
                tried.setdefault(name, []).append((short(came[0]), short(came[1])))
        curve: Curve = {"batches": [*counts]}
        for name, statistics in every.items():
            accuracies, losses = zip(*tried[name], strict=True)
            curve |= {f"accuracy_{name}": [*accuracies], f"test_loss_{name}": [*losses]}
            final |= {f"accuracy_{name}": accuracies[-1], f"test_loss_{name}": losses[-1]}
            final[f"lost_{name}"] = tried["one"][-1][0] - accuracies[-1]
            final[f"gap_{name}"] = losses[-1] - tried["one"][-1][1]
            for count, accuracy in zip(counts[:-1], accuracies, strict=False):
                final[f"lost_{name}_{count}"] = accuracies[-1] - accuracy
            ends = np.cumsum(sizes)[:-1]
            layers = zip(*(np.split(v, ends) for v in (*statistics, *every["one"])), strict=True)
            for k, layer in enumerate(layers, start=1):
                final[f"mean_{k}_{name}"], final[f"std_{k}_{name}"] = distance(*layer)
                final[f"var_{k}_{name}"] = float(np.median(layer[1] / layer[3]))
        return curve, final

    def as_one(self, images: NDArray[np.integer]) -> tuple[Values, Values]:
        """Return mean and unbiased variance of all units over these images as one mini-batch."""
        network = self.learner.network
        network.train(True)
        network.forward(self.train_x[images].astype(np.float32))
        mean, var, m = batch_statistics(network)
        return mean, var * m / (m - 1)


STUDIES = ("running", "running-population", "running-causes")


def arms(study: str, steps: int | None = None) -> dict[str, Any]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    chosen: dict[str, Any]
    if study == "running":
        chosen = {"bn": Config()}
    elif study == "running-population":
        chosen = {"shuffled": PopulationConfig(), "sorted": PopulationConfig(by_class=True)}
    elif study == "running-causes":
        chosen = {**causes.arms()}
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    compares = {
        "running": "moving averages of the statistics of one network in training",
        "running-population": "statistics from mini-batches that are shuffled and sorted by class",
        "running-causes": "mistakes in what a trained network does at inference, after training "
        "with mini-batches of two sizes",
    }
    if study == "running":
        return Protocol(compares[study])
    return Protocol(compares[study], settings="same")
