"""One trained network that is worse at inference than in training, for one reason after the other.

The network of section 4.1 on the binary MNIST, trained with mini-batches of 60 or of four. The
weights are the same for all mistakes, since none of them is in the training: only what the
network takes for the population's statistics, the mode, or the images. The study is
``running-causes``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bn.data import ImageDataset
from bn.experiments import mnist as paper
from bn.experiments.networks import use_population_statistics
from bn.experiments.statistics import (
    DEFAULT,
    Values,
    WatchedLearner,
    batch_norms,
    judged,
    put_statistics,
)
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final

#: Images in the mini-batches that statistics are collected from after training.
SIZE = 60
#: Momenta that are mistakes.
CONVENTION, FEW_UPDATES = 0.99, 0.001


@dataclass(frozen=True)
class CausesConfig(paper.Config):
    """Settings of one run.

    Attributes
    ----------
    recompute : int
        Mini-batches of training images that the statistics are recomputed from.
    flipped : float
        Share of the pixels that are flipped in images of another domain.
    """

    batch_norm: bool = True
    steps: int = 1000
    recompute: int = 100
    flipped: float = 0.1

    def begin(self, seed: int, data: ImageDataset) -> "CausesTrial":
        """Return the run, with its network as it starts."""
        return CausesTrial(self, seed, data)


class CausesTrial(paper.MnistTrial):
    """One network, and its test accuracy with each mistake.

    `accuracy_` and the name of a mistake is what the program shows that makes it:

    - ``convention``: momentum 0.99, meant as the weight of the old value.
    - ``few_updates``: momentum 0.001, so that the start is still in the average.
    - ``wrong_mode``, ``wrong_mode_sorted``: training mode, with two images at a time, or 60 of one
      class.
    - ``sorted_pass``: the averages saw the training images once more, sorted by class.
    - ``nan``: they saw one mini-batch with an infinite pixel.
    - ``not_saved``: statistics of 0 and 1.
    - ``unfrozen``: the averages saw 100 mini-batches of negatives.
    - ``domain``: test images with flipped pixels.

    ``healthy`` is momentum 0.1 without a mistake, ``recomputed`` Algorithm 2 from training images,
    ``own`` the statistics of all test images, ``batches`` training mode with mini-batches of the
    training's size; ``domain_own`` and ``domain_batches`` the same for the flipped images. `lost`
    is how much less a mistake has than ``healthy``; `own_gain` is what their own statistics gain
    the flipped images. `loss` is that of the last hundred training steps, in training mode.
    """

    config: "CausesConfig"
    learner: WatchedLearner
    learner_type = WatchedLearner

    def __init__(self, config: "CausesConfig", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.rng = np.random.default_rng([seed, 2])
        for norm in batch_norms(self.learner.network):
            norm.nonfinite = "propagate"
        self.evaluate_at = [max(0, config.steps - 100), config.steps]

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Make every mistake, and look at the network."""
        network, labels, test = self.learner.network, self.labels, self.other_x
        flipped = self.rng.random(test.shape, np.float32) < self.config.flipped
        averages = self.learner.averages.all()
        healthy = averages[f"{DEFAULT:g}"]
        nothing = np.zeros_like(healthy[0]), np.ones_like(healthy[0])
        images = {"domain": np.abs(test - flipped)}
        statistics = {
            "convention": averages[f"{CONVENTION:g}"],
            "few_updates": averages[f"{FEW_UPDATES:g}"],
            "not_saved": nothing,
        }
        seen = {
            "sorted_pass": self.sorted_pass(),
            "nan": iter([self.with_infinity()]),
            "unfrozen": iter(1 - self.training_batches(100)),
        }
        came: dict[str, float] = {}
        for mistake in ("healthy", *statistics, *seen, *images):
            put_statistics(network, *statistics.get(mistake, healthy))
            with np.errstate(invalid="ignore", over="ignore"):
                self.forward(seen.get(mistake, iter(())))
                came[mistake] = judged(network, images.get(mistake, test), labels)[0]
        put_statistics(network, *healthy)
        by_class, mixed = np.argsort(labels, kind="stable"), self.rng.permutation(len(labels))
        came["wrong_mode"] = self.in_training_mode(test, mixed, 2)
        came["wrong_mode_sorted"] = self.in_training_mode(test, by_class, SIZE)
        right: dict[str, float] = {}
        for prefix, shown in (("", test), ("domain_", images["domain"])):
            size = self.config.batch_size
            right[f"{prefix}batches"] = self.in_training_mode(shown, mixed, size)
            right[f"{prefix}own"] = self.in_training_mode(shown, mixed, len(shown))
        use_population_statistics(network, [*self.training_batches(self.config.recompute)])
        right["recomputed"] = judged(network, test, labels)[0]
        final: Final = {"test_accuracy": came["healthy"], "loss": history.rows[-1]["loss"]}
        final |= {f"accuracy_{name}": value for name, value in (came | right).items()}
        final |= {f"lost_{name}": came["healthy"] - value for name, value in came.items()}
        final["own_gain"] = right["domain_own"] - came["domain"]
        final["training_loss"] = self.training_loss()
        return {"step": history.column("step")}, final

    def forward(self, batches: Iterator[Values]) -> None:
        """Let the running statistics see mini-batches."""
        self.learner.network.train(True)
        for x in batches:
            self.learner.network.forward(x)
        self.learner.network.train(False)

    def training_batches(self, count: int) -> Values:
        """Return shuffled mini-batches of training images, (count, SIZE, 784)."""
        chosen = self.rng.choice(len(self.train_x), (count, SIZE))
        batches: Values = self.train_x[chosen].astype(np.float32)
        return batches

    def with_infinity(self) -> Values:
        """Return a mini-batch of training images with one infinite pixel."""
        batch: Values = self.training_batches(1)[0]
        batch[0, 0] = np.inf
        return batch

    def sorted_pass(self) -> Iterator[Values]:
        """Return the mini-batches of all training images, sorted by class."""
        order = np.argsort(self.train_labels, kind="stable")
        for chosen in order[: len(order) // SIZE * SIZE].reshape(-1, SIZE):
            yield self.train_x[chosen].astype(np.float32)

    def in_training_mode(self, images: Values, order: NDArray[np.integer], size: int) -> float:
        """Return the accuracy in training mode, in mini-batches of a size."""
        self.learner.network.train(True)
        accuracy = paper.accuracy_of(
            self.learner.network, images[order], self.labels[order], batch_size=size
        )
        self.learner.network.train(False)
        return accuracy


def arms() -> dict[str, CausesConfig]:
    """Return the arms by name."""
    return {"sixty": CausesConfig(), "four": CausesConfig(batch_size=4)}
