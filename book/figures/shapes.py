"""How far u and Wu are from a Gaussian's shape, layer by layer, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, SIDES, figure

STUDY = "estimates-layers"
#: Network, its name, where its first layer stands on the axis.
NETWORKS = (("mnist", "MNIST, sigmoids", 1), ("cifar", "CIFAR-10, ReLU", 5))
MARKS = {"u": ("s", SIDES["plain"]["color"], "$u$"), "x": ("o", SIDES["bn"]["color"], "$Wu$")}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axes = figure(5.2, 2, 1, sharex=True)
    ticks: list[tuple[int, str]] = []
    for arm, title, first in NETWORKS:
        curves = [run.curve for run in runs if run.arm == arm]
        layers = [int(layer or 0) for layer in curves[0]["layer"]]
        places = np.array([first + layer - 1 for layer in layers])
        ticks += zip(places.tolist(), map(str, layers), strict=True)
        axes[0].text(places.mean(), 1.02, title, ha="center", va="bottom", color=INK,
                     transform=axes[0].get_xaxis_transform())  # fmt: skip
        for axis, measure in zip(axes, ("skewness", "kurtosis"), strict=True):
            for name, (marker, color, label) in MARKS.items():
                values = np.array([curve[f"{measure}_{name}"] for curve in curves], float)
                middle = values.mean(axis=0)
                reach = np.abs([values.min(axis=0) - middle, values.max(axis=0) - middle])
                axis.errorbar(
                    places, middle, reach, fmt=marker, ms=6, color=color, capsize=3,
                    label=label if first == 1 else None,
                )  # fmt: skip
    for axis, gaussian, title in zip(axes, (0, 3), ("skewness, its size", "kurtosis"), strict=True):
        axis.axhline(gaussian, color=GREY, lw=1.2, ls=":")
        axis.axvline(4, color=GREY, lw=0.8)
        axis.set_ylabel(title)
        axis.grid(axis="x", visible=False)
    axes[0].legend(loc="upper right", ncols=2)
    axes[1].set_yscale("log")
    axes[1].set_yticks([2, 3, 5, 10, 20], ["2", "3", "5", "10", "20"])
    axes[1].set_yticks([], minor=True)
    axes[1].text(4.1, 3.08, "Gaussian", color=INK, fontsize=9.5, va="bottom")
    axes[1].set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    axes[1].set_xlabel("layer")
    return fig
