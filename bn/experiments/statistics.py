"""The statistics of a network's batch norms as one row of numbers: of a mini-batch, and running."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bn.experiments.numpy_training import Batch, NumpyLearner
from bn.layers import Sequential, softmax_cross_entropy
from bn.reference import BatchNorm

Values = NDArray[np.floating]

#: Weights of the new value. 0.1 is PyTorch's default, 0.01 that of Keras and Flax, which call it
#: 0.99; 0.99 is what comes of taking over their number.
MOMENTA = (0.99, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
#: The one whose average is also corrected for its start.
CORRECTED = 0.01
DEFAULT = 0.1


def batch_norms(network: Sequential) -> list[BatchNorm]:
    """Return the batch norms of a network, the lowest first."""
    return [layer for layer in network.layers if isinstance(layer, BatchNorm)]


def batch_statistics(network: Sequential) -> tuple[Values, Values, int]:
    """Return mean and biased variance of the last mini-batch, all layers' units in one row, and m.

    The network was in training mode.
    """
    caches = [norm.cache for norm in batch_norms(network) if norm.cache is not None]
    mean = np.concatenate([cache.mean for cache in caches])
    return mean, np.concatenate([cache.var for cache in caches]), int(caches[0].count[0])


def put_statistics(network: Sequential, mean: Values, var: Values) -> None:
    """Put statistics, all units in one row, into the layers; leave it in inference mode."""
    start = 0
    for norm in batch_norms(network):
        part = slice(start, start := start + norm.num_features)
        norm.running_mean, norm.running_var = mean[part].copy(), var[part].copy()
    network.train(False)


def statistics_of(network: Sequential, batches: list[Values]) -> tuple[Values, Values]:
    """Return means and biased variances of mini-batches, each (batches, units), in training mode.

    The network's running statistics move; it is left in training mode.
    """
    # [collect]
    network.train(True)
    found = []
    for x in batches:
        network.forward(x)
        found.append(batch_statistics(network)[:2])
    means, variances = zip(*found, strict=True)
    # [/collect]
    return np.array(means), np.array(variances)


def judged(network: Sequential, x: Values, labels: NDArray[np.integer]) -> tuple[float, float]:
    """Return accuracy and mean loss of images in the mode that the network is in."""
    scores = network.forward(x)
    with np.errstate(over="ignore", invalid="ignore"):
        loss, _ = softmax_cross_entropy(scores, labels)
    return float(np.mean(scores.argmax(axis=1) == labels)), loss


def distance(mean: Values, var: Values, true_mean: Values, true_var: Values) -> tuple[float, float]:
    """Return how far statistics are from the true ones, in root mean square over units.

    Of the mean in true standard deviations, and of the logarithm of the standard deviation.
    """
    of_mean = np.sqrt(np.mean((mean - true_mean) ** 2 / true_var))
    return float(of_mean), float(np.sqrt(np.mean((np.log(var / true_var) / 2) ** 2)))


def running_statistics(network: Sequential) -> tuple[Values, Values]:
    """Return running mean and variance, all layers' units in one row."""
    norms = batch_norms(network)
    mean = np.concatenate([norm.running_mean for norm in norms])
    return mean, np.concatenate([norm.running_var for norm in norms])


class MovingAverages:
    """Moving averages of the units' statistics at all momenta, and the plain average."""

    def __init__(self, units: int) -> None:
        self.weights = np.array(MOMENTA)[:, None]
        self.mean, self.var = np.zeros((len(MOMENTA), units)), np.ones((len(MOMENTA), units))
        self.plain_mean, self.plain_var = np.zeros(units), np.ones(units)
        self.count = 0

    def update(self, mean: Values, var: Values) -> None:
        """Move them towards a mini-batch's mean and unbiased variance."""
        self.count += 1
        self.mean += self.weights * (mean - self.mean)
        self.var += self.weights * (var - self.var)
        self.plain_mean += (mean - self.plain_mean) / self.count
        self.plain_var += (var - self.plain_var) / self.count

    def all(self) -> dict[str, tuple[Values, Values]]:
        """Return the statistics by name."""
        found = {f"{p:g}": (self.mean[i], self.var[i]) for i, p in enumerate(MOMENTA)}
        mean, var = found[f"{CORRECTED:g}"]
        start = (1 - CORRECTED) ** self.count  # the weight that 0 and 1 still have
        found["corrected"] = mean / (1 - start), (var - start) / (1 - start)
        found["cumulative"] = self.plain_mean, self.plain_var
        return found


class WatchedLearner(NumpyLearner):
    """A learner that keeps moving averages of every mini-batch's statistics."""

    def __init__(self, network: Sequential, *given: Any, **settings: Any) -> None:
        super().__init__(network, *given, **settings)
        units = sum(norm.num_features for norm in batch_norms(network))
        self.averages = MovingAverages(units)

    def step(self, batch: Batch) -> float:
        """Do one step, and update the averages with the statistics that it used."""
        loss = super().step(batch)
        mean, var, m = batch_statistics(self.network)
        self.averages.update(mean, var * m / (m - 1))
        return loss
