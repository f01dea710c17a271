"""Networks that are worse at inference than in training, each for one reason.

The network of section 4.1 on the binary MNIST is trained for some steps, with one mistake in each
arm, and the figures are those that tell the mistakes apart. The study is ``running-causes``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bn.data import ImageDataset
from bn.experiments import mnist as paper
from bn.experiments.networks import use_population_statistics
from bn.experiments.statistics import (
    DEFAULT,
    Values,
    batch_norms,
    distance,
    judged,
    running_statistics,
)
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final

#: What each arm does wrong; the first does nothing wrong.
CAUSES = {
    "healthy": "nothing",
    "convention": "momentum is 0.99, meant as the weight of the old value",
    "convention-tiny": "the same, in training with mini-batches of four",
    "tiny-batches": "training with mini-batches of four, which is no mistake in itself",
    "few-updates": "momentum is so small that the start of the statistics is still in them",
    "wrong-mode": "the test images come in training mode, in mini-batches of two",
    "wrong-mode-sorted": "the test images come in training mode, in mini-batches of one class",
    "sorted-pass": "the statistics saw one more pass over the training images, sorted by class",
    "nan": "one training mini-batch with an infinite pixel, whose step was not made",
    "not-saved": "the statistics are those of a new layer: 0 and 1",
    "new-domain": "in the test images a tenth of the pixels is flipped",
    "unfrozen": "the statistics saw 100 mini-batches of negatives in training mode",
}


@dataclass(frozen=True)
class CausesConfig(paper.Config):
    """Settings of one run of ``running-causes``.

    Attributes
    ----------
    cause : str
        One of :data:`CAUSES`.
    momentum : float
        Weight of the new value in the running statistics.
    recompute : int
        Mini-batches of training images that the statistics are recomputed from.
    """

    batch_norm: bool = True
    steps: int = 600
    cause: str = "healthy"
    momentum: float = DEFAULT
    recompute: int = 100

    def __post_init__(self) -> None:
        """Refuse what is no cause."""
        super().__post_init__()
        if self.cause not in CAUSES:
            raise ValueError(f"cause is {self.cause!r}, expected one of {', '.join(CAUSES)}")

    def begin(self, seed: int, data: ImageDataset) -> "CausesTrial":
        """Return the run, with its network as it starts."""
        return CausesTrial(self, seed, data)


class CausesTrial(paper.MnistTrial):
    """One network with one mistake, and the figures that tell the mistakes apart.

    `test_accuracy` is that which the faulty program gets. `batch_accuracy` is that of the same
    images in training mode, in mini-batches of the size of the training; `recomputed_accuracy` in
    inference mode after the statistics were recomputed from shuffled training images;
    `own_accuracy` with the statistics of the test images themselves. `lost` is how much less the
    first is than the second, `mended` how much more the third is than the first, and `own_gain` how
    much more the fourth is than the third. `finite` is 1
    where the running statistics are numbers, `updates` how many mini-batches they have seen, and
    `mean_distance` and `std_distance`, see :func:`distance`, are from the recomputed ones. `loss`
    is that of the last hundred training steps, in training mode.
    """

    config: "CausesConfig"

    def __init__(self, config: "CausesConfig", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.rng = np.random.default_rng([seed, 2])
        for norm in batch_norms(self.learner.network):
            norm.momentum = config.momentum
            norm.nonfinite = "propagate" if config.cause == "nan" else "keep"
        self.evaluate_at = [max(0, config.steps - 100), config.steps]

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Make the mistakes that come after training, and look at the network."""
        network, size = self.learner.network, self.config.batch_size
        test = self.other_x
        if self.config.cause == "new-domain":
            test = np.abs(test - (self.rng.random(test.shape) < 0.1)).astype(np.float32)
        self.spoil_statistics()
        running, updates = running_statistics(network), batch_norms(network)[0].num_batches
        accuracy = self.as_the_program_does(test)
        final: Final = {
            "test_accuracy": accuracy,
            "loss": history.rows[-1]["loss"],
            "finite": float(np.isfinite(running).all()),
            "updates": updates,
        }
        network.train(True)
        order = self.rng.permutation(len(test))
        like_training = paper.accuracy_of(network, test[order], self.labels[order], batch_size=size)
        own = judged(network, test, self.labels)[0]
        use_population_statistics(network, [*self.training_batches(self.config.recompute)])
        recomputed = judged(network, test, self.labels)[0]
        final |= {
            "batch_accuracy": like_training,
            "own_accuracy": own,
            "recomputed_accuracy": recomputed,
            "lost": like_training - accuracy,
            "mended": recomputed - accuracy,
            "own_gain": own - recomputed,
        }
        final["mean_distance"] = final["std_distance"] = None
        if final["finite"]:
            far = distance(*running, *running_statistics(network))
            final["mean_distance"], final["std_distance"] = far
        return {"step": history.column("step")}, final

    def spoil_statistics(self) -> None:
        """Do to the running statistics what the mistakes do that come after training."""
        network, cause = self.learner.network, self.config.cause
        network.train(True)
        if cause == "nan":
            batch = self.training_batches(1)[0]
            batch[0, 0] = np.inf
            with np.errstate(invalid="ignore", over="ignore"):
                network.forward(batch)
        elif cause == "unfrozen":
            for batch in 1 - self.training_batches(100):
                network.forward(batch)
        elif cause == "sorted-pass":
            order, size = np.argsort(self.train_labels, kind="stable"), self.config.batch_size
            for chosen in order[: len(order) // size * size].reshape(-1, size):
                network.forward(self.train_x[chosen].astype(np.float32))
        elif cause == "not-saved":
            for norm in batch_norms(network):
                norm.running_mean, norm.running_var = (
                    np.zeros(norm.num_features),
                    np.ones(norm.num_features),
                )
                norm.num_batches = 0
        network.train(False)

    def training_batches(self, count: int) -> Values:
        """Return shuffled mini-batches of 60 training images, (count, 60, 784)."""
        chosen = self.rng.choice(len(self.train_x), (count, 60))
        return self.train_x[chosen].astype(np.float32)

    def as_the_program_does(self, test: Values) -> float:
        """Return the accuracy, in training mode where that is the mistake."""
        network, cause = self.learner.network, self.config.cause
        if not cause.startswith("wrong-mode"):
            with np.errstate(invalid="ignore"):
                return judged(network, test, self.labels)[0]
        network.train(True)
        order, size = self.rng.permutation(len(test)), 2
        if cause == "wrong-mode-sorted":
            order, size = np.argsort(self.labels, kind="stable"), self.config.batch_size
        return paper.accuracy_of(network, test[order], self.labels[order], batch_size=size)


def arms() -> dict[str, CausesConfig]:
    """Return the arms by name."""
    different: dict[str, dict[str, Any]] = {
        "convention": {"momentum": 0.99},
        "convention-tiny": {"momentum": 0.99, "batch_size": 4},
        "tiny-batches": {"batch_size": 4},
        "few-updates": {"momentum": 0.001},
    }
    return {cause: CausesConfig(cause=cause, **different.get(cause, {})) for cause in CAUSES}
