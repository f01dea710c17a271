"""The networks of the paper's experiments."""

import itertools
import math

import numpy as np

from bn.experiments.statistics import batch_norms, put_statistics, statistics_of
from bn.layers import Linear, Sequential, Sigmoid
from bn.layers.dense import Array, Layer
from bn.reference import BatchNorm, population_statistics


# paper: s41-network, s31-insert, eq-layer
def mnist_network(
    *,
    batch_norm: bool,
    std: float,
    rng: np.random.Generator,
    hidden: int = 100,
    depth: int = 3,
    eps: float = 1e-5,
    fan_in: bool = False,
) -> Sequential:
    """Build the network of section 4.1: 784 binary inputs, 3 × 100 sigmoids, 10 scores.

    Parameters
    ----------
    batch_norm : bool
        Whether each hidden layer is ``sigmoid(BN(Wu))`` (without b) or ``sigmoid(Wu + b)``.
    std : float
        Standard deviation of the Gaussian initial weights; the paper says only "small".
    rng : numpy.random.Generator
        Draws the weights. Equal generators give both kinds of network the same weights.
    hidden, depth : int
        Units per hidden layer, hidden layers.
    eps : float
        Of batch normalization; the paper does not state it.
    fan_in : bool
        Divide `std` by the root of a layer's number of inputs, so that each has its own.
    """
    sizes = [784] + [hidden] * depth

    def linear(inputs: int, outputs: int, bias: bool = True) -> Linear:
        scale = std / math.sqrt(inputs) if fan_in else std
        return Linear(inputs, outputs, std=scale, rng=rng, bias=bias)

    layers: list[Layer] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers.append(linear(inputs, outputs, bias=not batch_norm))
        if batch_norm:
            layers.append(BatchNorm(outputs, eps=eps))
        layers.append(Sigmoid())
    layers.append(linear(hidden, 10))
    return Sequential(layers)


# paper: fig-1bc
def last_sigmoid_inputs(network: Sequential, x: Array) -> tuple[Array, Array]:
    """Run the network; return the inputs of its last sigmoid layer, (N, hidden), and the scores."""
    last = max(i for i, layer in enumerate(network.layers) if isinstance(layer, Sigmoid))
    for layer in network.layers[:last]:
        x = layer.forward(x)
    inputs = x
    for layer in network.layers[last:]:
        x = layer.forward(x)
    return inputs, x


# paper: alg-2
def use_population_statistics(network: Sequential, batches: list[Array]) -> None:
    """Put Algorithm 2's estimates into the running statistics of every batch-norm layer.

    Parameters
    ----------
    network : Sequential
        Trained; is left in inference mode. A network without batch norm is left as it is.
    batches : list of array
        Training mini-batches of equal size, processed with their own statistics.
    """
    if batch_norms(network):
        means, variances = statistics_of(network, batches)
        mean, var = population_statistics(means, variances, m=len(batches[0]))
        put_statistics(network, mean, var)
    network.train(False)
