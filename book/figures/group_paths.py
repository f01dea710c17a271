"""Test accuracy against training loss along the training, by groups, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import figure

STUDY = "noise-groups"
MARKS = ("o", "s", "^", "v", "D")


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axis = figure(3.4)
    for g, mark in zip(sorted({int(run.config["group"]) for run in runs}), MARKS, strict=True):
        curves = [run.curve for run in runs if run.config["group"] == g]
        loss, accuracy = (
            np.array([curve[name] for curve in curves], float).mean(axis=0)
            for name in ("training_loss", "test_accuracy")
        )
        axis.plot(loss, 100 * accuracy, marker=mark, ms=5, label=f"g = {g}")
    axis.set_xscale("log")
    axis.invert_xaxis()
    axis.set_xlabel("loss on the images trained on (falls to the right)")
    axis.set_ylabel("test accuracy (%)")
    axis.legend(loc="lower right")
    return fig
