"""How far moving averages are from the statistics of the moment, by their momentum."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.statistics import MOMENTA
from bn.style import GREY, figure

STUDY = "running"
#: Layer: label, colour, dash, marker.
LINES = {
    1: ("layer 1", "#0072b2", "-", "o"),
    2: ("layer 2", "#009e73", "--", "s"),
    3: ("layer 3", "#d55e00", "-.", "^"),
}
#: Below these the start is still in the average when the training ends.
SHOWN = [p for p in MOMENTA if p > 0.005]


def draw() -> Figure:
    runs = record.load(STUDY)
    m = runs[0].config["batch_size"]
    fig, axes = figure(3.6)
    for layer, (label, color, dash, marker) in LINES.items():
        curves = [run.curve for run in runs]
        values = np.array([[c[f"mean_{layer}_{p:g}"][-1] for p in SHOWN] for c in curves], float)
        low, middle, high = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
        axes.errorbar(SHOWN, middle, [middle - low, high - middle], ls=dash, marker=marker, ms=5,
                      color=color, capsize=3, label=label)  # fmt: skip
    p = np.geomspace(min(SHOWN), 0.99, 50)
    axes.plot(p, np.sqrt(p / (2 - p) / m), color=GREY, lw=1.2, label="noise, independent values")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(SHOWN, [f"{p:g}" for p in SHOWN])
    axes.set_xticks([], minor=True)
    axes.set_yticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("momentum (weight of the new value)")
    axes.set_ylabel("error of the mean\n(standard deviations)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, fontsize=9)
    return fig
