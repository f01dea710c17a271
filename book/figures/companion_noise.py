"""The noise in one example's normalized value against the value, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.companions import SIZES
from bn.style import figure

STUDY = "companions"
MARKS = dict(zip(SIZES, ("^", "s", "o"), strict=True))


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axis = figure(3.6)

    def mean_of(name: str) -> np.ndarray:
        values: np.ndarray = np.array([run.curve[name] for run in runs], float).mean(axis=0)
        return values

    z = mean_of("z")
    for i, (m, mark) in enumerate(MARKS.items()):
        color = f"C{i}"
        axis.plot(z, mean_of(f"std_{m}"), mark, color=color, ms=6)
        axis.plot(z, mean_of(f"theory_{m}"), color=color)
        axis.plot(z, mean_of(f"leading_{m}"), color=color, ls=(0, (2, 2)), lw=1.2)
        axis.annotate(
            f"m = {m}", (0, mean_of(f"std_{m}")[len(z) // 2]), (0, 9),
            textcoords="offset points", ha="center", color=color,
        )  # fmt: skip
    axis.set_ylim(0, 0.9)
    axis.set_xlabel("the example's value (population's standard deviations)")
    axis.set_ylabel("standard deviation of x̂")
    return fig
