"""Section 4.1 of the paper: MNIST with and without batch normalization.

As the paper has it: 28×28 binary input, three fully connected hidden layers of 100 sigmoid
units, ten scores, cross-entropy, 50 000 steps with mini-batches of 60, small random Gaussian
initial weights. The paper does not state the learning rate, the optimizer, the scale of the
initial weights, eps, nor how accuracy was tracked; :class:`Config` declares what we chose.
"""

import time
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bn.data import ImageDataset, mnist
from bn.experiments.networks import (
    last_sigmoid_inputs,
    mnist_network,
    use_population_statistics,
)
from bn.experiments.record import Run, best_config, load_sweep, provenance
from bn.experiments.training import train
from bn.layers import Sequential

PERCENTILES = (15, 50, 85)
#: Sizes of test batches for the mistake of leaving the network in training mode.
WRONG_MODE_BATCHES = (2, 10, 60)


# paper: s41-network
@dataclass(frozen=True)
class Config:
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
    """

    batch_norm: bool
    steps: int = 50_000
    batch_size: int = 60
    hidden: int = 100
    lr: float = 0.1
    std: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        if min(self.steps, self.hidden) < 1 or self.batch_size < 2:
            raise ValueError(f"steps and hidden must be at least 1, batch_size at least 2: {self}")


def evaluation_steps(steps: int) -> list[int]:
    """Return the steps after which a run is evaluated: every 100 up to 6000, then every 1000."""
    early = [0, 25, 50, *range(100, 6000, 100)]
    return [step for step in [*early, *range(6000, steps, 1000)] if step < steps] + [steps]


# paper: fig-1a, fig-1bc
def run(config: Config, seed: int, data: ImageDataset, *, progress: str | None = None) -> Run:
    """Train one network on all of `data`, the binary MNIST, and return its record.

    The curve holds, per evaluation on the whole test set in inference mode: `step`,
    `test_accuracy`, mean training `loss` since the evaluation before, and the 15th, 50th and
    85th percentile (`p15`, `p50`, `p85`) of the input of one typical sigmoid of the last hidden
    layer: the unit whose drift ranks in the middle of all units'.
    """
    start = time.perf_counter()
    network = mnist_network(
        batch_norm=config.batch_norm,
        std=config.std,
        rng=np.random.default_rng([seed, 0]),
        hidden=config.hidden,
        eps=config.eps,
    )
    train_x = data.train_images.reshape(len(data.train_images), -1)  # (60000, 784)
    test_x = data.test_images.reshape(len(data.test_images), -1).astype(np.float32)

    steps: list[int] = []
    accuracy: list[float] = []
    losses: list[float] = []
    percentiles: list[NDArray[np.floating]] = []

    def evaluate(step: int, loss: float) -> None:
        inputs, scores = last_sigmoid_inputs(network, test_x)  # (10000, hidden), (10000, 10)
        steps.append(step)
        losses.append(loss)
        accuracy.append(float(np.mean(scores.argmax(axis=1) == data.test_labels)))
        percentiles.append(np.percentile(inputs, PERCENTILES, axis=0))  # (3, hidden)

    done = train(
        network,
        train_x,
        data.train_labels,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=config.lr,
        rng=np.random.default_rng([seed, 1]),
        evaluate=evaluate,
        evaluate_at=evaluation_steps(config.steps),
        progress=progress,
    )

    tracks = np.stack(percentiles)  # (evaluations, 3, hidden)
    drift = median_drift(tracks)  # (hidden,)
    unit = int(np.argsort(drift)[len(drift) // 2])
    final: dict[str, float | None] = {
        # what diverged has none: the last evaluation was before it did
        "test_accuracy": accuracy[-1] if done == config.steps else None,
        "loss": losses[-1],
        "steps_to_90": first_step(steps, accuracy, 0.90),
        "drift": float(np.median(drift)),
        "steps_done": done,
        "unit": unit,
    }
    if config.batch_norm and done == config.steps:
        epoch = train_x[: len(train_x) - len(train_x) % config.batch_size].astype(np.float32)
        use_population_statistics(network, np.split(epoch, len(epoch) // config.batch_size))
        final["test_accuracy_algorithm2"] = accuracy_of(network, test_x, data.test_labels)
        network.train(True)
        for size in WRONG_MODE_BATCHES:
            final[f"test_accuracy_training_mode_{size}"] = accuracy_of(
                network, test_x, data.test_labels, batch_size=size
            )
    curve: dict[str, list[float | None]] = {
        "step": [*steps],
        "test_accuracy": [*accuracy],
        "loss": [*losses],
    }
    curve |= {f"p{p}": tracks[:, i, unit].tolist() for i, p in enumerate(PERCENTILES)}
    seconds = time.perf_counter() - start
    arm = "bn" if config.batch_norm else "plain"
    return Run(arm, seed, asdict(config), curve, final, seconds, provenance())


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


#: Arms of each study. `paper`: both networks at the same settings. `best`: each at the rate and
#: scale that were best for it in the sweep. `sweep`: a grid, in shorter runs.
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STDS = (0.01, 0.03, 0.1, 0.3)
SWEEP_STEPS = 10_000
STUDIES = ("mnist-paper", "mnist-sweep", "mnist-best")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``mnist-best``, if the sweep that decides it has not been run to its end.
    """
    plain, batch_norm = Config(batch_norm=False), Config(batch_norm=True)
    if study == "mnist-paper":
        chosen = {"plain": plain, "bn": batch_norm}
    elif study == "mnist-sweep":
        chosen = {
            f"{kind}-lr{lr:g}-std{std:g}": replace(config, lr=lr, std=std, steps=SWEEP_STEPS)
            for kind, config in (("plain", plain), ("bn", batch_norm))
            for lr in RATES
            for std in STDS
        }
    elif study == "mnist-best":
        sweep = load_sweep("mnist", arms("mnist-sweep"))
        chosen = {
            kind: Config(**best_config(sweep, f"{kind}-", "test_accuracy") | {"steps": plain.steps})
            for kind in ("plain", "bn")
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    if steps is None:
        return chosen
    return {arm: replace(config, steps=steps) for arm, config in chosen.items()}


def run_task(config: Config, seed: int, label: str | None) -> Run:
    """Fetch the data and train one network: what a study does for each of its runs."""
    return run(config, seed, mnist(binarize=True, progress=False), progress=label)
