"""Test accuracy in the first steps of training, by what stands for the population's statistics."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, figure

STUDY, ARM = "running", "bn"
#: Kind of average: label, colour, dash, marker.
KINDS = {
    "recomputed": ("recomputed at each step", INK, "-", "o"),
    "0.1": ("momentum 0.1", "#0072b2", "-", "s"),
    "0.01": ("momentum 0.01", "#d55e00", "--", "^"),
    "corrected": ("momentum 0.01, start removed", "#009e73", "-.", "v"),
    "0.001": ("momentum 0.001", "#cc79a7", ":", "D"),
}


def draw() -> Figure:
    curves = [run.curve for run in record.load(STUDY) if run.arm == ARM]
    steps = curves[0]["step"]
    fig, axes = figure(3.6)
    for kind, (label, color, dash, marker) in KINDS.items():
        values = 100 * np.array([curve[f"accuracy_{kind}"] for curve in curves], float)
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15)
        axes.plot(steps, values.mean(axis=0), ls=dash, marker=marker, ms=5, color=color,
                  label=label)  # fmt: skip
    axes.axhline(10, color=GREY, lw=1, ls=":")
    axes.set_xscale("log")
    axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    axes.set_xlabel("steps of training")
    axes.set_ylabel("test accuracy (%)")
    axes.set_ylim(0, 100)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, fontsize=9, handlelength=3)
    return fig
