"""Section 3.4 of the paper: whether the noise of a mini-batch's statistics regularizes.

The network of :mod:`bn.experiments.variants` on few images of CIFAR-10, at half their resolution,
so that it overfits within seconds. Nothing else regularizes: no weight decay, no smoothed labels,
no shifted images; they are only flipped. Two things are varied: how many examples of a mini-batch
share their statistics, with the mini-batch of SGD as it is (Hoffer et al., 2017, call the parts
ghost batches), and how much is dropped by dropout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, cross_entropy

from bn.data import ImageDataset
from bn.experiments import variants
from bn.experiments.images import Images
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_rates
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, of_length
from bn.experiments.variants import loss_and_accuracy

#: Evaluations of a run.
EVALUATIONS = 6


@dataclass(frozen=True, kw_only=True)
class Config(variants.Config):
    """Settings of one run.

    Attributes
    ----------
    group : int
        So many examples of a mini-batch share their mean and variance in training; 0: all.
    """

    images: int = 2000
    epochs: float = 30
    shift: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    group: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        super().__post_init__()
        if self.group and not (
            self.batch_norm and self.group > 1 and self.batch_size % self.group == 0
        ):
            raise ValueError(f"group must divide the mini-batch, and needs batch norm: {self}")

    def begin(self, seed: int, data: ImageDataset) -> "NoiseTrial":
        """Return the run, with its network as it starts."""
        return NoiseTrial(self, seed, halved(self.chosen(data)))


def halved(data: ImageDataset) -> ImageDataset:
    """Return the data with images of half the side: each pixel is the mean of four."""

    def half(images: np.ndarray) -> np.ndarray:
        n, colours, height, width = images.shape
        parts = images.reshape(n, colours, height // 2, 2, width // 2, 2)
        mean: np.ndarray = np.rint(parts.mean(axis=(3, 5), dtype=np.float32)).astype(np.uint8)
        return mean

    return replace(data, train_images=half(data.train_images), test_images=half(data.test_images))


# paper: s34-noise
class GroupedBatchNorm(nn.Module):
    """Batch normalization whose statistics are those of groups of a mini-batch.

    The running statistics move once a mini-batch, towards the average of the groups' means and
    that of their unbiased variances. With one group it is ``torch.nn.BatchNorm``.

    Parameters
    ----------
    num_features, eps, momentum
        As in ``torch.nn.BatchNorm``.
    group : int
        Examples that share their statistics; a mini-batch of m must be a multiple. Of m/group
        groups, number i has every (m/group)-th example, from i on.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self, num_features: int, group: int, *, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.group, self.eps, self.momentum = group, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    # [groups]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y, of the shape of x, (m, C) or (m, C, H, W)."""
        running = self.running_mean, self.running_var
        if not self.training:
            return batch_norm(x, *running, self.weight, self.bias, eps=self.eps)
        groups, rest = divmod(len(x), self.group)
        if rest:
            raise ValueError(f"a mini-batch of {len(x)} has no whole groups of {self.group}")
        channels = groups * x.shape[1]
        # (m, C, ..) -> (group, groups · C, ..): one call normalizes all groups
        parts = x.reshape(self.group, channels, *x.shape[2:])
        mean, var = x.new_zeros(channels), x.new_ones(channels)
        y = batch_norm(
            parts, mean, var, self.weight.repeat(groups), self.bias.repeat(groups),
            training=True, momentum=1.0, eps=self.eps,  # puts the groups' own into mean and var
        )  # fmt: skip
        for kept, of_groups in zip(running, (mean, var), strict=True):
            kept.lerp_(of_groups.reshape(groups, -1).mean(0).to(kept.dtype), self.momentum)
        return y.reshape(x.shape)

    # [/groups]


def group_norms(network: nn.Sequential, group: int) -> None:
    """Put a :class:`GroupedBatchNorm` in the place of each batch norm, as at its start."""
    for i, module in enumerate(network):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            network[i] = GroupedBatchNorm(module.num_features, group, eps=module.eps)


@contextmanager
def norms_in_training(
    network: nn.Module, *, momentum: float, group: int | None = None
) -> Iterator[None]:
    """Let the norms, and nothing else, be in training mode.

    Parameters
    ----------
    network : torch.nn.Module
        In inference mode, and left so.
    momentum : float
        Of the running statistics: 0 leaves them as they are, 1 takes those of the last batch.
    group : int, optional
        Examples that share their statistics, where norms are grouped; default: as they are.
    """
    norms: list[Any] = [each for each in network.modules() if hasattr(each, "running_mean")]
    kept = [(norm.momentum, getattr(norm, "group", None)) for norm in norms]
    try:
        for norm in norms:
            norm.train(True)
            norm.momentum = momentum
            if group is not None and hasattr(norm, "group"):
                norm.group = group
        yield
    finally:
        for norm, (its_momentum, its_group) in zip(norms, kept, strict=True):
            norm.train(False)
            norm.momentum = its_momentum
            if its_group is not None:
                norm.group = its_group


@torch.no_grad()
def use_whole_set(network: nn.Module, images: Images) -> None:
    """Put mean and variance of all the images, as one batch and one group, in as statistics."""
    x, _ = next(images.in_order(len(images)))
    with norms_in_training(network, momentum=1.0, group=len(x)):
        network(x)


@torch.no_grad()
def scores_of(network: nn.Module, images: Images, batch_size: int) -> torch.Tensor:
    """Return the scores of the images that fill whole batches, (n, classes)."""
    whole = len(images) // batch_size
    batches = islice(images.in_order(batch_size), whole)
    return torch.cat([network(x).float() for x, _ in batches])


def loss_and_accuracy_of(scores: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return mean cross-entropy and share of right classes."""
    labels = labels[: len(scores)]
    right = (scores.argmax(1) == labels).double().mean()
    return float(cross_entropy(scores, labels)), float(right)


# paper: s34-noise
class NoiseTrial(variants.VariantTrial):
    """One run, on the CPU.

    Its curve has `epoch`, `loss` (of the mini-batches, as they are trained on), `training_loss`
    and `training_accuracy` (of the same images in inference mode), `test_loss` and
    `test_accuracy`; with images held out, `held_out_loss` and `held_out_accuracy`. ``final`` has
    the last of each, and `gap`, how much larger `test_loss` is than `training_loss`, and
    `accuracy_gap`, by how much `training_accuracy` is larger.

    A network with batch norm is also measured in two other ways. `_whole`: in inference mode,
    with the statistics of all training images as one batch. `_groups`: in training mode, but for
    dropout, on groups as large as those it was trained with; `flips` is the share of test images
    whose class is then another one than in inference mode.
    """

    config: Config

    def __init__(self, config: Config, seed: int, data: ImageDataset) -> None:
        cpu = torch.device("cpu")
        super().__init__(config, seed, data, device=cpu, precision="float32")
        epochs, self.per_epoch = config.passes(len(self.learner.images))
        parts = min(EVALUATIONS, epochs)
        self.evaluate_at = [self.per_epoch * (epochs * i // parts) for i in range(1, parts + 1)]

    def build(self, generator: torch.Generator, data: ImageDataset) -> nn.Module:
        """Build the network; equal generators give every kind the same weights."""
        network = super().build(generator, data)
        assert isinstance(network, nn.Sequential)
        if self.config.group:
            group_norms(network, self.config.group)
        return network

    def evaluate(self, step: int, loss: float) -> dict[str, float]:
        """Return loss and accuracy on the images trained on and on the others."""
        network, learner = self.learner.network, self.learner
        of_training, right = loss_and_accuracy(network, learner.images)
        of_others, accuracy = loss_and_accuracy(network, self.other)
        return {
            "training_loss": of_training,
            "training_accuracy": right,
            "other_loss": of_others,
            "accuracy": accuracy,
        }

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve, and the figures after training."""
        other = "held_out" if self.config.held_out else "test"
        names = {
            f"{other}_accuracy": "accuracy",
            f"{other}_loss": "other_loss",
            "training_loss": "training_loss",
            "training_accuracy": "training_accuracy",
            "loss": "loss",
        }
        curve: Curve = {"epoch": [step / self.per_epoch for step in history.column("step")]}
        curve |= {name: history.column(column) for name, column in names.items()}
        final: Final = dict.fromkeys(names)
        if not history.diverged:
            final = {name: curve[name][-1] for name in names}
            last = history.rows[-1]
            final["gap"] = last["other_loss"] - last["training_loss"]
            final["accuracy_gap"] = last["training_accuracy"] - last["accuracy"]
            if self.config.batch_norm and not self.config.held_out:
                final |= self.other_modes()
        final["diverged"] = float(history.diverged)
        final["minutes"] = history.seconds / 60
        return curve, final

    def other_modes(self) -> Final:
        """Measure on groups of test images, and with the statistics of all training images."""
        network, learner, labels = self.learner.network, self.learner, self.other.labels
        at_inference = scores_of(network, self.other, self.config.batch_size)
        with norms_in_training(network, momentum=0.0):
            grouped = scores_of(network, self.other, self.config.batch_size)
        final: Final = {}
        final["test_loss_groups"], final["test_accuracy_groups"] = loss_and_accuracy_of(
            grouped, labels
        )
        other_class = grouped.argmax(1) != at_inference[: len(grouped)].argmax(1)
        final["flips"] = float(other_class.double().mean())
        use_whole_set(network, learner.images)
        final["training_loss_whole"], _ = loss_and_accuracy(network, learner.images)
        final["test_loss_whole"], final["test_accuracy_whole"] = loss_and_accuracy(
            network, self.other
        )
        return final


#: The sweep: both networks without dropout, with as many images held out as are trained on.
RATES = {"plain": (0.02, 0.05, 0.1, 0.2), "bn": (0.05, 0.1, 0.2, 0.5, 1.0)}
#: The first of the sweep's seeds, which are not those of the comparisons.
SWEEP_SEED = 100
HELD_OUT = 2000
GROUPS = (4, 8, 16, 32, 128)
DROPOUT = (0.0, 0.25, 0.5)
STUDIES = ("noise-sweep", "noise-groups", "noise-dropout")


def arms(study: str, epochs: float | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    `groups`: batch norm on groups of several sizes, all at the rate that the sweep found best for
    batch norm on whole mini-batches. `dropout`: with and without batch norm, each at its own best
    rate without dropout.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For all but ``noise-sweep``, if the sweep that decides the rates has not been run to its
        end.
    """
    if study not in STUDIES:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    kinds: dict[str, variants.Norm] = {"plain": "none", "bn": "before"}

    def kind(name: str, **settings: Any) -> Config:
        return Config(batch_norm=name != "plain", norm=kinds[name], **settings)

    if study == "noise-sweep":
        chosen = {
            f"{name}-lr{lr:g}": kind(name, lr=lr, held_out=HELD_OUT)
            for name in kinds
            for lr in RATES[name]
        }
    else:
        best = best_rates("noise", arms("noise-sweep"), kinds)
        if study == "noise-groups":
            chosen = {f"group{size}": kind("bn", lr=best["bn"], group=size) for size in GROUPS}
        else:
            chosen = {
                f"{name}-{100 * dropout:g}": kind(name, lr=best[name], dropout=dropout)
                for dropout in DROPOUT
                for name in kinds
            }
    return of_length(chosen, epochs=epochs)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "noise-sweep":
        return Protocol("learning rates, of each network", first_seed=SWEEP_SEED)
    if study == "noise-groups":
        return Protocol(
            "how many examples of a mini-batch share their statistics, at the same rate: the best "
            "of the sweep `noise-sweep` for whole mini-batches",
            settings="same",
        )
    return Protocol(
        "a network with and one without batch normalization, with more and more dropout, each at "
        "its best rate without dropout",
        settings="chosen",
        chosen_by="held_out_accuracy",
        sweep="noise-sweep",
    )
