"""Section 3.3 of the paper: how near 1 the singular values of a layer's Jacobian are.

The paper conjectures it for two consecutive layers whose inputs are normalized. A layer is
therefore what leads from one set of normalized values to the next: the nonlinearity (with gamma
and beta before it), the weights, and the normalization. ``depth`` looks at deep networks before
training, ``training`` at the network of section 4.1 before and after it.

Two matrices can be meant. With the statistics held as numbers the Jacobian is a matrix for each
example, of the outputs of that example for its inputs: :func:`layer_jacobians`. As a map of the
whole mini-batch the layer couples the examples: :func:`batch_jacobian`. What a gradient meets on
its way down is the second one; :class:`DepthTrial` measures that too.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bn.data import ImageDataset
from bn.experiments.mnist import MnistTrial
from bn.experiments.protocol import Protocol
from bn.experiments.rates import Config, RatesTrial, build
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final
from bn.layers import Linear, Sequential, Sigmoid
from bn.layers.dense import Array, Layer
from bn.reference import BatchNorm, batch_norm_forward

#: Percentiles of the singular values that are recorded.
PERCENTILES = (5, 25, 50, 75, 95)
#: Singular values within this factor of 1 count as near it.
NEAR = 2.0
#: Examples whose matrices are taken.
EXAMPLES = 10


class Block(NamedTuple):
    """A hidden layer, as a batch goes through it.

    Attributes
    ----------
    weight : array, shape (inputs, units)
    r : array, shape (units,)
        What the normalization multiplies with; 1 where there is none.
    x_hat : array, shape (N, units)
        The normalized values; where nothing is normalized, the values themselves.
    slope : array, shape (N, units)
        Derivative of the hidden layer's output for `x_hat`.
    output : array, shape (N, units)
    """

    weight: Array
    r: Array
    x_hat: Array
    slope: Array
    output: Array


def blocks(network: Sequential, x: Array) -> list[Block]:
    """Return the hidden layers of a network, with the statistics of the batch x, in float64."""
    found = []
    layers = iter(network.layers[:-1])
    layer: Layer | None = next(layers)
    u: Array = np.asarray(x, np.float64)
    while layer is not None:
        assert isinstance(layer, Linear)
        weight: Array = layer.weight.astype(np.float64)
        value: Array = u @ weight + (0 if layer.bias is None else layer.bias)
        layer = next(layers, None)
        gamma: Array = np.ones(1)
        r: Array = np.ones(weight.shape[1])
        x_hat, y = value, value
        if isinstance(layer, BatchNorm):
            y, cache = batch_norm_forward(value, layer.gamma, layer.beta, eps=layer.eps)
            x_hat, r = cache.x_hat, cache.inv_std
            gamma = np.ones(1) if layer.gamma is None else layer.gamma
            layer = next(layers, None)
        slope: Array = np.ones_like(y)
        if layer is not None and not isinstance(layer, Linear):
            y = layer.forward(y)
            slope = y * (1 - y) if isinstance(layer, Sigmoid) else (y > 0).astype(np.float64)
            layer = next(layers, None)
        found.append(Block(weight, r, x_hat, slope * gamma, y))
        u = y
    return found


# paper: s33-singular-values
def layer_jacobians(below: Block, above: Block, examples: int) -> Array:
    """Return the matrices from x_hat to x_hat, the statistics held: (examples, units, units).

    Entry k, j of each is the derivative of value k above for value j below.
    """
    # [layer]
    slope = below.slope[:examples]  # (examples, inputs)
    jacobians: Array = above.r[:, None] * above.weight.T * slope[:, None, :]
    # [/layer]
    return jacobians


# paper: s33-singular-values
def batch_jacobian(below: Block, above: Block) -> Array:
    """Return the matrix of the layer as a map of the batch: (N · units, N · inputs).

    Example by example, and in each unit by unit. It holds the statistics' derivatives, for
    eps = 0: each unit has its projection of the chapter on the backward pass.
    """
    # [batch]
    m = len(above.x_hat)
    x_hat = above.x_hat.T  # (units, N)
    projections = np.eye(m) - 1 / m - x_hat[:, :, None] * x_hat[:, None, :] / m
    parts = "kil,jk,lj->iklj"  # output of example i, unit k, for example l, input j
    scaled = above.r[:, None, None] * projections
    whole = np.einsum(parts, scaled, above.weight, below.slope, optimize=True)
    # [/batch]
    rows, columns = m * len(x_hat), m * below.slope.shape[1]
    found: Array = whole.reshape(rows, columns)
    return found


def near_one(values: Array) -> float:
    """Return the share of singular values from one half to two."""
    return float(np.mean((values >= 1 / NEAR) & (values <= NEAR)))


def summary(values: Array) -> dict[str, float]:
    """Return percentiles of singular values, their rms, and the share that is near 1."""
    found = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
    found["rms"] = float(np.sqrt(np.mean(values**2)))
    found["near"] = near_one(values)
    found["largest"] = float(values.max())
    return found


def gradient_down(network: Sequential, x: Array, rng: np.random.Generator) -> list[float]:
    """Return the rms gradient for the outputs of each hidden Linear layer, from below.

    The gradient is a random one, drawn for the last of these outputs after its normalization,
    and comes down through the batch's statistics. The network is left in training mode.
    """
    network.train(True)
    network.forward(x)
    hidden = network.layers[:-1]
    while not isinstance(hidden[-1], Linear | BatchNorm):
        hidden = hidden[:-1]
    units = next(each for each in hidden[::-1] if isinstance(each, Linear)).weight.shape[1]
    dy: Array = rng.standard_normal((len(x), units))
    found = []
    for layer in reversed(hidden):
        if isinstance(layer, Linear):
            found.append(float(np.sqrt(np.mean(dy.astype(np.float64) ** 2))))
        dy = layer.backward(dy)
    return found[::-1]


@dataclass(frozen=True)
class DepthConfig(Config):
    """Settings of a deep network that is looked at, and not trained.

    Attributes
    ----------
    images : int
        In the mini-batch.
    """

    depth: int = 50
    hidden: int = 200
    images: int = 60

    def begin(self, seed: int, data: ImageDataset) -> "DepthTrial":
        """Return the run, with its network."""
        return DepthTrial(self, seed, data)


# paper: s33-singular-values
class DepthTrial(MnistTrial):
    """A deep network at initialization.

    The curve holds, for each hidden `layer` from the second on, the median `p50` and the `rms` of
    the singular values of its Jacobians with the statistics held, the median of their product
    from this layer to the last one, `together`, and `gradient`, the rms of a gradient that comes
    down, relative to where it starts. The figures are means over the layers 11 to 40; `alike` is
    the mean cosine between the outputs of two examples, behind the last layer.
    """

    config: Any

    def __init__(self, config: DepthConfig, seed: int, data: ImageDataset) -> None:
        self.seed = seed
        super().__init__(config, seed, data)  # type: ignore[arg-type]
        self.steps = 0

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network; equal generators give every kind the same weights."""
        return build(self.config, rng)

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Measure."""
        x = self.train_x[: self.config.images].astype(np.float64)
        network = self.learner.network
        every = blocks(network, x)
        gradient = gradient_down(network, x, np.random.default_rng([self.seed, 2]))
        rows = []
        product: Array | None = None
        for k in range(len(every) - 1, 0, -1):
            matrices = layer_jacobians(every[k - 1], every[k], EXAMPLES)
            # of the way down from the top, for one example: the product of the matrices
            product = matrices[0] if product is None else product @ matrices[0]
            row = {"layer": k + 1.0, **summary(np.linalg.svd(matrices, compute_uv=False))}
            row["together"] = float(np.median(np.linalg.svd(product, compute_uv=False)))
            row["gradient"] = gradient[k] / gradient[-1]
            row["alike"] = alike(every[k].output)
            rows.append(row)
        rows.reverse()
        kept = ("layer", "p50", "rms", "together", "gradient")
        curve: Curve = {name: [row[name] for row in rows] for name in kept}
        middle = [row for row in rows if 10 < row["layer"] <= 40] or rows
        final: Final = {
            name: float(np.mean([row[name] for row in middle]))
            for name in ("p5", "p50", "p95", "rms", "near", "largest")
        }
        first, last = middle[0], middle[-1]
        steps = last["layer"] - first["layer"]
        ratio = first["gradient"] / last["gradient"]
        final["growth"] = ratio ** (2 / steps)
        final["gradient"] = rows[0]["gradient"]
        final["alike"] = rows[-1]["alike"]
        return curve, final


def alike(output: Array) -> float:
    """Return the mean cosine of the angle between two examples, over all pairs."""
    lengths = np.linalg.norm(output, axis=1, keepdims=True)
    units = np.divide(output, lengths, out=np.zeros_like(output), where=lengths > 0)
    n = len(units)
    total = float(np.sum(units.sum(axis=0) ** 2) - np.sum(units**2))
    return total / (n * (n - 1))


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Settings of a network that is looked at while it trains.

    Attributes
    ----------
    images : int
        Whose statistics and matrices are taken.
    """

    images: int = 1000

    def begin(self, seed: int, data: ImageDataset) -> "TrainingTrial":
        """Return the run, with its network as it starts."""
        return TrainingTrial(self, seed, data)


# paper: s33-singular-values
class TrainingTrial(RatesTrial):
    """The network of section 4.1 with the singular values of its layers while it trains.

    The curve holds, for hidden layer k from the second on, the summary of the singular values of
    its Jacobians under names such as `p50_k`.
    """

    def __init__(self, config: TrainingConfig, seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)
        self.evaluate_at = {0, *(10**k for k in range(1, 6) if 10**k < self.steps), self.steps}

    def evaluate(self, step: int, loss: float) -> dict[str, Any]:
        """Return the summaries of all layers; with them the figures, at the end."""
        found = dict(super().evaluate(step, loss))
        every = blocks(self.learner.network, self.other_x[: self.config.images])
        for k in range(1, len(every)):
            matrices = layer_jacobians(every[k - 1], every[k], EXAMPLES)
            values = summary(np.linalg.svd(matrices, compute_uv=False))
            found |= {f"{name}_{k + 1}": value for name, value in values.items()}
        return found

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve, and the summaries at the start and at the end."""
        curve, final = super().finish(history)
        names = [name for name in history.rows[0] if name not in ("step", "loss")]
        curve |= {name: history.column(name) for name in names}
        final |= {f"start_{name}": history.rows[0][name] for name in names}
        if not history.diverged:
            final |= {name: history.rows[-1][name] for name in names}
        return curve, final


STUDIES = ("jacobian-depth", "jacobian-training")


def arms(study: str, steps: int | None = None) -> dict[str, Any]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    he, small = math.sqrt(2), 1.0
    if study == "jacobian-depth":
        deep = DepthConfig()
        chosen: dict[str, Any] = {
            "plain-relu": replace(deep, batch_norm=False, nonlinearity="relu", gain=he)
        }
        for start in ("gaussian", "orthogonal"):
            for nonlinearity in ("linear", "relu", "sigmoid"):
                chosen[f"{start}-{nonlinearity}"] = replace(
                    deep, nonlinearity=nonlinearity, start=start
                )
        return chosen
    if study != "jacobian-training":
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    base = TrainingConfig(steps=1000 if steps is None else steps, lr=1.0, gain=small)
    return {
        "plain": replace(base, batch_norm=False, gain=4.0),
        "bn": base,
        "bn-orthogonal": replace(base, start="orthogonal"),
        "plain-relu": replace(base, batch_norm=False, nonlinearity="relu", lr=0.1, gain=he),
        "bn-relu": replace(base, nonlinearity="relu", lr=0.1),
    }


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    return Protocol("the singular values of layers, by how a network starts", settings="same")
