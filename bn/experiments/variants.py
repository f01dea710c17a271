"""CIFAR-10 once more, on a smaller network whose layers can be arranged in other ways.

Sections 3.2 and 3.4 of the paper say where batch normalization stands in a convolutional network
and that it regularizes; this network trains in a minute or two on one core, so that both can be
tried with several seeds.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from bn.data import ImageDataset
from bn.experiments import cifar
from bn.experiments.images import Images
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final

#: Where batch normalization stands: nowhere, before a layer's ReLU, after it.
Norm = Literal["none", "before", "after"]


@dataclass(frozen=True, kw_only=True)
class Config(cifar.Config):
    """Settings of one run.

    Attributes
    ----------
    batch_norm : bool
        Equal to ``norm != "none"``.
    norm : {"none", "before", "after"}
        Where batch normalization stands in each hidden layer.
    dropout : float
        Share of the inputs of each of the two dense layers that is dropped while training.
    images : int
        So many training images, the first of a fixed order, are trained on; 0 takes all.
    """

    norm: Norm = "before"
    dropout: float = 0.0
    images: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        super().__post_init__()
        if self.batch_norm != (self.norm != "none"):
            raise ValueError(f"batch_norm is {self.batch_norm} and norm {self.norm!r}")
        if not 0 <= self.dropout < 1 or self.images < 0:
            raise ValueError(f"dropout must be in [0, 1) and images 0 or more: {self}")

    def begin(self, seed: int, data: ImageDataset) -> "VariantTrial":
        """Return the run, with its network as it starts."""
        return VariantTrial(self, seed, self.chosen(data))

    def chosen(self, data: ImageDataset) -> ImageDataset:
        """Return the data with the training images that are trained on or held out."""
        return first_images(data, self.images + self.held_out) if self.images else data


class VariantTrial(cifar.CifarTrial):
    """One run; beside what :class:`bn.experiments.cifar.CifarTrial` records it has two figures.

    `training_loss` and `training_accuracy` are of the images trained on (the first 10 000 of
    them), as they are, in inference mode and without smoothed labels; `test_loss` (or
    `held_out_loss`) is of the others.
    """

    config: Config

    def build(self, generator: torch.Generator, data: ImageDataset) -> nn.Module:
        """Build the network."""
        return variant_network(
            norm=self.config.norm,
            dropout=self.config.dropout,
            eps=self.config.eps,
            generator=generator,
            colours=data.train_images.shape[1],
            classes=len(data.classes),
            side=data.train_images.shape[2],
        )

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve of accuracy and loss, and the figures after training."""
        curve, final = super().finish(history)
        network, learner = self.learner.network, self.learner
        other = "held_out_loss" if self.config.held_out else "test_loss"
        final |= {"training_loss": None, "training_accuracy": None, other: None}
        if not history.diverged:
            with learner.while_measuring():
                loss, accuracy = loss_and_accuracy(network, learner.images, at_most=10_000)
                final[other], _ = loss_and_accuracy(network, self.other)
            final["training_loss"], final["training_accuracy"] = loss, accuracy
        return curve, final


@torch.no_grad()
def loss_and_accuracy(
    network: nn.Module, images: Images, *, at_most: int | None = None, batch_size: int = 500
) -> tuple[float, float]:
    """Return the mean cross-entropy and the share classified rightly, in the network's mode."""
    loss = right = count = 0.0
    for x, labels in images.in_order(batch_size):
        scores = network(x).float()
        loss += float(nn.functional.cross_entropy(scores, labels, reduction="sum"))
        right += float((scores.argmax(1) == labels).sum())
        count += len(labels)
        if at_most is not None and count >= at_most:
            break
    return loss / count, right / count


def variant_network(
    *,
    norm: Norm,
    generator: torch.Generator,
    dropout: float = 0.0,
    eps: float = 1e-5,
    colours: int = 3,
    classes: int = 10,
    side: int = 32,
) -> nn.Sequential:
    """Build the network: three 3×3 convolutions, each with a halving, and two dense layers.

    Parameters
    ----------
    norm : {"none", "before", "after"}
        Each hidden layer is ``relu(Wu + b)``, ``relu(BN(Wu))`` or ``BN(relu(Wu + b))``.
    generator : torch.Generator
        Draws the weights, with He's standard deviation. Equal generators give every kind of
        network the same weights.
    dropout : float
        Before each of the two dense layers.
    eps : float
        Of batch normalization.
    colours, classes, side : int
        Channels of an image, scores, pixels of a side, a multiple of 8.

    Returns
    -------
    torch.nn.Sequential
        Of torch.nn's modules.
    """
    modules: list[nn.Module] = []

    def hidden(weights: nn.Conv2d | nn.Linear, batch_norm: nn.Module) -> None:
        nn.init.kaiming_normal_(weights.weight, nonlinearity="relu", generator=generator)
        if weights.bias is not None:
            nn.init.zeros_(weights.bias)
        order: dict[Norm, list[nn.Module]] = {
            "none": [nn.ReLU()],
            "before": [batch_norm, nn.ReLU()],
            "after": [nn.ReLU(), batch_norm],
        }
        modules.extend([weights, *order[norm]])

    before, bias = colours, norm != "before"
    for channels in (16, 32, 32):
        convolution = nn.Conv2d(before, channels, 3, padding=1, bias=bias)
        hidden(convolution, nn.BatchNorm2d(channels, eps=eps))
        modules.append(nn.MaxPool2d(2))
        before = channels
    features, units = before * (side // 8) ** 2, 128
    modules.extend([nn.Flatten(), nn.Dropout(dropout)])
    hidden(nn.Linear(features, units, bias=bias), nn.BatchNorm1d(units, eps=eps))
    scores = nn.Linear(units, classes)
    nn.init.normal_(scores.weight, std=units**-0.5, generator=generator)
    nn.init.zeros_(scores.bias)
    return nn.Sequential(*modules, nn.Dropout(dropout), scores)


def first_images(data: ImageDataset, count: int) -> ImageDataset:
    """Return the data with `count` training images, the first of an order that never changes."""
    chosen = np.random.default_rng(1).permutation(len(data.train_images))[:count]
    return ImageDataset(
        name=data.name,
        train_images=data.train_images[chosen],
        train_labels=data.train_labels[chosen],
        test_images=data.test_images,
        test_labels=data.test_labels,
        classes=data.classes,
    )
