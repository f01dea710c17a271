"""How well a mini-batch estimates mean and variance, on real inputs of batch normalization.

The network of section 4.1 is trained as for the record ``mnist-paper``. Then the inputs of its
last batch-norm layer, one value per training image and unit, are the population, and
mini-batches are drawn from it as in training. The layers below are in inference mode, so that
the value of an image does not depend on its neighbours and the theory's assumption holds: m
values drawn from one distribution.
"""

import time
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bn.data import ImageDataset, minibatches, mnist
from bn.experiments import mnist as paper
from bn.experiments.networks import mnist_network
from bn.experiments.protocol import Protocol
from bn.experiments.record import Run, provenance
from bn.experiments.training import train
from bn.layers import Sequential
from bn.reference import BatchNorm, batch_norm_forward

Values = NDArray[np.float64]

#: Sizes of the mini-batches; 60 is the one that the network was trained with.
SIZES = (2, 4, 8, 16, 32, 60, 128, 256)
TRAINED_WITH = 60


@dataclass(frozen=True)
class Config(paper.Config):
    """Settings of one run: those of the training, and the following.

    Attributes
    ----------
    batches : int
        Mini-batches of each size.
    """

    batch_norm: bool = True
    batches: int = 2000


def run(config: Config, seed: int, data: ImageDataset, *, progress: str | None = None) -> Run:
    """Train one network, measure its mini-batches, and return the record.

    The curve holds, per size of the mini-batch, what :func:`measure` returns for the last hidden
    layer; ``final`` repeats it for the size trained with. The shapes in ``final`` are medians
    over units: `skewness` (its size) and `kurtosis` of u, the input of that layer's weights, and
    of x = Wu; `kurtosis_x_within` is that of x minus the mean of its class.
    """
    start = time.perf_counter()
    images = data.train_images.reshape(len(data.train_images), -1)  # (60000, 784)
    network = trained(config, seed, images, data.train_labels, progress=progress)
    u, x = around_last_linear(network, images.astype(np.float32))
    curves = [
        measure(x, size, config.batches, np.random.default_rng([seed, 2, size])) for size in SIZES
    ]
    test = data.test_images.reshape(len(data.test_images), -1).astype(np.float32)
    final: dict[str, float | None] = {
        "test_accuracy": paper.accuracy_of(network, test, data.test_labels)
    }
    for name, values in (("u", u), ("x", x)):
        skewness, kurtosis = skewness_and_kurtosis(values)
        final[f"skewness_{name}"] = float(np.median(np.abs(skewness)))
        final[f"kurtosis_{name}"] = float(np.median(kurtosis))
    within = skewness_and_kurtosis(without_class_means(x, data.train_labels))[1]
    final["kurtosis_x_within"] = float(np.median(within))
    final |= {f"{name}_{TRAINED_WITH}": v for name, v in curves[SIZES.index(TRAINED_WITH)].items()}
    curve: dict[str, list[float | None]] = {"size": [*SIZES]}
    curve |= {name: [each[name] for each in curves] for name in curves[0]}
    seconds = time.perf_counter() - start
    return Run("bn", seed, asdict(config), curve, final, seconds, provenance())


def trained(
    config: paper.Config,
    seed: int,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    progress: str | None = None,
) -> Sequential:
    """Train the network of section 4.1 as :func:`bn.experiments.mnist.run` does."""
    network = mnist_network(
        batch_norm=config.batch_norm,
        std=config.std,
        rng=np.random.default_rng([seed, 0]),
        hidden=config.hidden,
        eps=config.eps,
    )
    train(
        network, images, labels,
        steps=config.steps, batch_size=config.batch_size, lr=config.lr,
        rng=np.random.default_rng([seed, 1]),
        evaluate=lambda step, loss: None, evaluate_at=(),
        progress=progress,
    )  # fmt: skip
    return network


def around_last_linear(network: Sequential, images: NDArray[np.floating]) -> tuple[Values, Values]:
    """Return u and Wu of the last hidden layer: what goes into its weights, and into its BN.

    The network is put into inference mode, and stays so.
    """
    network.train(False)
    last = max(i for i, layer in enumerate(network.layers) if isinstance(layer, BatchNorm))
    x = images
    for layer in network.layers[:last]:
        u, x = x, layer.forward(x)
    return u.astype(np.float64), x.astype(np.float64)


def skewness_and_kurtosis(x: NDArray[np.floating]) -> tuple[Values, Values]:
    """Return skewness and kurtosis of each column, the mean cube and fourth power of x_hat."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return (z**3).mean(axis=0), (z**4).mean(axis=0)


def without_class_means(x: NDArray[np.floating], labels: NDArray[np.integer]) -> Values:
    """Return x, of shape (N, units), with the mean of its own class subtracted from each row."""
    rest = np.array(x, float)
    for label in np.unique(labels):
        rest[labels == label] -= rest[labels == label].mean(axis=0)
    return rest


def spread_of_variance(kurtosis: ArrayLike, m: ArrayLike) -> Values:
    """Return the standard deviation of a mini-batch's biased variance, in units of the true one.

    Exact for m independent values of that kurtosis. For a Gaussian, of kurtosis 3, it is
    ``sqrt(2 * (m - 1)) / m``.
    """
    kurtosis, m = np.asarray(kurtosis, float), np.asarray(m, float)
    spread: Values = np.sqrt((m - 1) * ((kurtosis - 1) * (m - 1) + 2) / m**3)
    return spread


def measure(
    x: NDArray[np.floating], m: int, batches: int, rng: np.random.Generator
) -> dict[str, float]:
    """Draw mini-batches from a population and say how far their statistics are from its own.

    Parameters
    ----------
    x : array, shape (N, units)
        The population; each unit is treated by itself.
    m, batches : int
        Values in a mini-batch, and how many mini-batches.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to float
        Medians over the units. With M, V for the population's mean and variance, and in root
        mean square over the mini-batches: `mean_error` of (mean - M) / sqrt(V), and `noise` of
        what x_hat differs from (x - M) / sqrt(V). Then mean and standard deviation of var / V,
        `var_mean` and `var_std`, and `var_std_theory`, from the kurtosis.
    """
    population, variance = x.mean(axis=0), x.var(axis=0)  # (units,)
    nothing = np.zeros(len(x), np.uint8)  # in place of labels
    means, variances = [], []
    for batch, _ in minibatches(x, nothing, m, rng=rng, steps=batches):
        _, cache = batch_norm_forward(batch)
        means.append((cache.mean - population) / np.sqrt(variance))
        variances.append(cache.var / variance)
    mean, var = np.array(means), np.array(variances)  # (batches, units)
    per_unit = {
        "mean_error": np.sqrt((mean**2).mean(axis=0)),
        "var_mean": var.mean(axis=0),
        "var_std": var.std(axis=0),
        "var_std_theory": spread_of_variance(skewness_and_kurtosis(x)[1], m),
        # the mean square of x_hat - (x - M) / sqrt(V) over one mini-batch, at eps = 0
        "noise": np.sqrt((mean**2 + (1 - np.sqrt(var)) ** 2).mean(axis=0)),
    }
    return {name: float(np.median(values)) for name, values in per_unit.items()}


def one_example(
    x: NDArray[np.floating], i: int, m: int, batches: int, rng: np.random.Generator
) -> Values:
    """Return what becomes of one example: its x_hat in many mini-batches, (batches, units).

    Parameters
    ----------
    x : array, shape (N, units)
    i : int
        The example; the other m - 1 of each mini-batch are drawn from the rest.
    m, batches : int
    rng : numpy.random.Generator
    """
    others = np.delete(x, i, axis=0)
    values = []
    for _ in range(batches):
        chosen = rng.choice(len(others), m - 1, replace=False, shuffle=False)
        _, cache = batch_norm_forward(np.concatenate([x[i : i + 1], others[chosen]]))
        values.append(cache.x_hat[0])
    return np.array(values)


STUDIES = ("estimates",)


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name: there is one.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    if study not in STUDIES:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    config = Config()
    return {"bn": config if steps is None else replace(config, steps=steps)}


def protocol(study: str) -> Protocol:
    """Return what the study is about."""
    return Protocol("how well mini-batches of several sizes estimate the statistics of one network")


def run_task(config: Config, seed: int, label: str | None) -> Run:
    """Fetch the data and make one run: what a study does for each of its runs."""
    return run(config, seed, mnist(binarize=True, progress=False), progress=label)
