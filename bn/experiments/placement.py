"""Section 3.2 on CIFAR-10: batch normalization before the ReLU or after it, and per position.

The small network of :mod:`bn.experiments.variants`. The paper places batch normalization before
the nonlinearity and takes one pair of statistics for a whole feature map; it compares neither
with anything. All settings here are our choice.
"""

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from bn.data import ImageDataset
from bn.experiments import variants
from bn.experiments.estimates import skewness_and_kurtosis
from bn.experiments.protocol import Protocol
from bn.experiments.record import best_rates
from bn.experiments.training import History
from bn.experiments.trial import Curve, Final, of_length
from bn.experiments.variants import Norm

#: Images whose values are looked at for their shape.
LOOKED_AT = 500


class BatchNormPositions(nn.Module):
    """Batch normalization of maps with statistics, γ and β for every position of every map.

    Parameters
    ----------
    channels, side : int
        Maps, and pixels of a side.
    eps : float
    """

    def __init__(self, channels: int, side: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels * side * side, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y, the shape of x, (N, C, H, W)."""
        y: torch.Tensor = self.norm(x.flatten(1)).reshape(x.shape)
        return y


def per_position(network: nn.Sequential, side: int) -> nn.Sequential:
    """Return the layers of a network with each batch norm of maps put into positions.

    Parameters
    ----------
    network : torch.nn.Sequential
        Its convolutions keep the size of a map, and each of its poolings halves the side.
    side : int
        Pixels of a side of an image.
    """
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            layer = BatchNormPositions(layer.num_features, side, layer.eps)
        elif isinstance(layer, nn.MaxPool2d):
            side //= 2
        layers.append(layer)
    return nn.Sequential(*layers)


@dataclass(frozen=True, kw_only=True)
class Config(variants.Config):
    """Settings of one run: those of :class:`bn.experiments.variants.Config`, and the following.

    Attributes
    ----------
    positions : bool
        Whether batch normalization has statistics, γ and β for each position of a map.
    """

    positions: bool = False

    def begin(self, seed: int, data: ImageDataset) -> "PlacementTrial":
        """Return the run, with its network as it starts."""
        return PlacementTrial(self, seed, self.chosen(data))


# paper: s32-before-nonlinearity, s32-maps
class PlacementTrial(variants.VariantTrial):
    """One run on a CPU, in float32.

    Beside the figures of :class:`bn.experiments.variants.VariantTrial`, and where all training
    images are trained on, there are `skewness` (its size) and `kurtosis` of each hidden layer's
    ``Wu (+ b)`` (`wu`) and of what its ReLU returns (`relu`): medians over maps or units, the
    lowest layer first, after training and in inference mode.
    """

    config: Config

    def __init__(self, config: Config, seed: int, data: ImageDataset) -> None:
        # chosen here, not by a stopwatch: the arms shall differ in what they are named by only
        super().__init__(config, seed, data, device=torch.device("cpu"), precision="float32")
        if config.images:  # so few that looking at the others would take longer than training
            self.evaluate_at = [self.steps]

    def build(self, generator: torch.Generator, data: ImageDataset) -> nn.Module:
        """Build the network."""
        network = super().build(generator, data)
        assert isinstance(network, nn.Sequential)
        if not self.config.positions:
            return network
        return per_position(network, data.train_images.shape[2])

    def finish(self, history: History) -> tuple[Curve, Final]:
        """Return the curve of accuracy and loss, and the figures after training."""
        curve, final = super().finish(history)
        if self.config.images and not history.diverged:
            curve["epoch"] = [self.config.epochs]
            final["epochs_done"] = self.config.epochs
        if not (history.diverged or self.config.held_out or self.config.images):
            final |= self.shapes()
        return curve, final

    def shapes(self) -> Final:
        """Return skewness and kurtosis around every ReLU."""
        x, _ = next(self.learner.images.in_order(LOOKED_AT))
        final: Final = {}
        for number, around in enumerate(around_relus(self.learner.network, x), start=1):
            for name, values in zip(("wu", "relu"), around, strict=True):
                rows = values.movedim(1, -1).reshape(-1, values.shape[1]).double().numpy()
                varied = rows[:, np.ptp(rows, axis=0) > 0]  # a ReLU may always return 0
                skewness, kurtosis = skewness_and_kurtosis(varied)
                final[f"skewness_{name}_{number}"] = float(np.median(np.abs(skewness)))
                final[f"kurtosis_{name}_{number}"] = float(np.median(kurtosis))
        return final


@torch.no_grad()
def around_relus(network: nn.Module, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return, for each ReLU, the output of the weights below it, and what the ReLU returns."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    assert isinstance(network, nn.Sequential)
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            below = x
        if isinstance(layer, nn.ReLU):
            found.append((below, x))
    return found


#: Highest learning rates: of the sweep, and of the study of positions.
RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
POSITION_RATES = (0.05, 0.2)
SWEEP: dict[str, Any] = {"epochs": 1, "held_out": 10_000}
SWEEP_SEED = 100
#: Epochs of the comparison; images and epochs of the study of positions.
EPOCHS = 2
FEW: dict[str, Any] = {"images": 2000, "epochs": 6}
STUDIES = ("placement-sweep", "placement-best", "placement-positions")


def arms(study: str, epochs: int | None = None) -> dict[str, Config]:
    """Return the arms of a study by name.

    `sweep`: learning rates, with images held out; `best`: batch normalization nowhere, before
    the ReLU and after it, each at the best rate of the sweep; `positions`: few images, with
    statistics for each map or for each position.

    Raises
    ------
    ValueError
        If there is no such study.
    RecordError
        For ``placement-best``, if the sweep that decides it has not been run to its end.
    """
    three = {
        f"relu-{norm}": Config(norm=norm, batch_norm=norm != "none", lr=0.1, epochs=EPOCHS)
        for norm in get_args(Norm)
    }
    if study == "placement-sweep":
        chosen = {
            f"{arm}-lr{lr:g}": replace(config, lr=lr, **SWEEP)
            for arm, config in three.items()
            for lr in RATES
        }
    elif study == "placement-best":
        best = best_rates("placement", arms("placement-sweep"), three)
        chosen = {arm: replace(config, lr=best[arm]) for arm, config in three.items()}
    elif study == "placement-positions":
        chosen = {
            f"{name}-lr{lr:g}": replace(
                three["relu-before"], positions=name == "per-position", lr=lr, **FEW
            )
            for name in ("per-map", "per-position")
            for lr in POSITION_RATES
        }
    else:
        raise ValueError(f"study is {study!r}, expected one of {', '.join(STUDIES)}")
    return of_length(chosen, epochs=epochs)


def protocol(study: str) -> Protocol:
    """Return what a study compares, and how its settings were chosen."""
    if study == "placement-sweep":
        return Protocol(
            "learning rates, for batch normalization before the ReLU, after it and nowhere",
            first_seed=SWEEP_SEED,
        )
    if study == "placement-positions":
        return Protocol(
            "statistics for each map or for each position, from few images, at the same settings "
            "and each of two learning rates",
            settings="same",
        )
    return Protocol(
        "batch normalization before the ReLU, after it and nowhere, each at its best rate",
        settings="chosen",
        chosen_by="held_out_accuracy",
        sweep="placement-sweep",
    )
