"""One example among other examples: what batch norm makes of it, by theory and as measured.

The network of section 4.1 is trained on binary MNIST. Then two things are looked at. The inputs
of its last batch norm, with the layers below in inference mode, are a population; an example of it
is put among companions that are drawn anew many times. And images go through the whole network in
training mode, in mini-batches that are drawn anew many times.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bn.data import ImageDataset
from bn.experiments import mnist as paper
from bn.experiments.estimates import Values, around_last_linear, skewness_and_kurtosis
from bn.experiments.protocol import Protocol
from bn.experiments.statistics import put_statistics, running_statistics
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final
from bn.layers import Sequential

#: Sizes of the mini-batches, the example itself included; 60 is the one trained with.
SIZES = (4, 16, 60)
#: Middles and width of the intervals of the example's value, in standard deviations.
BINS = np.arange(-2.0, 2.01, 0.5)
WIDTH = 0.5
#: Sizes of the mini-batches that go through the whole network.
OUTPUT_SIZES = (4, 16, 60, 250)


# [one-example]
# paper: s34-noise
def among(z: ArrayLike, mean: ArrayLike, var: ArrayLike, m: int) -> Values:
    """Return x_hat of an example from the statistics of its m - 1 companions, at eps = 0.

    Parameters
    ----------
    z : array
        The example's value.
    mean, var : array
        Mean and biased variance of its companions.
    m : int
        Examples in the mini-batch, this one included.
    """
    t = (np.asarray(z) - mean) / np.sqrt(var)
    x_hat: Values = np.sqrt((m - 1) / m) * t / np.sqrt(1 + t * t / m)
    return x_hat


def noise_of(z: ArrayLike, skewness: ArrayLike, kurtosis: ArrayLike, m: int) -> tuple[Values, ...]:
    """Return the standard deviation of x_hat over companions by theory: leading, and with itself.

    Parameters
    ----------
    z : array
        The example's value in the population's units, (x - M) / sqrt(V).
    skewness, kurtosis : array
        Of the population.
    m : int
    """
    z, skewness, kurtosis = (np.asarray(each, float) for each in (z, skewness, kurtosis))
    variance = np.maximum(1 + skewness * z + (kurtosis - 1) * z * z / 4, 0) / m
    return np.sqrt(variance), np.sqrt(variance / (1 + z * z / m) ** 3)


def shift_of(z: ArrayLike, skewness: ArrayLike, kurtosis: ArrayLike, m: int) -> Values:
    """Return by how much the mean of x_hat over companions differs from z, to first order."""
    z, skewness, kurtosis = (np.asarray(each, float) for each in (z, skewness, kurtosis))
    shift: Values = (3 * (kurtosis - 1) / 8 * z + skewness / 2 - z**3 / 2) / m
    return shift


# [/one-example]
@dataclass(frozen=True)
class Config(paper.Config):
    """Settings of one run: those of the training, and the following.

    Attributes
    ----------
    examples, draws : int
        Examples that are followed, and how many times their companions are drawn.
    images, orders : int
        Training images that go through the whole network, in so many orders.
    """

    batch_norm: bool = True
    steps: int = 5000
    examples: int = 100
    draws: int = 500
    images: int = 2000
    orders: int = 10

    def begin(self, seed: int, data: ImageDataset) -> "CompanionsTrial":
        """Return the run, with its network as it starts."""
        return CompanionsTrial(self, seed, data)


class CompanionsTrial(paper.MnistTrial):
    """One network, measured after training.

    The curve has one entry for each interval of z, its middle, and for each m the root mean
    squares over examples and units there: `std_m` of x_hat over companions, `leading_m` and
    `theory_m` of :func:`noise_of`; and the means `shift_m` and `shift_theory_m`. ``final`` has
    `noise_m`, `noise_leading_m` and `noise_theory_m`, over all examples and units. For the whole
    network, with mini-batches of m, `flips_m` is the share of images and orders in which the class
    is another one than in one mini-batch of all these images, and `spread_m` the standard
    deviation of the probability of the right class over the orders, as a root mean square over
    images.
    """

    config: "Config"

    def __init__(self, config: "Config", seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.seed = seed

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Measure both."""
        config, network = self.config, self.learner.network
        _, x = around_last_linear(network, self.train_x.astype(np.float32))
        final: Final = {"test_accuracy": self.accuracy()}
        curve: Curve = {"z": [float(each) for each in BINS]}
        for m in SIZES:
            rng = np.random.default_rng([self.seed, 2, m])
            columns, figures = follow(x, m, config.examples, config.draws, rng)
            curve |= {f"{name}_{m}": values for name, values in columns.items()}
            final |= {f"{name}_{m}": value for name, value in figures.items()}
        rng = np.random.default_rng([self.seed, 3])
        chosen = rng.permutation(len(self.train_x))[: config.images]
        images, labels = self.train_x[chosen].astype(np.float32), self.train_labels[chosen]
        for m in OUTPUT_SIZES:
            flips, spread = outputs(network, images, labels, m, config.orders, rng)
            final |= {f"flips_{m}": flips, f"spread_{m}": spread}
        return curve, final


def follow(
    x: NDArray[np.floating], m: int, examples: int, draws: int, rng: np.random.Generator
) -> tuple[Curve, Final]:
    """Put examples among m - 1 companions many times, and compare x_hat with the theory.

    Parameters
    ----------
    x : array, shape (N, units)
        The population. The first of a random order are the examples, the others companions.
    m, examples, draws : int
    rng : numpy.random.Generator
    """
    skewness, kurtosis = skewness_and_kurtosis(x)  # (units,)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    order = rng.permutation(len(z))
    z, others = z[order[:examples]], z[order[examples:]]
    means, variances = [], []
    for _ in range(draws):
        drawn = others[rng.integers(0, len(others), m - 1)]  # (m - 1, units)
        means.append(drawn.mean(axis=0))
        variances.append(drawn.var(axis=0))
    mean, var = np.array(means), np.array(variances)  # (draws, units)
    # one example at a time: (draws, units)
    each = [among(one, mean, var, m) for one in z]
    variance = np.array([values.var(axis=0) for values in each])  # (examples, units)
    shift = np.array([values.mean(axis=0) for values in each]) - z
    leading, theory = noise_of(z, skewness, kurtosis, m)
    expected = shift_of(z, skewness, kurtosis, m)
    curve: Curve = {"std": [], "leading": [], "theory": [], "shift": [], "shift_theory": []}
    for middle in BINS:
        here = np.abs(z - middle) < WIDTH / 2
        squares = {"std": variance, "leading": leading**2, "theory": theory**2}
        for name, values in squares.items():
            curve[name].append(float(np.sqrt(values[here].mean())))
        curve["shift"].append(float(shift[here].mean()))
        curve["shift_theory"].append(float(expected[here].mean()))
    final: Final = {
        "noise": float(np.sqrt(variance.mean())),
        "noise_theory": float(np.sqrt((theory**2).mean())),
        "noise_leading": float(np.sqrt((leading**2).mean())),
    }
    return curve, final


def outputs(
    network: Sequential,
    images: NDArray[np.floating],
    labels: NDArray[np.integer],
    m: int,
    orders: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return how often the class changes with the companions, and how the probability spreads.

    The class that others are compared with is that in one mini-batch of all the images. The
    network is left in inference mode, its running statistics as they are. Images that do not fill
    a mini-batch are left out of that order.
    """
    kept = running_statistics(network)
    network.train(True)
    usual = network.forward(images).argmax(axis=1)
    probability = np.full((orders, len(images)), np.nan)
    other = seen = 0
    for i in range(orders):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - m + 1, m):
            batch = order[start : start + m]
            scores = network.forward(images[batch]).astype(np.float64)
            other += int(np.sum(scores.argmax(axis=1) != usual[batch]))
            seen += m
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            right = np.take_along_axis(e, labels[batch, None].astype(int), axis=1)[:, 0]
            probability[i, batch] = right / e.sum(axis=1)
    put_statistics(network, *kept)
    several = np.isfinite(probability).sum(axis=0) > 1
    spread = np.nanvar(probability[:, several], axis=0, ddof=1)
    return other / seen, float(np.sqrt(spread.mean()))


STUDIES = ("companions",)


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    if study not in STUDIES:
        raise ValueError(f"study is {study!r}, expected {STUDIES[0]}")
    return {"bn": Config() if steps is None else replace(Config(), steps=steps)}


def protocol(study: str) -> Protocol:
    """Return what the study is about."""
    return Protocol("what becomes of one example among other companions, in one network")
