"""Loss on training and test images while a network overfits, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import SIDES, band, figure

STUDY = "noise-dropout"


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axes = figure(6.4, 3, 1, sharex=True)
    labels = {"0": "no dropout", "25": "dropout 0.25"}
    for side in SIDES:
        for dropout, width in (("0", 1.8), ("25", 1.0)):
            curves = [run.curve for run in runs if run.arm == f"{side}-{dropout}"]
            label = f"{SIDES[side]['label']}, {labels[dropout]}"
            look = {"label": label, "lw": width, "marker": "o" if dropout == "0" else "^", "ms": 4}
            for axis, name, by in zip(
                axes, ("training_loss", "test_loss", "test_accuracy"), (1, 1, 100), strict=True
            ):
                values = [by * np.array(curve[name], float) for curve in curves]
                band(axis, np.array(curves[0]["epoch"], float), values, side, **look)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("training loss")
    axes[1].set_ylabel("test loss")
    axes[2].set_ylabel("test accuracy (%)")
    axes[2].set_xlabel("epochs")
    axes[2].legend(loc="lower right", fontsize=9)
    return fig
