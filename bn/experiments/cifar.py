"""CIFAR-10 with and without batch normalization: a small convolutional network, in PyTorch.

Section 4.2 of the paper trains Inception on ImageNet, which takes weeks of GPU time. What it
shows, that batch normalization allows much higher learning rates, can be seen in minutes on a
network of a few layers. Everything here but the question is our choice.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bn.data import ImageDataset, cifar10
from bn.experiments.device import best_device
from bn.experiments.images import Colours, Images
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_rates
from bn.experiments.torch_networks import cifar_network
from bn.experiments.torch_training import Recipe, TorchLearner
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, Settings, Trial, of_length


@dataclass(frozen=True, kw_only=True)
class Config(Recipe, Settings):
    """Settings of one run.

    Attributes
    ----------
    batch_norm : bool
        With or without.
    shift : int
        Pixels by which training images are shifted at most; half of them are flipped, too.
    eps : float
        Of batch normalization.
    held_out : int
        So many training images, the same in every run, are not trained on, and accuracy is
        measured on them instead of the test images: for choosing settings.
    """

    batch_norm: bool
    shift: int = 4
    eps: float = 1e-5
    held_out: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is fetched."""
        super().__post_init__()
        if self.shift < 0 or self.held_out < 0 or not self.eps > 0:
            raise ValueError(f"shift and held_out must be 0 or more, eps positive: {self}")

    def fetch(self) -> ImageDataset:
        """Return CIFAR-10."""
        return cifar10(progress=False)

    def begin(self, seed: int, data: ImageDataset) -> "CifarTrial":
        """Return the run, with its network as it starts."""
        return CifarTrial(self, seed, data)


class CifarTrial(Trial):
    """One run on CIFAR-10, on a GPU if there is one; it can be resumed.

    Its curve has `epoch`, `loss` and `test_accuracy` or `held_out_accuracy`. A run whose loss
    stops being finite ends there: its last accuracy is None, and `diverged` is 1.

    Parameters
    ----------
    config : Config
    seed : int
        Of the initial weights, and of the order, flips and shifts of the images.
    data : ImageDataset
        As :func:`bn.data.cifar10` returns it.
    device : torch.device, optional
        Default: the best one.
    precision : {"float32", "bfloat16"}, optional
        Default: the faster one.
    """

    learner: TorchLearner
    resumable = True

    def __init__(
        self,
        config: "Config",
        seed: int,
        data: ImageDataset,
        *,
        device: torch.device | None = None,
        precision: str | None = None,
    ) -> None:
        device = device or best_device()
        self.config = config
        training, self.other = split(data, config, device)
        network = self.build(torch.Generator().manual_seed(seed), data).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learner = TorchLearner(network, training, config, seed=seed, precision=precision)
        epochs, per_epoch = config.passes(len(training))
        self.steps = epochs * per_epoch
        self.evaluate_at = range(per_epoch, self.steps + 1, per_epoch)

    def build(self, generator: torch.Generator, data: ImageDataset) -> nn.Module:
        """Build the network; equal generators give every kind the same weights."""
        return cifar_network(
            batch_norm=self.config.batch_norm,
            eps=self.config.eps,
            generator=generator,
            colours=data.train_images.shape[1],
            classes=len(data.classes),
        )

    def evaluate(self, step: int, loss: float) -> dict[str, float]:
        """Return the accuracy on the other images."""
        return {"accuracy": accuracy_of(self.learner.network, self.other)}

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return accuracy and loss, epoch by epoch, and the speed."""
        config, accuracy, loss = self.config, history.column("accuracy"), history.column("loss")
        done, part = len(loss), min(config.epochs, 1)
        measured = "held_out_accuracy" if config.held_out else "test_accuracy"
        curve: Curve = {
            "epoch": [part * epoch for epoch in range(1, done + 1)],
            measured: accuracy,
            "loss": loss,
        }
        final: Final = {
            measured: None if history.diverged else accuracy[-1],
            "loss": loss[-1],
            "diverged": float(history.diverged),
            "epochs_done": part * done,
            "images_per_second": history.steps * config.batch_size / history.train_seconds,
            "minutes": history.seconds / 60,
        }
        return curve, final


def split(data: ImageDataset, config: Config, device: torch.device) -> tuple[Images, Images]:
    """Return the images to train on and the others, to measure accuracy on.

    Raises
    ------
    ValueError
        If so many images are held out that not one batch is left.
    """
    images, labels = data.train_images, data.train_labels
    if len(images) - config.held_out < config.batch_size:
        raise ValueError(
            f"held_out is {config.held_out} of {len(images)} training images: "
            f"less than one batch of {config.batch_size} is left"
        )
    others = data.test_images, data.test_labels
    if config.held_out:  # always the same ones, so that runs can be compared
        order = np.random.default_rng(0).permutation(len(images))
        rest, kept = order[config.held_out :], order[: config.held_out]
        others = images[kept], labels[kept]
        images, labels = images[rest], labels[rest]
    colours = Colours.of(images)
    return (
        Images(images, labels, colours, device=device, shift=config.shift),
        Images(*others, colours, device=device),
    )


@torch.no_grad()
def accuracy_of(network: nn.Module, images: Images, batch_size: int = 500) -> float:
    """Return the share of images classified rightly, in the mode that the network is in."""
    right = sum((network(x).argmax(1) == labels).sum() for x, labels in images.in_order(batch_size))
    return float(right) / len(images)


#: The sweep: shorter runs, with accuracy on images held out from training.
RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SWEEP = {"epochs": 5, "held_out": 5000}
#: The other comparison is at so many times each network's best rate.
FASTER = 5
STUDIES = ("cifar-rates", "cifar-sweep")


def arms(study: str, epochs: float | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``cifar-rates``, if the sweep that decides the rates has not been run to its end.
    """
    kinds = {"plain": False, "bn": True}
    if study == "cifar-sweep":
        chosen = {
            f"{kind}-lr{lr:g}": Config(batch_norm=batch_norm, lr=lr, **SWEEP)
            for kind, batch_norm in kinds.items()
            for lr in RATES
        }
    elif study == "cifar-rates":
        best = best_rates("cifar", arms("cifar-sweep"), kinds)
        chosen = {
            f"{kind}{name}": Config(batch_norm=kinds[kind], lr=times * best[kind])
            for times, name in ((1, ""), (FASTER, f"-{FASTER}x"))
            for kind in kinds
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, epochs=epochs)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "cifar-sweep":
        return Protocol("learning rates, of each network")
    return Protocol(
        "a network with and one without batch normalization, each at its best rate and at "
        f"{FASTER:g} times it",
        settings="chosen",
        chosen_by="held_out_accuracy",
        sweep="cifar-sweep",
        exceptions={"new seeds": "The sweep and the comparison have the seeds 0 to 2 in common."},
    )
