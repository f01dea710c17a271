"""How far the inputs of a network's sigmoids lie from 0, and how they move as it trains.

The paper calls the movement internal covariate shift (section 1) and gives no number for it;
the measures here are our choice.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bn.experiments.mnist import PERCENTILES
from bn.layers import Sequential, Sigmoid
from bn.layers.dense import Array
from bn.reference import BatchNorm, batch_norm_forward

#: An input this far from 0 counts as saturated: the slope there is 0.0177, a fourteenth of the
#: steepest, and three such layers pass on less than a hundred-thousandth of a gradient.
SATURATED = 4.0  # paper: s1-saturation


def sigmoid_inputs(network: Sequential, x: Array, *, of_batch: bool = True) -> list[Array]:
    """Return the inputs of every sigmoid layer of a network, each of shape (N, units).

    Parameters
    ----------
    network : Sequential
        Its running statistics stay as they are.
    x : array, shape (N, features)
    of_batch : bool
        True: batch norm normalizes with the statistics of `x`, as in a training step with so
        many images. False: with its running statistics, as at inference.
    """
    inputs = []
    for layer in network.layers:
        if isinstance(layer, Sigmoid):
            inputs.append(x)
        if isinstance(layer, BatchNorm) and of_batch:
            x, _ = batch_norm_forward(x, layer.gamma, layer.beta, eps=layer.eps)
        elif isinstance(layer, BatchNorm):
            mode, layer.training = layer.training, False
            x = layer.forward(x)
            layer.training = mode
        else:
            x = layer.forward(x)
    return inputs


# paper: s1-ics
def drift(mean: NDArray[np.floating], std: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how far the mean input of each unit wanders, in units of its standard deviation.

    Parameters
    ----------
    mean, std : array, shape (measurements, units)
        Over images, of each unit's input, at each measurement.

    Returns
    -------
    array, shape (units,)
        (largest - smallest mean) / mean over training of the standard deviation; NaN for a
        unit whose input is always the same for all images.
    """
    # [drift]
    wander = np.ptp(mean, axis=0)
    return quotient(wander, std.mean(axis=0))
    # [/drift]


def reordered(before: Array, after: Array) -> NDArray[np.floating]:
    """Return how much of each unit's pattern over images is new: 1 - r², from 0 to 1.

    Here r is the correlation of a unit's inputs before and after, over the same images. Moving
    or stretching all of them alike leaves it at 1, so this sees what mean and standard
    deviation cannot.

    Parameters
    ----------
    before, after : array, shape (N, units)

    Returns
    -------
    array, shape (units,)
        NaN for a unit whose input is the same for all images.
    """
    one, two = (
        np.asarray(x, np.float64) - x.mean(axis=0, dtype=np.float64) for x in (before, after)
    )
    product = (one * two).sum(axis=0)
    return 1 - quotient(product**2, (one**2).sum(axis=0) * (two**2).sum(axis=0))


def saturated(x: Array) -> float:
    """Return the share of inputs that are farther than 4 from 0, where a sigmoid is nearly flat."""
    return float(np.mean(np.abs(x) > SATURATED))


def quotient(one: NDArray[np.floating], two: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return one / two, NaN where two is 0."""
    out = np.full(np.shape(one), np.nan)
    np.divide(one, two, out=out, where=two != 0)
    return out


class Track:
    """What is kept of the inputs of one layer as the network trains."""

    def __init__(self) -> None:
        self.mean: list[Array] = []  # each of shape (units,)
        self.std: list[Array] = []
        self.percentiles: list[Array] = []  # each of shape (3, units)
        self.reordered: list[float] = []
        self.saturated: list[float] = []
        self._before: Array | None = None

    def add(self, x: Array) -> None:
        """Measure inputs x, shape (N, units), of the same N images at each call."""
        self.mean.append(x.mean(axis=0, dtype=np.float64))
        self.std.append(x.std(axis=0, dtype=np.float64))
        self.percentiles.append(np.percentile(x, PERCENTILES, axis=0))
        self.saturated.append(saturated(x))
        new = math.nan if self._before is None else np.median(reordered(self._before, x))
        self.reordered.append(float(new))
        self._before = x.copy()

    def drift(self) -> NDArray[np.floating]:
        """Return the drift of each unit so far, shape (units,)."""
        return drift(np.stack(self.mean), np.stack(self.std))

    def curve(self) -> dict[str, list[float]]:
        """Return what a record keeps of every measurement: medians over units, and one unit."""
        drifts = self.drift()
        typical = int(np.argsort(drifts)[len(drifts) // 2])
        tracks = np.stack(self.percentiles)[:, :, typical]  # (measurements, 3)
        return {
            "offset": np.median(np.abs(self.mean), axis=1).tolist(),
            "spread": np.median(self.std, axis=1).tolist(),
            "saturated": self.saturated,
            "reordered": self.reordered,
            **{f"p{p}": tracks[:, i].tolist() for i, p in enumerate(PERCENTILES)},
        }

    def final(self) -> dict[str, float]:
        """Return the figures of the whole training."""
        between = self.reordered[1:]
        return {
            "drift": float(np.median(self.drift())),
            "wander": float(np.median(np.ptp(self.mean, axis=0))),
            "start_spread": float(np.median(self.std[0])),
            "spread": float(np.median(self.std[-1])),
            "saturated": self.saturated[-1],
            "reordered": float(np.mean(between)) if between else math.nan,
        }
