"""What the drift is a quotient of: how far the means wander, and how far the images spread."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.record import Run
from bn.style import GREY, SIDES, figure

ORANGE, BLUE = SIDES["plain"]["color"], SIDES["bn"]["color"]
#: Study, layers, title; per arm: marker, colour, label.
COLUMNS: tuple[tuple[str, int, str, dict[str, tuple[str, str, str]]], ...] = (
    (
        "drift", 3, "three layers",
        {
            "plain": ("o", ORANGE, "without, 0.1"),
            "plain-fast": ("^", ORANGE, "without, 1"),
            "bn": ("o", BLUE, "with BN, 0.1"),
            "bn-fast": ("^", BLUE, "with BN, 1"),
        },
    ),
    (
        "drift-deep", 6, "six layers, rate 0.1",
        {
            "plain": ("o", GREY, "without, s = 0.1"),
            "plain-careful": ("D", ORANGE, "without, s = 0.4"),
            "bn": ("o", BLUE, "with BN, s = 0.1"),
        },
    ),
)  # fmt: skip


def draw() -> Figure:
    fig, panels = figure(7.2, 2, 2, sharey="row", sharex="col", width_ratios=(4, 5))
    for column, (study, depth, title, arms) in enumerate(COLUMNS):
        wander, spread = panels[:, column]
        runs = record.load(study)
        for i, (arm, (marker, color, label)) in enumerate(arms.items()):
            x = np.arange(1, depth + 1) + 0.13 * (i - (len(arms) - 1) / 2)
            means = partial(layer_means, runs, arm, depth)
            look: dict[str, Any] = {"color": color, "marker": marker, "ms": 5.5, "ls": ""}
            wander.plot(x, means("wander"), label=label, **look)
            spread.vlines(x, means("start_spread"), means("spread"), color=color, lw=1.2)
            spread.plot(x, means("spread"), **look)
            wander.plot(x, means("wander_inference"), mfc="white", **look)
        wander.set_title(title)
        wander.legend(loc="lower center", bbox_to_anchor=(0.45, 1.1), fontsize=8.5,
                      handletextpad=0.3)  # fmt: skip
        spread.set_xticks(range(1, depth + 1))
        spread.set_xlabel("hidden layer")
        for axes in (wander, spread):
            axes.set_yscale("log")
    panels[0, 0].set_ylabel("wander of the mean")
    panels[1, 0].set_ylabel("standard deviation: start to end")
    return fig


def layer_means(runs: list[Run], arm: str, depth: int, name: str) -> list[float]:
    """Return the mean over seeds of a figure of each layer."""
    return [record.summarize(runs, arm, f"{name}_{k}").mean for k in range(1, depth + 1)]
