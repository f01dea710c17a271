"""Accuracy, loss and idle units over six decades of learning rates."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.rates import HIDDEN_RATES, RATES
from bn.style import SIDES, figure

STUDIES = {"rates-sigmoid": "sigmoids", "rates-relu": "ReLU"}
ROWS = {"held_out_accuracy": "accuracy (%)", "loss": "training loss (nats)", "idle": "idle (%)"}
#: Losses above it lie on the upper edge.
HIGHEST = 30.0


def draw() -> Figure:
    fig, axes = figure(6.8, 3, 2, sharex=True, sharey="row")
    for column, (study, title) in enumerate(STUDIES.items()):
        runs = record.load(study)

        def of(arm: str, key: str, runs: list[record.Run] = runs) -> np.ndarray:
            values = np.array([run.final[key] for run in runs if run.arm == arm], float)
            return values if key == "loss" else 100 * values

        for row, (key, label) in enumerate(ROWS.items()):
            axis = axes[row, column]
            for side, look in SIDES.items():
                points = [(lr, of(f"{side}-lr{lr:g}", key)) for lr in RATES]
                whole = [(lr, v[np.isfinite(v)]) for lr, v in points if np.isfinite(v).any()]
                x = [lr for lr, _ in whole]
                axis.fill_between(
                    x, [v.min() for _, v in whole], [v.max() for _, v in whole],
                    color=look["color"], alpha=0.2, lw=0,
                )  # fmt: skip
                axis.plot(x, [v.mean() for _, v in whole], marker="o", ms=3, **look)
                lost = [lr for lr, v in points if not np.isfinite(v).all()]
                if key == "held_out_accuracy":
                    height = 4 if side == "bn" else 0
                    axis.plot(lost, [height] * len(lost), "x", color=look["color"], ms=5)
                alone = [(lr, of(f"{side}-hidden-lr{lr:g}", key)) for lr in HIDDEN_RATES]
                alone = [(lr, v[np.isfinite(v)]) for lr, v in alone if np.isfinite(v).any()]
                axis.plot(
                    [lr for lr, _ in alone], [v.mean() for _, v in alone], "D",
                    color=look["color"], mfc="white", ms=5,
                )  # fmt: skip
            axis.set_xscale("log")
            axis.set_xlim(7e-4, 1.4e3)
            axis.set_xticks([1e-3, 1e-1, 1e1, 1e3], ["0.001", "0.1", "10", "1000"])
            axis.set_xticks([], minor=True)
            if column == 0:
                axis.set_ylabel(label)
            if key == "loss":
                axis.set_yscale("log")
                axis.set_ylim(0.1, HIGHEST)
                axis.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        axes[0, column].set_title(title)
        axes[2, column].set_xlabel("learning rate")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig
