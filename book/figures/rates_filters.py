"""How filters in front of a batch norm grow and turn, with weight decay and without."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.rates import steady_angle
from bn.style import INK, figure

STUDY, LAYER = "rates-decay", 2
#: Colour, dash and label of each arm.
LOOKS = {
    "bn": ("#d55e00", "-", "no decay"),
    "bn-decay0.01": ("#009e73", "-", "decay 0.01"),
    "bn-decay0.001": ("#0072b2", "-", "decay 0.001"),
    "bn-long-decay0.001": ("#0072b2", "--", "the same, long start"),
    "bn-short-decay0.001": ("#0072b2", ":", "the same, short start"),
}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axes = figure(6.6, 2, 1, sharex=True)
    for arm, (color, dash, label) in LOOKS.items():
        chosen = [run for run in runs if run.arm == arm]
        steps = np.array(chosen[0].curve["step"], float)
        for axis, name, scale in ((axes[0], "norm", 1.0), (axes[1], "turn", 180 / np.pi)):
            values = scale * np.array([run.curve[f"{name}_{LAYER}"] for run in chosen], float)
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(steps, low, high, color=color, alpha=0.2, lw=0)
            axis.plot(steps, values.mean(axis=0), color=color, ls=dash, label=label)
        config = chosen[0].config
        if config["decay"]:
            steady = np.degrees(steady_angle(config["lr"], config["decay"]))
            axes[1].axhline(steady, color=INK, lw=0.9, ls=(0, (6, 4)), zorder=0)
    for axis in axes:
        axis.set_yscale("log")
    axes[0].set_yticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
    axes[0].set_yticks([], minor=True)
    axes[0].set_ylabel("length of a filter")
    axes[1].set_ylabel("angle of a step (degrees)")
    axes[1].set_ylim(0.2, 20)
    axes[1].set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    axes[1].set_yticks([], minor=True)
    axes[1].set_xlabel("training steps")
    axes[0].legend(fontsize=9, ncols=2, loc="upper right")
    axes[0].set_ylim(0.25, 6)
    return fig
