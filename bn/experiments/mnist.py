"""Section 4.1 of the paper: MNIST with and without batch normalization.

As the paper has it: 28×28 binary input, three fully connected hidden layers of 100 sigmoid
units, ten scores, cross-entropy, 50 000 steps with mini-batches of 60, small random Gaussian
initial weights. The paper does not state the learning rate, the optimizer, the scale of the
initial weights, eps, nor how accuracy was tracked; :class:`Config` declares what we chose.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bn.data import ImageDataset, mnist
from bn.experiments.networks import (
    last_sigmoid_inputs,
    mnist_network,
    use_population_statistics,
)
from bn.experiments.numpy_training import NumpyLearner
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_config, load_sweep
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, Settings, Trial, of_length
from bn.layers import Sequential, softmax_cross_entropy

PERCENTILES = (15, 50, 85)
#: Sizes of test batches for the mistake of leaving the network in training mode.
WRONG_MODE_BATCHES = (2, 10, 60)
#: Images whose inputs of the sigmoids are tracked: more would not move a percentile visibly.
TRACKED = 2000
#: Images that go through the network at once where all do; a limit on memory.
CHUNK = 10_000

#: Images, (N, 784), and labels.
Images = tuple[NDArray[np.uint8], NDArray[np.integer]]


# paper: s41-network
@dataclass(frozen=True)
class Config(Settings):
    """Settings of one run; `lr`, `std` and `eps` are our choice, the others the paper's.

    Attributes
    ----------
    batch_norm : bool
        With or without.
    steps, batch_size, hidden : int
        Mini-batches, examples in each, units in each of the three hidden layers.
    lr : float
        Learning rate of plain SGD, constant.
    std : float
        Standard deviation of the Gaussian initial weights.
    eps : float
        Of batch normalization.
    fan_in : bool
        Divide `std` by the root of a layer's number of inputs.
    held_out : int
        So many training images, the same in every run, are not trained on, and accuracy is
        tracked on them instead of the test images: for choosing settings.
    """

    batch_norm: bool
    steps: int = 50_000
    batch_size: int = 60
    hidden: int = 100
    lr: float = 0.1
    std: float = 0.1
    eps: float = 1e-5
    fan_in: bool = False
    held_out: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        if min(self.steps, self.hidden) < 1 or self.batch_size < 2:
            raise ValueError(f"steps and hidden must be at least 1, batch_size at least 2: {self}")
        if self.held_out < 0:
            raise ValueError(f"held_out must be 0 or more: {self}")

    def fetch(self) -> ImageDataset:
        """Return the binary MNIST."""
        return mnist(binarize=True, progress=False)

    def begin(self, seed: int, data: ImageDataset) -> "MnistTrial":
        """Return the run, with its network as it starts."""
        return Section41(self, seed, data)


def evaluation_steps(steps: int) -> list[int]:
    """Return the steps after which a run is evaluated.

    Every 20 up to 1000, because that is where fast networks pass 90 percent, every 100 up to
    6000, then every 1000.
    """
    rule = [*range(0, 1000, 20), *range(1000, 6000, 100), *range(6000, steps, 1000)]
    return [step for step in rule if step < steps] + [steps]


def split(data: ImageDataset, held_out: int) -> tuple[Images, Images]:
    """Return the images and labels to train on, and those on which accuracy is tracked.

    Raises
    ------
    ValueError
        If nothing would be left to train on.
    """
    images = data.train_images.reshape(len(data.train_images), -1)  # (60000, 784)
    if held_out >= len(images):
        raise ValueError(f"held_out is {held_out} of {len(images)} training images")
    if held_out == 0:
        test = data.test_images.reshape(len(data.test_images), -1)
        return (images, data.train_labels), (test, data.test_labels)
    order = np.random.default_rng(0).permutation(len(images))  # the same in every run
    kept, rest = order[:held_out], order[held_out:]
    return (images[rest], data.train_labels[rest]), (images[kept], data.train_labels[kept])


class MnistTrial(Trial):
    """The network of section 4.1 on the binary MNIST; other experiments add measurements.

    Attributes
    ----------
    train_x, train_labels : array, shape (N, 784), uint8, and (N,)
        Trained on.
    other_x, labels : array, shape (N, 784), float32, and (N,)
        The test images, or those held out.
    """

    learner: NumpyLearner
    learner_type = NumpyLearner

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        self.config = config
        (self.train_x, self.train_labels), (other, self.labels) = split(data, config.held_out)
        self.other_x = other.astype(np.float32)
        self.steps = config.steps
        self.learner = self.learner_type(
            self.build(np.random.default_rng([seed, 0])),
            self.train_x,
            self.train_labels,
            batch_size=config.batch_size,
            lr=config.lr,
            rng=np.random.default_rng([seed, 1]),
        )

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network; equal generators give every kind the same weights."""
        config = self.config
        return mnist_network(
            batch_norm=config.batch_norm,
            std=config.std,
            rng=rng,
            hidden=config.hidden,
            eps=config.eps,
            fan_in=config.fan_in,
        )

    def training_loss(self) -> float:
        """Return the loss of all images trained on, in inference mode."""
        return loss_of(self.learner.network, self.train_x, self.train_labels)

    def accuracy(self) -> float:
        """Return the accuracy on the test images, or those held out, in the network's mode."""
        return accuracy_of(self.learner.network, self.other_x, self.labels)


# paper: fig-1a, fig-1bc
class Section41(MnistTrial):
    """The run of section 4.1.

    The curve holds, per evaluation in inference mode on the whole test set (or the images held
    out): `step`, `test_accuracy` (or `held_out_accuracy`), mean training `loss` since the
    evaluation before, and the 15th, 50th and 85th percentile (`p15`, `p50`, `p85`) of the input
    of one typical sigmoid of the last hidden layer over the first :data:`TRACKED` of these
    images: the unit whose drift ranks in the middle of all units'. At the end, `training_loss`
    is the loss of all images trained on in inference mode, and `loss` that of the last
    mini-batches, in the mode they were trained in. With images held out, as in a sweep of
    hundreds of runs, the curve keeps some evaluations only; `steps_to_90` is of all of them.
    """

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.evaluate_at = evaluation_steps(config.steps)

    def evaluate(self, step: int, loss: float) -> dict[str, Any]:
        """Return the accuracy, and the percentiles of all units, (3, hidden)."""
        # (10000, hidden), (10000, 10)
        inputs, scores = last_sigmoid_inputs(self.learner.network, self.other_x)
        return {
            "accuracy": float(np.mean(scores.argmax(axis=1) == self.labels)),
            "percentiles": np.percentile(inputs[:TRACKED], PERCENTILES, axis=0),
        }

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve of the typical unit, and the figures after training."""
        config = self.config
        measured = "held_out_accuracy" if config.held_out else "test_accuracy"
        steps, accuracy = history.column("step"), history.column("accuracy")
        losses = history.column("loss")
        tracks = np.stack(history.column("percentiles"))  # (evaluations, 3, hidden)
        drift = median_drift(tracks)  # (hidden,)
        unit = int(np.argsort(drift)[len(drift) // 2])
        complete = not history.diverged  # what diverged has no accuracy: it was before that
        final: Final = {
            measured: accuracy[-1] if complete else None,
            "loss": losses[-1] if complete else None,
            "training_loss": self.training_loss() if complete else None,
            "steps_to_90": first_step(steps, accuracy, 0.90),
            "drift": float(np.median(drift)),
            "steps_done": history.steps,
            "unit": unit,
        }
        if config.batch_norm and complete and not config.held_out:
            final |= self.other_modes()
        curve: Curve = {"step": steps, measured: accuracy, "loss": losses}
        curve |= {f"p{p}": tracks[:, i, unit].tolist() for i, p in enumerate(PERCENTILES)}
        return _thinned(curve) if config.held_out else curve, final

    def other_modes(self) -> Final:
        """Return the accuracy by Algorithm 2's statistics, and in training mode."""
        network, size = self.learner.network, self.config.batch_size
        epoch = self.train_x[: len(self.train_x) - len(self.train_x) % size].astype(np.float32)
        use_population_statistics(network, np.split(epoch, len(epoch) // size))
        figures: Final = {"test_accuracy_algorithm2": self.accuracy()}
        network.train(True)
        for wrong in WRONG_MODE_BATCHES:
            figures[f"test_accuracy_training_mode_{wrong}"] = accuracy_of(
                network, self.other_x, self.labels, batch_size=wrong
            )
        return figures


def _thinned(curve: Curve) -> Curve:
    """Keep the first two evaluations, the last, and those at multiples of 500 steps."""
    steps = curve["step"]
    ends = (0, 1, len(steps) - 1)
    kept = [i for i, step in enumerate(steps) if i in ends or (step or 0) % 500 == 0]
    return {name: [values[i] for i in kept] for name, values in curve.items()}


def accuracy_of(
    network: Sequential,
    images: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    batch_size: int | None = None,
) -> float:
    """Return the share of images classified rightly, in the mode that the network is in.

    With a `batch_size` the images go through in batches of that size, in their order; in
    inference mode that changes nothing, in training mode it does.
    """
    size = batch_size or len(images)
    if not 1 <= size <= len(images):
        raise ValueError(f"batch_size is {batch_size}, expected from 1 to {len(images)} images")
    right = 0
    for start in range(0, len(images) - size + 1, size):  # a rest that is no batch is left out
        scores = network.forward(images[start : start + size])
        right += int(np.sum(scores.argmax(axis=1) == labels[start : start + size]))
    return right / (len(images) // size * size)


def loss_of(network: Sequential, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> float:
    """Return the mean loss of all images in inference mode."""
    network.train(False)
    total = 0.0
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        loss, _ = softmax_cross_entropy(
            network.forward(images[part].astype(np.float32)), labels[part]
        )
        total += loss * len(labels[part])
    return total / len(images)


def median_drift(tracks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how far each unit's median wanders while it trains, in units of its own spread.

    Parameters
    ----------
    tracks : array, shape (evaluations, 3, units)
        The 15th, 50th and 85th percentile of each unit's input at each evaluation.

    Returns
    -------
    array, shape (units,)
        (largest - smallest median) / mean over training of half the distance from the 15th to
        the 85th percentile, which for a Gaussian is one standard deviation.
    """
    low, median, high = tracks[:, 0], tracks[:, 1], tracks[:, 2]
    drift: NDArray[np.floating] = np.ptp(median, axis=0) / ((high - low) / 2).mean(axis=0)
    return drift


def first_step(steps: list[int], values: list[float], level: float) -> float | None:
    """Return the first evaluated step at which a value reaches a level, or None."""
    return next((s for s, v in zip(steps, values, strict=True) if v >= level), None)


#: Arms of each study. `paper`: both networks at the same settings. `sweep`: a grid, with images
#: held out. `best` and `fastest`: each network at the settings of the sweep with the highest
#: accuracy after as many steps, and with the fewest steps to 90 percent.
RATES: dict[str, tuple[float, ...]] = {
    "plain": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "bn": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),  # it takes these to find its upper end
}
STDS = (0.01, 0.03, 0.1, 0.3)
#: Standard deviation times the root of the number of inputs: 1 keeps the variance of a layer
#: without nonlinearity, 4 makes up for a sigmoid's largest slope, 1/4.
GAINS = (1.0, 2.0, 4.0, 8.0, 16.0)
SWEEP_STEPS = 10_000
#: The first of the sweep's seeds, which are not those of the comparisons.
SWEEP_SEED = 100
HELD_OUT = 10_000
#: What `best` and `fastest` are chosen by.
CHOSEN_BY = {"mnist-best": "held_out_accuracy", "mnist-fastest": "steps_to_90"}
EDGE = {
    "edge": "With batch normalization the best initial weights by fan-in are the smallest of these "
    "that were tried; smaller ones were tried with one standard deviation for all layers, and "
    "were no better."
}
STUDIES = ("mnist-paper", "mnist-sweep", "mnist-best", "mnist-fastest")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``mnist-best`` and ``mnist-fastest``, if the sweep that decides them has not been
        run to its end.
    """
    plain, batch_norm = Config(batch_norm=False), Config(batch_norm=True)
    kinds = {"plain": plain, "bn": batch_norm}
    if study == "mnist-paper":
        chosen = kinds
    elif study == "mnist-sweep":
        starts = {f"std{std:g}": (std, False) for std in STDS}
        starts |= {f"gain{gain:g}": (gain, True) for gain in GAINS}
        chosen = {
            f"{kind}-lr{lr:g}-{start}": replace(
                config, lr=lr, std=std, fan_in=fan_in, steps=SWEEP_STEPS, held_out=HELD_OUT
            )
            for kind, config in kinds.items()
            for lr in RATES[kind]
            for start, (std, fan_in) in starts.items()
        }
    elif study in CHOSEN_BY:
        sweep, key = load_sweep("mnist", arms("mnist-sweep")), CHOSEN_BY[study]
        lowest = key == "steps_to_90"
        chosen = {
            kind: Config(**best_config(sweep, f"{kind}-", key, lowest=lowest) | {"held_out": 0})
            for kind in kinds
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "mnist-sweep":
        return Protocol("rates and initial weights, of each network", first_seed=SWEEP_SEED)
    if study in CHOSEN_BY:
        return Protocol(
            "a network with and one without batch normalization, each at its own settings",
            settings="chosen",
            chosen_by=CHOSEN_BY[study],
            sweep="mnist-sweep",
            exceptions=EDGE if study == "mnist-best" else {},
        )
    return Protocol(
        "a network with and one without batch normalization, both at the same settings",
        settings="same",
    )
