"""What new memory costs: forward and backward under three settings of the allocator."""

from matplotlib.figure import Figure

from bn.bench import records
from bn.bench.cases import IMAGES, name_of
from bn.style import figure

#: Setting: label, marker, colour.
SETTINGS = {
    "default": ("as it is", "D", "#d55e00"),
    "huge-pages": ("pages of 2 MB", "^", "#009e73"),
    "tuned": ("freed memory is kept", "o", "#0072b2"),
}
CONTENDERS = {"torch": "torch", "numba": "kernels"}


def draw() -> Figure:
    rows = records.load("allocation")["rows"]
    fig, axes = figure(5.2, len(CONTENDERS), 1, sharex=True)
    shapes = [name_of(shape) for shape in IMAGES][::-1]
    for ax, (contender, title) in zip(axes, CONTENDERS.items(), strict=True):
        for setting, (label, marker, color) in SETTINGS.items():
            chosen = [
                row
                for row in rows
                if row["contender"] == contender
                and row["setting"] == setting
                and row["shape"] in shapes
            ]
            if chosen:
                ax.errorbar(
                    [row["ms"] for row in chosen],
                    [shapes.index(row["shape"]) for row in chosen],
                    xerr=[
                        [row["ms"] - row["low"] for row in chosen],
                        [row["high"] - row["ms"] for row in chosen],
                    ],
                    fmt=marker, color=color, ms=6.5, capsize=3,
                    label=label if ax is axes[0] else None,
                )  # fmt: skip
        ax.set_title(title)
        ax.set_yticks(range(len(shapes)), [shape.replace("x", "×") for shape in shapes])
        ax.set_ylim(-0.5, len(shapes) - 0.5)
        ax.set_xlim(left=0)
    axes[-1].set_xlabel("milliseconds, forward and backward")
    fig.legend(loc="outside upper center", ncols=3, fontsize=9.5)
    return fig
