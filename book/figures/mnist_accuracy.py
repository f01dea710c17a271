"""Accuracy over training on MNIST, with and without batch normalization, from the record."""

from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import band, figure

STUDY = "mnist-paper"


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axes = figure(2.9)
    for side in ("plain", "bn"):
        of_side = [run for run in runs if run.arm == side]
        band(
            axes,
            [step or 0 for step in of_side[0].curve["step"]],
            [[value or 0 for value in run.curve["test_accuracy"]] for run in of_side],
            side,
        )
    axes.set_xlim(0, 50_000)
    axes.set_ylim(0.8, 1)
    axes.set_xticks(range(0, 50_001, 10_000))
    axes.set_xlabel("training steps (mini-batches of 60)")
    axes.set_ylabel("test accuracy")
    axes.legend(loc="lower right")
    return fig
