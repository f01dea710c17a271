"""Loss and accuracy against the number of examples that share statistics, from the record."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import SIDES, figure

STUDY = "noise-groups"
TRAINING, TEST, OTHER = SIDES["plain"]["color"], SIDES["bn"]["color"], "#009e73"


def draw() -> Figure:
    runs = record.load(STUDY)
    sizes = sorted({int(run.config["group"]) for run in runs})
    at = np.arange(len(sizes), dtype=float)
    fig, (above, below) = figure(6.0, 2, 1, sharex=True)

    def points(
        axis: Axes, name: str, mark: str, color: str, label: str, by: float = 1, aside: float = 0
    ) -> None:
        values = [
            [by * (r.final[name] or 0) for r in runs if r.config["group"] == g] for g in sizes
        ]
        middle = np.array([np.mean(each) for each in values])
        low = middle - [min(each) for each in values]
        high = np.array([max(each) for each in values]) - middle
        axis.errorbar(
            at + aside, middle, [low, high], fmt=mark, color=color, capsize=3, ms=6, lw=1.4,
            label=label,
        )  # fmt: skip

    points(above, "test_loss", "o-", TEST, "test images")
    points(above, "training_loss", "s--", TRAINING, "images trained on")
    above.set_ylabel("loss, inference mode")
    above.set_ylim(0, None)
    above.legend(loc="center right", bbox_to_anchor=(1, 0.45))
    points(below, "test_accuracy", "o-", TEST, "running statistics", 100, -0.08)
    points(below, "test_accuracy_whole", "^:", OTHER, "of all images", 100, 0.08)
    points(below, "test_accuracy_groups", "s--", TRAINING, "training mode, in groups", 100)
    below.set_ylabel("test accuracy (%)")
    below.legend(loc="lower right", title="statistics at the test")
    below.set_xticks(at, [f"{g}" for g in sizes])
    below.set_xlabel("examples g that share statistics")
    return fig
