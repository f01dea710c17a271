"""Drift of every hidden layer, without and with batch normalization, in both modes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, SIDES, figure

ORANGE, BLUE = SIDES["plain"]["color"], SIDES["bn"]["color"]
#: Study, layers, title, ends of the axis; per arm: marker, colour, label.
PANELS: tuple[tuple[str, int, str, tuple[float, float], dict[str, tuple[str, str, str]]], ...] = (
    (
        "drift", 3, "three hidden layers", (0.02, 10),
        {
            "plain": ("o", ORANGE, "without BN, 0.1"),
            "plain-fast": ("^", ORANGE, "without BN, 1"),
            "bn": ("o", BLUE, "with BN, 0.1"),
            "bn-fast": ("^", BLUE, "with BN, 1"),
        },
    ),
    (
        "drift-deep", 6, "six hidden layers, rate 0.1", (0.005, 20_000),
        {
            "plain": ("o", GREY, "without BN, s = 0.1"),
            "plain-careful": ("D", ORANGE, "without BN, s = 0.4"),
            "bn": ("o", BLUE, "with BN, s = 0.1"),
        },
    ),
)  # fmt: skip


def draw() -> Figure:
    fig, panels = figure(6.4, 2, 1)
    for axes, (study, depth, title, ends, arms) in zip(panels, PANELS, strict=True):
        runs = record.load(study)
        for i, (arm, (marker, color, label)) in enumerate(arms.items()):
            x = np.arange(1, depth + 1) + 0.1 * (i - (len(arms) - 1) / 2)
            for mode in ("", "_inference"):
                names = [f"drift{mode}_{k}" for k in range(1, depth + 1)]
                values = np.array([[r.final[name] for name in names] for r in runs if r.arm == arm])
                look = {"mfc": "white" if mode else color, "label": None if mode else label}
                points(axes, x, values, fmt=marker, color=color, **look)
        axes.plot([], [], "s", ms=6, color=GREY, mfc="white", label="inference mode, step 250 on")
        axes.set_yscale("log")
        axes.set_ylim(ends)
        axes.set_xticks(range(1, depth + 1))
        axes.set_ylabel("drift D")
        axes.set_title(title)
        axes.legend(loc="upper left", ncols=2, fontsize=8.5, columnspacing=1, handletextpad=0.3)
    panels[1].set_xlabel("hidden layer, from below")
    return fig


def points(axes: Axes, x: np.ndarray, values: np.ndarray, **look: str | None) -> None:
    """Draw the mean over runs, shape (runs, layers), and a bar from smallest to largest."""
    middle = values.mean(axis=0)
    ends = [middle - values.min(axis=0), values.max(axis=0) - middle]
    axes.errorbar(x, middle, yerr=ends, ms=6, capsize=2.5, elinewidth=1, **look)  # type: ignore[arg-type]
