"""How many independent values dependent ones are worth, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, SIDES, figure

STUDY = "estimates-layers"
MARKS = {
    "mean_values": ("o", SIDES["bn"]["color"], "for the mean"),
    "var_values": ("s", SIDES["plain"]["color"], "for the variance"),
}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, (above, below) = figure(6.2, 2, 1)
    for axis, arm, prefix in ((above, "mnist", "training_"), (below, "cifar", "")):
        curves = [run.curve for run in runs if run.arm == arm]
        layers = np.array(curves[0]["layer"], float)
        for layer, count in zip(layers, curves[0]["values"], strict=True):
            label = "their number" if layer == 1 else None
            axis.plot([layer - 0.35, layer + 0.35], [count, count], color=INK, lw=2, label=label)
        for (name, (marker, color, label)), aside in zip(MARKS.items(), (-0.1, 0.1), strict=True):
            values = np.array([curve[prefix + name] for curve in curves], float)
            middle = values.mean(axis=0)
            reach = np.abs([values.min(axis=0) - middle, values.max(axis=0) - middle])
            axis.errorbar(
                layers + aside, middle, reach, fmt=marker, ms=6, color=color, capsize=3,
                label=label,
            )  # fmt: skip
        axis.set_yscale("log")
        axis.set_xticks(layers, [f"{layer:g}" for layer in layers])
        axis.set_xlabel("layer")
        axis.set_ylabel("independent values")
        axis.grid(axis="x", visible=False)
    above.set_title("60 images, layers below in training mode")
    above.set_ylim(20, 20_000)
    above.legend(loc="upper left")
    below.set_title("positions of one image's map")
    below.set_ylim(0.8, 3000)
    below.axhline(1, color=GREY, lw=1.2, ls=":")
    below.legend(loc="upper right")
    return fig
