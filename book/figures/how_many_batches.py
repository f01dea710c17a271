"""Test accuracy by the number of mini-batches that the statistics were recomputed from."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import figure

STUDY = "running-population"
#: Estimator: label, colour, dash, marker.
LINES = {
    "algorithm2": ("Algorithm 2", "#0072b2", "-", "o"),
    "pooled": ("pooled", "#009e73", "--", "s"),
    "one": ("all as one mini-batch", "#222222", ":", "^"),
    "ema": ("moving average", "#d55e00", "-.", "v"),
}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, panels = figure(4.8, 2, 1, sharex=True, sharey=True)
    for axes, arm in zip(panels, ("shuffled", "sorted"), strict=True):
        curves = [run.curve for run in runs if run.arm == arm]
        counts = np.array(curves[0]["batches"], float)
        for name, (label, color, dash, marker) in LINES.items():
            values = 100 * np.array([curve[f"accuracy_{name}"] for curve in curves], float)
            low, middle, high = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
            axes.errorbar(counts, middle, [middle - low, high - middle], ls=dash, marker=marker,
                          ms=5, color=color, capsize=2, label=label)  # fmt: skip
        axes.set_title(f"mini-batches {'shuffled' if arm == 'shuffled' else 'sorted by class'}")
        axes.set_ylabel("test accuracy (%)")
    panels[0].legend(loc="lower right", fontsize=9, handlelength=3)
    panels[1].set_xscale("log")
    panels[1].set_xticks(counts, [f"{count:g}" for count in counts])
    panels[1].set_xticks([], minor=True)
    panels[1].set_xlabel("mini-batches of 60 images")
    return fig
