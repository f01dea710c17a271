"""How well a mini-batch estimates mean and variance, on real inputs of batch normalization.

The network of section 4.1 is trained as for the record ``mnist-paper``. Then the inputs of its
last batch-norm layer, one value per training image and unit, are the population, and
mini-batches are drawn from it as in training. The layers below are in inference mode, so that
the value of an image does not depend on its neighbours and the theory's assumption holds: m
values drawn from one distribution.

A second study, ``estimates-layers``, looks at every batch-norm layer, and at where the assumption
does not hold: with the layers below in training mode, and in a convolutional network, where the
values of one image are not independent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bn.data import ImageDataset, cifar10, minibatches, mnist
from bn.experiments import mnist as paper
from bn.experiments.networks import use_population_statistics
from bn.experiments.protocol import Protocol
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, Settings, Trial, of_length
from bn.layers import Sequential
from bn.reference import batch_norm_forward

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

    def begin(self, seed: int, data: ImageDataset) -> "EstimatesTrial":
        """Return the run, with its network as it starts."""
        return EstimatesTrial(self, seed, data)


class EstimatesTrial(paper.MnistTrial):
    """One network, and its mini-batches measured after training.

    The curve holds, per size of the mini-batch, what :func:`measure` returns for the last hidden
    layer; ``final`` repeats it for the size trained with. The shapes in ``final`` are medians
    over units: `skewness` (its size) and `kurtosis` of u, the input of that layer's weights, and
    of x = Wu; `kurtosis_x_within` is that of x minus the mean of its class.
    """

    config: "Config"

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.seed = seed

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Measure mini-batches of every size."""
        u, x = around_last_linear(self.learner.network, self.train_x.astype(np.float32))
        curves = [
            measure(x, size, self.config.batches, np.random.default_rng([self.seed, 2, size]))
            for size in SIZES
        ]
        final: Final = {"test_accuracy": self.accuracy()}
        for name, values in (("u", u), ("x", x)):
            skewness, kurtosis = skewness_and_kurtosis(values)
            final[f"skewness_{name}"] = float(np.median(np.abs(skewness)))
            final[f"kurtosis_{name}"] = float(np.median(kurtosis))
        within = skewness_and_kurtosis(without_class_means(x, self.train_labels))[1]
        final["kurtosis_x_within"] = float(np.median(within))
        trained_with = curves[SIZES.index(TRAINED_WITH)]
        final |= {f"{name}_{TRAINED_WITH}": value for name, value in trained_with.items()}
        curve: Curve = {"size": [*SIZES]}
        curve |= {name: [each[name] for each in curves] for name in curves[0]}
        return curve, final


def around_last_linear(network: Sequential, images: NDArray[np.floating]) -> tuple[Values, Values]:
    """Return u and Wu of the last hidden layer: what goes into its weights, and into its BN.

    The network is put into inference mode, and stays so.
    """
    network.train(False)
    return around_norms(network, images)[-1]


def around_norms(network: Any, x: Any) -> list[tuple[Values, Values]]:
    """Return u and Wu for each weight in front of a batch norm, in the mode the network is in.

    `network` is a :class:`bn.layers.Sequential` or a ``torch.nn.Sequential``. Maps of shape
    (N, C, H, W) come as (N, H·W, C).
    """
    found, u = [], x
    for layer in getattr(network, "layers", network):
        if hasattr(layer, "running_mean"):
            found.append((_channels_last(u), _channels_last(x)))
        u, x = x, layer.forward(x)
    return found


def _channels_last(x: Any) -> Values:
    # a copy, as torch's ReLU works in place
    values = np.asarray(x).astype(np.float64)
    return values if values.ndim == 2 else values.reshape(*values.shape[:2], -1).swapaxes(1, 2)


def skewness_and_kurtosis(x: NDArray[np.floating]) -> tuple[Values, Values]:
    """Return skewness and kurtosis of each column, the mean cube and fourth power of x_hat."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    square = z * z
    return (square * z).mean(axis=0), (square * square).mean(axis=0)


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


@dataclass(frozen=True)
class LayersConfig(Settings):
    """Settings of one run of ``estimates-layers``.

    Attributes
    ----------
    network : {"mnist", "cifar"}
        That of section 4.1, or that of :mod:`bn.experiments.cifar`; both with batch norm.
    steps, lr, batch_size
        Of the training; what is not said here is as in those experiments.
    images : int
        So many training images are measured on.
    """

    network: str
    steps: int
    lr: float
    batch_size: int
    images: int

    def fetch(self) -> ImageDataset:
        """Return the binary MNIST, or CIFAR-10."""
        if self.network == "cifar":
            return cifar10(progress=False)
        return mnist(binarize=True, progress=False)

    def begin(self, seed: int, data: ImageDataset) -> "LayersTrial":
        """Return the run, with its network as it starts."""
        return LayersTrial(self, seed, data)


class LayersTrial(Trial):
    """One network, and what is measured around each of its batch norms after training.

    The curve has one entry a layer, the lowest first, and ``final`` repeats it with the layer's
    number. All are medians over units: `skewness` (its size) and `kurtosis` of u and x = Wu, and
    how much smaller their distance from a Gaussian's is in x (`skewness_gain`, `kurtosis_gain`).
    `mean_values` and `var_values` say how many independent values would have a mean and a
    variance that scatter as those do of a mini-batch (MNIST) or over one image (CIFAR-10), and
    `values` how many it has. For MNIST they are followed by `noise`, as in :func:`measure`, and
    `training_` is put before those of the three that are taken with the layers below in training
    mode; `noise_ratio` is the quotient of the two noises.
    """

    def __init__(self, config: "LayersConfig", seed: int, data: ImageDataset) -> None:
        self.config, self.seed = config, seed
        self.inner = _cifar_trial(config, seed, data) if config.network == "cifar" else Config(
            steps=config.steps, lr=config.lr, batch_size=config.batch_size
        ).begin(seed, data)  # fmt: skip
        self.learner, self.steps = self.inner.learner, self.inner.steps

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Measure around every batch norm."""
        measure_layers = _cifar_layers if self.config.network == "cifar" else _mnist_layers
        layers, accuracy = measure_layers(self.inner, self.config, self.seed)
        curve: Curve = {"layer": [*range(1, len(layers) + 1)]}
        curve |= {name: [layer[name] for layer in layers] for name in layers[0]}
        final: Final = {"test_accuracy": accuracy}
        for i, layer in enumerate(layers, start=1):
            final |= {f"{name}_{i}": value for name, value in layer.items()}
        return curve, final


def _mnist_layers(
    trial: Any, config: LayersConfig, seed: int
) -> tuple[list[dict[str, float]], float]:
    network, images = trial.learner.network, trial.train_x
    order = np.random.default_rng([seed, 2]).permutation(len(images))[: config.images]
    batches = np.split(images[order].astype(np.float32), config.images // config.batch_size)
    use_population_statistics(network, batches)
    accuracy = trial.accuracy()
    at_inference = around_norms(network, np.concatenate(batches))
    network.train(True)
    in_training = [around_norms(network, batch) for batch in batches]
    layers = []
    for i, (u, x) in enumerate(at_inference):
        fixed = x.reshape(len(batches), -1, x.shape[1])  # (batches, m, units)
        moved = np.array([each[i][1] for each in in_training])
        figures = shapes(u, x) | scatter(fixed)
        figures |= {f"training_{name}": value for name, value in scatter(moved).items()}
        population = (fixed - x.mean(axis=0)) / x.std(axis=0)
        for name, values in (("noise", fixed), ("training_noise", moved)):
            centred = values - values.mean(axis=1, keepdims=True)
            off = centred / centred.std(axis=1, keepdims=True) - population
            figures[name] = float(np.median(np.sqrt((off**2).mean(axis=(0, 1)))))
        figures["noise_ratio"] = figures["training_noise"] / figures["noise"]
        layers.append(figures)
    return layers, accuracy


def _cifar_trial(config: LayersConfig, seed: int, data: ImageDataset) -> Trial:
    import torch  # imported here: the other study does not need it

    from bn.experiments import cifar

    epochs = config.steps * config.batch_size / len(data.train_images)
    recipe = cifar.Config(
        batch_norm=True, lr=config.lr, batch_size=config.batch_size, epochs=epochs
    )
    cpu = torch.device("cpu")
    return cifar.CifarTrial(recipe, seed, data, device=cpu, precision="float32")


def _cifar_layers(
    trial: Any, config: LayersConfig, seed: int
) -> tuple[list[dict[str, float]], float]:
    import torch

    network = trial.learner.network
    with torch.no_grad():
        # in inference mode, so one batch will do
        x, _ = next(trial.learner.images.in_order(config.images))
        around = around_norms(network, x)
    accuracy = trial.evaluate(trial.steps, 0.0)["accuracy"]
    return [shapes(u, x) | scatter(x) for u, x in around], accuracy


def shapes(u: Values, x: Values) -> dict[str, float]:
    """Return how far u and x, with the channels on the last axis, are from a Gaussian's shape."""
    of: dict[str, float] = {}
    for name, values in (("u", u), ("x", x)):
        values = values.reshape(-1, values.shape[-1])
        varied = values[:, np.ptp(values, axis=0) > 0]  # some pixels are 0 in every image
        skewness, kurtosis = skewness_and_kurtosis(varied)
        of[f"skewness_{name}"] = float(np.median(np.abs(skewness)))
        of[f"kurtosis_{name}"] = float(np.median(kurtosis))
    of["skewness_gain"] = of["skewness_u"] - of["skewness_x"]
    of["kurtosis_gain"] = abs(of["kurtosis_u"] - 3) - abs(of["kurtosis_x"] - 3)
    return of


def scatter(x: Values) -> dict[str, float]:
    """Return how many independent values scatter as little as groups of values do.

    Parameters
    ----------
    x : array, shape (groups, values, channels)

    Returns
    -------
    dict of str to float
        Medians over channels: `mean_values` for the mean of a group, `var_values` for the mean
        of the squared distances from the population's mean. Both are `values` where the values
        of a group are independent draws, and 1 where they are all equal.
    """
    squares = (x - x.mean(axis=(0, 1))) ** 2
    of = {"values": float(x.shape[1])}
    for name, values in (("mean_values", x), ("var_values", squares)):
        independent = values.var(axis=(0, 1)) / values.mean(axis=1).var(axis=0, ddof=1)
        of[name] = float(np.median(independent))
    return of


STUDIES = ("estimates", "estimates-layers")


def arms(study: str, steps: int | None = None) -> dict[str, Any]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    chosen: dict[str, Any]
    if study == "estimates":
        chosen = {"bn": Config()}
    elif study == "estimates-layers":
        chosen = {
            "mnist": LayersConfig("mnist", steps=10_000, lr=0.1, batch_size=60, images=60_000),
            "cifar": LayersConfig("cifar", steps=195, lr=0.5, batch_size=128, images=500),
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def protocol(study: str) -> Protocol:
    """Return what the study is about."""
    if study == "estimates-layers":
        return Protocol("how normal the inputs of two networks' batch norms are, and how dependent")
    return Protocol("how well mini-batches of several sizes estimate the statistics of one network")
