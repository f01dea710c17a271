"""Batch norm with what follows it: each form's time over that of the fastest eager one."""

from matplotlib.figure import Figure

from bn.bench import records
from bn.bench.cases import IMAGES, name_of
from bn.bench.fusions import KINDS
from bn.style import INK, figure

#: Contender: label, marker, colour.
SHOWN = {
    "eager": ("torch.nn, plain", "D", "#d55e00"),
    "compile": ("torch.compile", "v", "#56b4e9"),
    "compile-last": ("torch.compile, channels_last", "<", "#cc79a7"),
    "ours": ("fused", "o", "#0072b2"),
    "ours-last": ("fused, channels_last", "^", "#009e73"),
}


def draw() -> Figure:
    rows = records.load("fused")["rows"]
    fig, axes = figure(5.4, len(KINDS), 1, sharex=True)
    shapes = [name_of(shape) for shape in IMAGES][::-1]
    for ax, (kind, title) in zip(axes, KINDS.items(), strict=True):
        for name, (label, marker, color) in SHOWN.items():
            points = [
                (row["ratio_to_best_eager"], shapes.index(row["shape"]))
                for row in rows
                if row["kind"] == kind and row["contender"] == name and row["shape"] in shapes
            ]
            if points:
                ax.plot(
                    *zip(*points, strict=True), marker, color=color, ms=6.5,
                    label=label if ax is axes[0] else None,
                )  # fmt: skip
        ax.axvline(1, color=INK, lw=1)
        ax.set_title(title)
        ax.set_yticks(range(len(shapes)), [shape.replace("x", "×") for shape in shapes])
        ax.set_ylim(-0.5, len(shapes) - 0.5)
        ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8]
    axes[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[-1].set_xticks([], minor=True)
    axes[-1].set_xlabel("time over the fastest eager one's (log)")
    fig.legend(loc="outside upper center", ncols=2, fontsize=9.5)
    return fig
