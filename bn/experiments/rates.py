"""Section 3.3 of the paper: learning rates, with and without batch normalization.

Three questions, each a group of studies. ``sigmoid`` and ``relu``: from which learning rate to
which does a network train, over six decades, and what stops it at either end? ``best``: how far
does each network get at its own best rate? ``decay``: how do the weights in front of a batch norm
grow and turn, with weight decay and without?

The network is that of section 4.1 on the binary MNIST. The paper states no learning rate for it,
so all settings are our choice.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bn.data import ImageDataset, mnist
from bn.experiments.mnist import MnistTrial, loss_of
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_config, load_sweep
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, Settings, of_length
from bn.layers import SGD, Linear, ReLU, Sequential, Sigmoid, softmax_cross_entropy
from bn.layers.dense import Array, Layer
from bn.reference import BatchNorm

Nonlinearity = Literal["sigmoid", "relu", "linear"]
Start = Literal["gaussian", "orthogonal"]
#: Training images whose loss is taken in inference mode.
SAMPLED = 10_000
#: Training images whose gradients are taken.
LOOKED_AT = 1000
#: Mini-batches, at the end of a phase, whose mean loss is recorded.
LAST = 100
#: Of a watched run, every so many steps have their angles taken.
EVERY = 10


@dataclass(frozen=True)
class Config(Settings):
    """Settings of one run.

    Attributes
    ----------
    batch_norm : bool
        With or without.
    nonlinearity : {"sigmoid", "relu", "linear"}
        After each hidden layer.
    start : {"gaussian", "orthogonal"}
        Initial weights: independent, or with orthonormal filters.
    gain : float
        Standard deviation of the initial weights times the root of a layer's number of inputs.
    lr : float
        Learning rate of plain SGD, constant.
    other_lr : float
        The rate of all parameters but the hidden weights; 0: the same.
    decay : float
        Weight decay of the hidden weights: each step shortens them by the share ``lr * decay``.
    growth : bool
        Let the rate of the hidden weights grow in place of the decay, see :class:`DecaySGD`.
    steps : int
        Mini-batches.
    then_lr, then_steps : float, int
        A second phase, at another rate.
    batch_size, hidden, depth : int
        Examples in a mini-batch, units in a hidden layer, hidden layers.
    eps : float
        Of batch normalization.
    held_out : int
        So many training images are not trained on; accuracy is that on them.
    watch : bool
        Follow every filter in every step.
    """

    batch_norm: bool = True
    nonlinearity: Nonlinearity = "sigmoid"
    start: Start = "gaussian"
    gain: float = 1.0
    lr: float = 0.1
    other_lr: float = 0.0
    decay: float = 0.0
    growth: bool = False
    steps: int = 600
    then_lr: float = 0.1
    then_steps: int = 0
    batch_size: int = 60
    hidden: int = 100
    depth: int = 3
    eps: float = 1e-5
    held_out: int = 0
    watch: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        if self.nonlinearity not in get_args(Nonlinearity) or self.start not in get_args(Start):
            raise ValueError(f"unknown nonlinearity or start: {self}")
        if min(self.steps, self.hidden, self.depth) < 1 or self.batch_size < 2:
            raise ValueError(
                f"steps, hidden, depth must be at least 1, batch_size at least 2: {self}"
            )
        if min(self.decay, self.held_out, self.then_steps) < 0 or self.lr * self.decay >= 1:
            raise ValueError(f"decay, held_out, then_steps or lr * decay is out of range: {self}")

    def fetch(self) -> ImageDataset:
        """Return the binary MNIST."""
        return mnist(binarize=True, progress=False)

    def begin(self, seed: int, data: ImageDataset) -> MnistTrial:
        """Return the run, with its network as it starts."""
        return RatesTrial(self, seed, data)


def build(config: Config, rng: np.random.Generator) -> Sequential:
    """Build the network; equal generators give every kind the same weights."""
    layers: list[Layer] = []
    sizes = [784] + [config.hidden] * config.depth
    for inputs, outputs in itertools.pairwise(sizes):
        std = config.gain / math.sqrt(inputs)
        linear = Linear(inputs, outputs, std=std, rng=rng, bias=not config.batch_norm)
        if config.start == "orthogonal":
            linear.weight = orthogonal(linear.weight, config.gain)
        layers.append(linear)
        if config.batch_norm:
            layers.append(BatchNorm(outputs, eps=config.eps))
        if config.nonlinearity != "linear":
            layers.append(Sigmoid() if config.nonlinearity == "sigmoid" else ReLU())
    layers.append(Linear(config.hidden, 10, std=1 / math.sqrt(config.hidden), rng=rng))
    return Sequential(layers)


def orthogonal(weight: Array, gain: float) -> Array:
    """Return orthogonal columns of length `gain`, spread evenly if the columns are Gaussian.

    Raises
    ------
    ValueError
        If there are more columns than rows.
    """
    if weight.shape[0] < weight.shape[1]:
        raise ValueError(f"weight has shape {weight.shape}, expected no more columns than rows")
    q, r = np.linalg.qr(weight.astype(np.float64))
    q = q * np.sign(np.diag(r))  # else the sign is LAPACK's choice, and not evenly spread
    found: Array = (gain * q).astype(weight.dtype)
    return found


def hidden_weights(network: Sequential) -> dict[str, Array]:
    """Return the weights of the hidden layers by name; a column is a filter."""
    names = [f"{i}.weight" for i, each in enumerate(network.layers) if isinstance(each, Linear)]
    parameters = network.parameters()
    return {name: parameters[name] for name in names[:-1]}


# paper: eq-scale-forward, eq-scale-input
def rescale(weight: Array, norm: BatchNorm, factor: float) -> None:
    """Multiply all filters in front of a batch norm, in place; the network computes what it did.

    For that, eps is multiplied by the square: at eps = 0 nothing but the weights changes.

    Raises
    ------
    ValueError
        If the factor is not positive.
    """
    if not factor > 0:
        raise ValueError(f"factor is {factor}, expected a positive number")
    weight *= factor
    norm.eps *= factor**2


class DecaySGD(SGD):
    """Plain SGD with weight decay of the hidden weights, or with a rate that grows instead.

    With batch normalization and eps = 0 the two give the same network in every step: after t
    steps the weights that decay are those that do not, times ``(1 - lr * decay)**t``.

    Attributes
    ----------
    rate, other_rate : float
        Of the hidden weights, and of the other parameters; they may be set between steps.
    squares : dict of str to array
        The squared lengths of all steps of each filter so far, added up; if `watch`.
    turned, cosine : dict of str to list of array
        Of every tenth step since they were last cleared, for each filter: the angle by which it
        turned, and the cosine of the angle from filter to gradient (its size); if `watch`.
    """

    def __init__(
        self,
        network: Sequential,
        *,
        lr: float,
        other_lr: float = 0.0,
        decay: float = 0.0,
        growth: bool = False,
        watch: bool = False,
    ) -> None:
        super().__init__(network, lr=lr)
        self.shrink, self.growth, self.watch = 1 - lr * decay, growth, watch
        self.rate, self.other_rate, self.done = lr, other_lr or lr, 0
        self.hidden = hidden_weights(network)
        self.squares = {name: np.zeros(w.shape[1]) for name, w in self.hidden.items()}
        self.turned: dict[str, list[Array]] = {name: [] for name in self.hidden}
        self.cosine: dict[str, list[Array]] = {name: [] for name in self.hidden}

    # paper: eq-scale-weight
    def step(self) -> None:
        """Move every parameter by the gradients of the last backward pass."""
        gradients = self.network.gradients()
        for name, weight in self.network.parameters().items():
            watched = self.watch and name in self.hidden
            before = weight.astype(np.float64) if watched and self.done % EVERY == 0 else None
            # [step]
            rate = self.rate if name in self.hidden else self.other_rate
            if name in self.hidden and self.growth:
                rate *= self.shrink ** (-2 * self.done - 1)
            elif name in self.hidden:
                weight *= self.shrink
            weight -= rate * gradients[name]
            # [/step]
            if watched:
                squares = np.einsum("ij,ij->j", gradients[name], gradients[name])
                self.squares[name] += rate**2 * squares.astype(np.float64)
            if before is not None:
                self.turned[name].append(angles(before, weight))
                self.cosine[name].append(np.abs(cosines(before, gradients[name])))
        self.done += 1


def cosines(one: Array, two: Array) -> Array:
    """Return the cosine of the angle between the columns of two matrices; 0 where one is 0."""
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(two, axis=0)
    product = (one * two).sum(axis=0)
    found: Array = np.divide(product, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return found


def angles(one: Array, two: Array) -> Array:
    """Return the angles between the columns of two matrices, in radians.

    From half the distance of the unit vectors: the cosine of a small angle has lost its digits.
    """
    units = [np.asarray(w, np.float64) / np.linalg.norm(w, axis=0) for w in (one, two)]
    apart = np.linalg.norm(units[0] - units[1], axis=0)
    found: Array = 2 * np.arcsin(np.minimum(apart / 2, 1))
    return found


def steady_angle(lr: float, decay: float) -> float:
    """Return the angle of a step that leaves a filter as long as it was: cos = 1 - lr·decay."""
    return math.acos(1 - lr * decay)


def gradient_sizes(network: Sequential, x: Array, labels: NDArray[np.integer]) -> list[float]:
    """Return the rms gradient for the outputs of each Linear layer but the last, from below.

    The network is in the mode that it is in. A network that overflows has gradients 0.
    """
    with np.errstate(all="ignore"):
        _, dy = softmax_cross_entropy(network.forward(x), labels)
        found = []
        for layer in reversed(network.layers):
            if isinstance(layer, Linear):
                found.append(float(np.sqrt(np.mean(dy.astype(np.float64) ** 2))))
            dy = layer.backward(dy)
    return [size if math.isfinite(size) else 0.0 for size in found[:0:-1]]


# paper: s33-small-changes
class RatesTrial(MnistTrial):
    """One network on MNIST at one rate, and perhaps at a second one after it.

    The curve holds `step` and `loss`, the mean of the mini-batches since the entry before, in the
    mode they were trained in. If every filter is watched, it also holds for each hidden layer k,
    as medians over its filters: their length `norm_k`, the root mean square `turn_k` of the angle
    of a step since the entry before, in radians, and the mean `cosine_k`.
    """

    config: Any

    def __init__(self, config: Config, seed: int, data: ImageDataset) -> None:
        super().__init__(config, seed, data)  # type: ignore[arg-type]
        self.steps = config.steps + config.then_steps
        self.optimizer = DecaySGD(
            self.learner.network,
            lr=config.lr,
            other_lr=config.other_lr,
            decay=config.decay,
            growth=config.growth,
            watch=config.watch,
        )
        self.learner.optimizer = self.optimizer
        self.at_start = {name: w.copy() for name, w in self.optimizer.hidden.items()}
        self.evaluate_at = evaluation_steps(config)
        self.first_phase: Final = {}

    def build(self, rng: np.random.Generator) -> Sequential:
        """Build the network; equal generators give every kind the same weights."""
        return build(self.config, rng)

    def evaluate(self, step: int, loss: float) -> dict[str, Any]:
        """Return what the curve holds; at the end of the first phase, measure and go on."""
        found = self.watched() if self.config.watch else {}
        if step == self.config.steps:
            self.first_phase = self.figures(loss)
            self.optimizer.rate = self.optimizer.other_rate = self.config.then_lr
        return found

    def watched(self) -> dict[str, float | None]:
        """Return lengths, angles and cosines by layer, and start to collect anew."""
        found: dict[str, float | None] = {}
        for k, (name, weight) in enumerate(self.optimizer.hidden.items(), start=1):
            found[f"norm_{k}"] = median_length(weight)
            turned, cosine = self.optimizer.turned[name], self.optimizer.cosine[name]
            found[f"turn_{k}"] = found[f"cosine_{k}"] = None
            if turned:
                rms = np.sqrt(np.mean(np.square(turned), axis=0))  # (filters,)
                found[f"turn_{k}"] = float(np.median(rms))
                found[f"cosine_{k}"] = float(np.median(np.mean(cosine, axis=0)))
            turned.clear()
            cosine.clear()
        return found

    def figures(self, loss: float) -> Final:
        """Return accuracy and losses, how the weights grew, and what the gradients are."""
        network = self.learner.network
        accuracy = self.accuracy()
        part = slice(SAMPLED)
        sampled = loss_of(network, self.train_x[part], self.train_labels[part])
        lengths = [np.linalg.norm(w, axis=0) for w in self.at_start.values()]
        now = [np.linalg.norm(w, axis=0) for w in self.optimizer.hidden.values()]
        grown = [float(np.median(b / a)) for a, b in zip(lengths, now, strict=True)]
        network.train(True)
        x = self.train_x[:LOOKED_AT].astype(np.float32)
        sizes = gradient_sizes(network, x, self.train_labels[:LOOKED_AT])
        network.train(False)
        return {
            self.measured: accuracy,
            "loss": loss,
            "sampled_loss": sampled if math.isfinite(sampled) else None,
            "grown": grown[-1],
            "gradient_first": sizes[0],
            "gradient_last": sizes[-1],
            "idle": idle(network),
        }

    @property
    def measured(self) -> str:
        """The name of the accuracy."""
        return "held_out_accuracy" if self.config.held_out else "test_accuracy"

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve, and the figures after each phase."""
        config = self.config
        names = ["step", "loss"]
        if config.watch:
            kinds = itertools.product(("norm", "turn", "cosine"), range(1, config.depth + 1))
            names += [f"{kind}_{k}" for kind, k in kinds]
        curve: Curve = {name: history.column(name) for name in names}
        nothing = dict.fromkeys(
            (self.measured, "loss", "sampled_loss", "grown", "gradient_first", "gradient_last",
             "idle")
        )  # fmt: skip
        final: Final = nothing | self.first_phase
        final |= {"diverged": float(history.diverged), "steps_done": history.steps}
        if config.then_steps:
            ended = not history.diverged
            final["then_loss"] = history.rows[-1]["loss"] if ended else None
            final["then_accuracy"] = self.accuracy() if ended else None
        if config.watch and not history.diverged:
            final |= self.of_filters(history)
        return curve, final

    def of_filters(self, history: History) -> Final:
        """Return lengths and angles at the end, and how far a length is off Pythagoras' sum."""
        config, last = self.config, history.rows[-1]
        final: Final = {}
        steady = steady_angle(config.lr, config.decay)
        for k, (name, weight) in enumerate(self.optimizer.hidden.items(), start=1):
            final[f"norm_{k}"], final[f"turn_{k}"] = last[f"norm_{k}"], last[f"turn_{k}"]
            final[f"cosine_{k}"] = last[f"cosine_{k}"]
            if steady:
                final[f"turn_steady_{k}"] = last[f"turn_{k}"] / steady
            if not config.decay or config.growth:
                squares = self.optimizer.squares[name]
                gain = (weight.astype(float) ** 2).sum(axis=0)
                gain -= (self.at_start[name].astype(float) ** 2).sum(axis=0)
                final[f"pythagoras_{k}"] = float(np.median(np.abs(gain / squares - 1)))
        return final


def median_length(weight: Array) -> float:
    """Return the median length of the columns."""
    return float(np.median(np.linalg.norm(weight, axis=0)))


def idle(network: Sequential) -> float:
    """Return the share of hidden units whose slope is next to 0 for nearly all of the last batch.

    The slope of a ReLU is 0 or 1, that of a sigmoid at most a quarter; next to 0 is less than a
    fourteenth of the steepest (inputs farther than 4 from 0), nearly all is 99 of 100.
    """
    shares = []
    for layer in network.layers:
        if isinstance(layer, Sigmoid):
            flat = 4 * layer.y * (1 - layer.y) < 1 / 14  # (N, units)
        elif isinstance(layer, ReLU):
            flat = ~layer.positive
        else:
            continue
        shares.append(np.mean(flat.mean(axis=0) >= 0.99))
    return float(np.mean(shares)) if shares else 0.0


def evaluation_steps(config: Config) -> list[int]:
    """Return the steps after which a run is evaluated.

    A watched run every 100, at first more often; others early, at the end of either phase, and
    :data:`LAST` steps before it.
    """
    if config.watch:
        rule = [0, 1, 10, 30, *range(100, config.steps, 100)]
        return [step for step in rule if step < config.steps] + [config.steps]
    total = config.steps + config.then_steps
    rule = [0, 10, 100, config.steps - LAST, config.steps, total - LAST, total]
    return sorted({step for step in rule if 0 <= step <= total})


#: Learning rates of the sweeps, over six decades; where a network fails, two in each.
RATES = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
#: Rates of the hidden weights where the other parameters keep a moderate one, and that one.
HIDDEN_RATES = (10.0, 100.0, 1000.0)
MODERATE = 0.1
SWEEP_SEED = 100
HELD_OUT = 10_000
#: Gains of the two networks: each nonlinearity's own, so that a network without batch
#: normalization starts well (4 makes up for a sigmoid's largest slope, √2 is He's).
GAINS: dict[str, float] = {"sigmoid": 4.0, "relu": round(math.sqrt(2), 4)}
SWEEPS = ("rates-sigmoid", "rates-relu")
#: Each network at its best rate of the sweep of the same nonlinearity.
BEST = {f"{sweep}-best": sweep for sweep in SWEEPS}
STUDIES = (*SWEEPS, *BEST, "rates-decay")


def arms(study: str, steps: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For a study of the best rates, if the sweep that decides them has not been run to its
        end.
    """
    if study in SWEEPS:
        chosen = _sweep("sigmoid" if study == "rates-sigmoid" else "relu")
    elif study in BEST:
        name = BEST[study]
        sweep = load_sweep("rates", arms(name), name.removeprefix("rates-"))
        chosen = {
            kind: Config(**best_config(sweep, f"{kind}-lr", "held_out_accuracy") | {"held_out": 0})
            for kind in ("plain", "bn")
        }
    elif study == "rates-decay":
        base = Config(gain=1.0, lr=1.0, steps=2000, watch=True)
        chosen = {
            "bn": base,
            "bn-decay0.001": replace(base, decay=1e-3),
            "bn-decay0.01": replace(base, decay=1e-2),
            "bn-slow-decay0.01": replace(base, lr=0.1, decay=1e-2),
            "bn-short-decay0.001": replace(base, gain=0.3, decay=1e-3),
            "bn-long-decay0.001": replace(base, gain=3.0, decay=1e-3),
            "bn-growth0.001": replace(base, decay=1e-3, growth=True),
            "plain": replace(base, batch_norm=False, gain=4.0),
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, steps=steps)


def _sweep(nonlinearity: Nonlinearity) -> dict[str, Config]:
    """Return both networks at all rates, and with high ones of the hidden weights alone."""
    base = Config(
        nonlinearity=nonlinearity, gain=GAINS[nonlinearity], held_out=HELD_OUT, then_steps=150
    )
    chosen: dict[str, Config] = {}
    for kind, batch_norm in (("plain", False), ("bn", True)):
        side = replace(base, batch_norm=batch_norm)
        chosen |= {f"{kind}-lr{lr:g}": replace(side, lr=lr) for lr in RATES}
        chosen |= {
            f"{kind}-hidden-lr{lr:g}": replace(side, lr=lr, other_lr=MODERATE)
            for lr in HIDDEN_RATES
        }
    return chosen


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study in BEST:
        return Protocol(
            "a network with and one without batch normalization, each at its own rate",
            settings="chosen",
            chosen_by="held_out_accuracy",
            sweep=BEST[study],
        )
    if study == "rates-decay":
        return Protocol("weight decay, and what stands in its place", settings="same")
    return Protocol(
        "a network with and one without batch normalization, at each rate from the same weights",
        settings="same",
        first_seed=SWEEP_SEED,
    )
