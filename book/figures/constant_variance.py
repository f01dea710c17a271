"""Weights and loss of sigmoid networks whose gradient ignores the mean, or mean and variance."""

import math

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, SIDES, band, figure

STUDY = "outside-fast"
LINES = {
    "centre": {"color": "#009e73", "linestyle": ":", "lw": 2.6, "label": "centred, mean ignored"},
    "scale": {**SIDES["plain"], "label": "divided too, both ignored"},
    "scale-through": {**SIDES["bn"], "label": "the same, right gradient"},
    "plain": {"color": GREY, "linestyle": "-.", "label": "not normalized"},
}
LAW = "root of the steps"


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, (top, bottom) = figure(5.4, 2, sharex=True)
    for arm, style in LINES.items():
        of_arm = [run for run in runs if run.arm == arm]
        steps = [step or 0 for step in of_arm[0].curve["step"]]
        for axes, name, first in ((top, "weight_norm", 0), (bottom, "loss", 1)):
            curves = [[value or 0 for value in run.curve[name][first:]] for run in of_arm]
            band(axes, steps[first:], curves, "bn", **style)
            if axes is top and arm in ("centre", "scale"):
                # the squared length grows in proportion to the steps, from start to end
                mean = np.mean(curves, axis=0)
                k = np.array(steps) / steps[-1]
                law = np.sqrt(mean[0] ** 2 + (mean[-1] ** 2 - mean[0] ** 2) * k)
                top.plot(steps, law, color=INK, lw=0.9, label=LAW if arm == "scale" else "_")
    bottom.axhline(math.log(10), color=INK, lw=0.9)
    bottom.text(steps[-1], math.log(10) * 1.1, "guessing", ha="right", color=INK, fontsize=9.5)
    top.set_ylabel("length of the weights")
    top.set_ylim(0)
    handles = top.get_legend_handles_labels()
    fig.legend(*handles, fontsize=9.5, loc="outside upper center", ncols=2, columnspacing=1)
    bottom.set_ylabel("training loss, nats")
    bottom.set_yscale("log")
    bottom.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    bottom.minorticks_off()
    bottom.set_ylim(0.05, 25)
    bottom.set_xlim(0, steps[-1])
    bottom.set_xlabel("training steps (mini-batches of 60)")
    return fig
