"""Shapes on both sides of a trained network's ReLUs, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, SIDES, figure

LAYERS = (1, 2, 3, 4)
ARMS = {"relu-before": (-0.12, "before"), "relu-none": (0.0, "none"), "relu-after": (0.12, "after")}
SIDE = {
    "wu": ("o", SIDES["bn"]["color"], "in front of the ReLU"),
    "relu": ("s", SIDES["plain"]["color"], "behind the ReLU"),
}


def draw() -> Figure:
    runs = record.load("placement-best")
    fig, axes = figure(5.0, 2, 1, sharex=True)
    for axis, measure in zip(axes, ("skewness", "kurtosis"), strict=True):
        for arm, (aside, _) in ARMS.items():
            finals = [run.final for run in runs if run.arm == arm and not run.final["diverged"]]
            for name, (marker, color, label) in SIDE.items():
                values = np.array(
                    [[final[f"{measure}_{name}_{layer}"] for layer in LAYERS] for final in finals],
                    float,
                )
                middle = values.mean(axis=0)
                reach = np.abs([values.min(axis=0) - middle, values.max(axis=0) - middle])
                axis.errorbar(
                    np.array(LAYERS) + aside, middle, reach, fmt=marker, ms=5, color=color,
                    capsize=2, label=label if arm == "relu-none" else None,
                )  # fmt: skip
    for axis, gaussian, title in zip(axes, (0, 3), ("skewness, its size", "kurtosis"), strict=True):
        axis.axhline(gaussian, color=GREY, lw=1.2, ls=":")
        axis.set_ylabel(title)
        axis.grid(axis="x", visible=False)
    axes[0].legend(loc="best")
    axes[1].set_yscale("log")
    axes[1].set_yticks([2, 3, 5, 10, 20, 50], ["2", "3", "5", "10", "20", "50"])
    axes[1].set_yticks([], minor=True)
    axes[1].text(0.6, 3.1, "Gaussian", color=INK, fontsize=9.5, va="bottom")
    axes[1].set_xlim(0.55, 4.5)
    axes[1].set_xticks(LAYERS, ["1", "2", "3", "4 (dense)"])
    axes[1].set_xlabel("hidden layer")
    return fig
