"""Biases and loss of a sigmoid network whose gradient ignores the mean, from the record."""

from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, SIDES, band, figure

STUDY = "outside-sigmoid"
BLUE, ORANGE, GREEN = SIDES["bn"]["color"], SIDES["plain"]["color"], "#009e73"
LINES = {
    "centre": {"color": ORANGE, "linestyle": "--", "label": "mean ignored"},
    "centre-no-bias": {"color": GREEN, "linestyle": ":", "lw": 3, "label": "ignored, no biases"},
    "centre-through": {"color": BLUE, "linestyle": "-", "label": "gradient through the mean"},
    "plain": {"color": GREY, "linestyle": "-.", "label": "nothing subtracted"},
}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, (top, bottom) = figure(4.9, 2, sharex=True)
    for arm, style in LINES.items():
        of_arm = [run for run in runs if run.arm == arm]
        steps = [step or 0 for step in of_arm[0].curve["step"]]
        for axes, name, first in ((top, "bias_norm", 0), (bottom, "loss", 1)):
            if (axes is top) and arm == "centre-no-bias":
                continue  # it has none
            curves = [[value or 0 for value in run.curve[name][first:]] for run in of_arm]
            band(axes, steps[first:], curves, "bn", **style)
    top.set_ylabel("length of the biases")
    top.set_ylim(0)
    bottom.set_ylabel("training loss, nats")
    bottom.set_ylim(0)
    bottom.set_xlim(0, steps[-1])
    bottom.set_xlabel("training steps (mini-batches of 60)")
    bottom.legend(fontsize=9.5)
    return fig
