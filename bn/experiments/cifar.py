"""CIFAR-10 with and without batch normalization: a small convolutional network, in PyTorch.

Section 4.2 of the paper trains Inception on ImageNet, which takes weeks of GPU time. What it
shows, that batch normalization allows much higher learning rates, can be seen in minutes on a
network of a few layers. Everything here but the question is our choice.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import nn

from bn.data import ImageDataset, cifar10
from bn.experiments import checkpoint
from bn.experiments.device import best_device, describe
from bn.experiments.images import Colours, Images
from bn.experiments.protocol import Protocol
from bn.experiments.record import Run, best_config, load_sweep, provenance
from bn.experiments.torch_networks import cifar_network
from bn.experiments.torch_training import Recipe, train


@dataclass(frozen=True, kw_only=True)
class Config(Recipe):
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


def run(
    config: Config,
    seed: int,
    data: ImageDataset,
    *,
    device: torch.device | None = None,
    resume: bool = True,
    progress: str | None = None,
) -> Run:
    """Train one network on CIFAR-10 and return its record.

    Interrupt it at any time: called again with the same settings, seed and kind of device it
    goes on after the last full epoch.

    Parameters
    ----------
    config : Config
    seed : int
        Of the initial weights, and of the order, flips and shifts of the images.
    data : ImageDataset
        As :func:`bn.data.cifar10` returns it.
    device : torch.device, optional
        Default: a GPU if there is one.
    resume : bool
        Keep a checkpoint while training, and go on from the one there is. It is removed when
        the run is done.
    progress : str, optional
        Label of a progress bar; none is shown without it.

    Returns
    -------
    Run
        The curve has `epoch`, `loss` and `test_accuracy` or `held_out_accuracy`. A run whose
        loss stops being finite ends there: its last accuracy is None, and `diverged` is 1.
    """
    device = device or best_device()
    training, other = split(data, config, device)
    network = cifar_network(
        batch_norm=config.batch_norm,
        eps=config.eps,
        generator=torch.Generator().manual_seed(seed),
        colours=data.train_images.shape[1],
        classes=len(data.classes),
    ).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    identity = {"config": asdict(config), "seed": seed, "device": device.type}
    keep = checkpoint.path_for(identity) if resume else None
    history = train(
        network,
        training,
        config,
        seed=seed,
        evaluate=lambda network: accuracy_of(network, other),
        keep=keep,
        run=identity,
        progress=progress,
    )
    if keep is not None:
        keep.unlink(missing_ok=True)
    done, part = len(history.loss), min(config.epochs, 1)
    images = done * config.passes(len(training))[1] * config.batch_size
    measured = "held_out_accuracy" if config.held_out else "test_accuracy"
    curve: dict[str, list[float | None]] = {
        "epoch": [part * epoch for epoch in range(1, done + 1)],
        measured: [*history.accuracy],
        "loss": [*history.loss],
    }
    final: dict[str, float | None] = {
        measured: None if history.diverged else history.accuracy[-1],
        "loss": history.loss[-1],
        "diverged": float(history.diverged),
        "epochs_done": part * done,
        "images_per_second": images / history.train_seconds,
        "minutes": history.seconds / 60,
    }
    arm = "bn" if config.batch_norm else "plain"
    where = {
        "device": describe(device),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "precision": history.precision,
    }
    return Run(arm, seed, asdict(config), curve, final, history.seconds, provenance() | where)


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
        sweep = load_sweep("cifar", arms("cifar-sweep"))
        best = {kind: best_config(sweep, f"{kind}-", "held_out_accuracy")["lr"] for kind in kinds}
        chosen = {
            f"{kind}{name}": Config(batch_norm=kinds[kind], lr=times * best[kind])
            for times, name in ((1, ""), (FASTER, f"-{FASTER}x"))
            for kind in kinds
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    if epochs is None:
        return chosen
    return {arm: replace(config, epochs=epochs) for arm, config in chosen.items()}


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


def run_task(config: Config, seed: int, label: str | None) -> Run:
    """Fetch the data and train one network: what a study does for each of its runs."""
    return run(config, seed, cifar10(progress=False), progress=label)
