"""How the time grows with the number of examples, of channels, and with the size of the maps."""

import math

import numpy as np
from matplotlib.figure import Figure

from bn.bench import records
from bn.style import GREY, figure

AXES = {"N": "more examples", "C": "more channels", "H": "larger maps"}
#: Contender: label, line and marker, colour.
SHOWN = {
    "numpy-closed": ("NumPy, closed form", ":D", "#cc79a7"),
    "torch": ("torch", "--s", "#d55e00"),
    "numba": ("kernels", "-o", "#0072b2"),
}


def draw() -> Figure:
    rows = [row for row in records.load("growth")["rows"] if "ms" in row]
    fig, axes = figure(6.6, len(AXES), 1, sharex=True, sharey=True)
    for ax, (axis, title) in zip(axes, AXES.items(), strict=True):
        for name, (label, style, color) in SHOWN.items():
            points = sorted(
                (math.prod(map(int, row["shape"].split("x"))), row["ms"])
                for row in rows
                if row["axis"] == axis and row["contender"] == name
            )
            if points:
                ax.plot(
                    *zip(*points, strict=True), style, color=color, ms=5, lw=1.2,
                    label=label if ax is axes[0] else None,
                )  # fmt: skip
        ends = np.array([1e5, 3e7])
        for per_million in (0.1, 1, 10):  # slope 1
            ax.plot(ends, per_million * ends / 1e6, color=GREY, lw=0.7, zorder=0)
        ax.set_title(title)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(0.1, 200)
        ax.set_ylabel("milliseconds")
    axes[-1].set_xlabel("elements of x")
    fig.legend(loc="outside upper center", ncols=3, fontsize=9.5)
    return fig
