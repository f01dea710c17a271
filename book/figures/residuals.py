"""The closed form as a regression: what a straight line in x cannot explain of the gradient."""

import numpy as np
from matplotlib.figure import Figure

from bn.style import GREY, INK, SIDES, figure

BLUE, RED = SIDES["bn"]["color"], "#b04a00"
X, DY = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 0.0, 0.0, 0.0])
TIMES_28 = (13, -11, -7, 5)  # what is left, times 28


def draw() -> Figure:
    slope, at_zero = np.polyfit(X, DY, 1)
    fitted = at_zero + slope * X
    assert np.allclose(28 * (DY - fitted), TIMES_28)
    fig, axes = figure(2.9)
    ends = np.array([0.4, 6.6])
    axes.plot(ends, at_zero + slope * ends, color=GREY, lw=1.4)
    axes.text(4.3, 0.13, "best line", color=GREY, fontsize=10)
    for x, dy, line, over_28 in zip(X, DY, fitted, TIMES_28, strict=True):
        axes.annotate(
            "", (x, dy), (x, line),
            arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 2, "mutation_scale": 11,
                        "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        side = -1 if x == 2 else 1  # on its right is the next arrow
        axes.text(x + 0.09 * side, dy + 0.3 * (line - dy), f"{over_28}/28".replace("-", "−"),
                  color=BLUE, fontsize=10, va="center",
                  ha="left" if side > 0 else "right")  # fmt: skip
    axes.plot(X, DY, "o", color=RED, markersize=7)
    axes.text(1.15, 1.03, r"what arrives, $\bar y$", color=RED, fontsize=10.5)
    axes.set_xlim(0.4, 6.9)
    axes.set_ylim(-0.35, 1.15)
    axes.set_xticks(X)
    axes.set_xlabel("input $x_i$", color=INK)
    axes.set_ylabel("gradient, before the factor $\\gamma r$", color=INK)
    return fig
