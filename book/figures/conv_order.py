"""What moving batch norm behind the nonlinearity changes, by dropout's place and learning rate."""

import contextlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.order import PLACES, RATES
from bn.style import GREY, INK, figure

NONLINEARITIES = {"relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh"}
#: Marker and colour of dropout's places.
LOOKS = {"none": ("o", "#0072b2"), "before": ("s", "#d55e00"), "after": ("^", "#009e73")}


def draw() -> Figure:
    records = {}
    for nonlinearity in NONLINEARITIES:
        with contextlib.suppress(record.RecordError):  # one that has not been made
            records[nonlinearity] = record.load(f"order-{nonlinearity}")
    fig, axes = figure(0.6 + 1.7 * len(records), len(records), 1, sharex=True, squeeze=False)
    for axis, (nonlinearity, runs) in zip(axes[:, 0], records.items(), strict=True):
        panel(axis, runs)
        axis.set_title(NONLINEARITIES[nonlinearity], color=INK)
    handles = axes[0, 0].get_legend_handles_labels()[0]
    if len(handles) > 1:
        axes[0, 0].legend(loc="best", fontsize=9)
    axes[-1, 0].set_xlabel("after − before, points of test accuracy")
    return fig


def panel(axis: Axes, runs: list[record.Run]) -> None:
    """Draw the intervals of one nonlinearity."""
    lost = {run.arm for run in runs if run.final["diverged"]}
    made = {run.arm for run in runs}
    for row, lr in enumerate(RATES):
        for line, dropout in enumerate(PLACES):
            arms = [f"{norm}-{dropout}-lr{lr:g}" for norm in ("after", "before")]
            height = row + 0.25 * (line - 1)
            marker, color = LOOKS[dropout]
            if not made.issuperset(arms):
                continue
            if lost & set(arms):
                axis.text(0, height, "diverged", color=color, fontsize=8, va="center")
                continue
            after, before = (record.summarize(runs, arm, "test_accuracy") for arm in arms)
            change = record.paired(after, before)
            low, high = np.array(change.interval) * 100
            axis.plot([low, high], [height, height], color=color, lw=2)
            axis.plot(100 * change.mean, height, marker, color=color, ms=5,
                      label=f"dropout {dropout}" if row == 0 else None)  # fmt: skip
    axis.axvline(0, color=GREY, lw=1)
    axis.set_yticks(range(len(RATES)), [f"{lr:g}" for lr in RATES])
    axis.set_ylabel("learning rate")
    axis.set_ylim(len(RATES) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
