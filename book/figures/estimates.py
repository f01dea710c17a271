"""How good a mini-batch's mean and variance are, against its size, from the record."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.estimates import spread_of_variance
from bn.style import GREY, INK, SIDES, figure

STUDY = "estimates"
BLUE = SIDES["bn"]["color"]


def draw() -> Figure:
    curves = [run.curve for run in record.load(STUDY)]
    sizes = np.array(curves[0]["size"], float)
    fig, axes = figure(7.0, 3, 1, sharex=True)

    def recorded(name: str) -> np.ndarray:
        return np.array([curve[name] for curve in curves], float)  # (seeds, sizes)

    def measured(i: int, name: str) -> None:
        values = recorded(name)
        low, middle, high = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
        axes[i].errorbar(
            sizes, middle, [middle - low, high - middle], fmt="o", ms=5, color=BLUE, capsize=3,
            label="measured", zorder=3,
        )  # fmt: skip

    measured(0, "mean_error")
    axes[0].plot(sizes, 1 / np.sqrt(sizes), color=INK, lw=1.2, label=r"theory, $1/\sqrt{m}$")
    axes[0].set_title("error of the mean")
    axes[0].set_ylabel("standard deviations")

    measured(1, "var_mean")
    m = np.geomspace(2, 256, 100)
    axes[1].plot(m, (m - 1) / m, color=INK, lw=1.2, label="theory, $(m-1)/m$")
    axes[1].axhline(1, color=GREY, lw=1, ls=":")
    axes[1].set_ylim(0.4, 1.05)
    axes[1].set_title("average of the variance")
    axes[1].set_ylabel("true variances")

    measured(2, "var_std")
    theory = recorded("var_std_theory").mean(axis=0)
    axes[2].plot(sizes, theory, color=INK, lw=1.2, label="theory, measured kurtosis")
    gauss = spread_of_variance(3.0, m)
    axes[2].plot(m, gauss, "--", color=GREY, lw=1.4, label="theory, Gaussian")
    axes[2].set_title("spread of the variance")
    axes[2].set_ylabel("true variances")
    axes[2].set_xlabel("mini-batch size m")

    for axis in (axes[0], axes[2]):
        axis.set_yscale("log")
        axis.set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
        axis.set_yticks([], minor=True)
    axes[2].set_xscale("log")
    axes[2].set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes[2].set_xticks([], minor=True)
    for axis, place in zip(axes, ("upper right", "lower right", "upper right"), strict=True):
        axis.legend(loc=place, fontsize=9.5)
    return fig
