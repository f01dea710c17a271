"""The layer by itself: each contender's time over that of torch, shape by shape, from the bench."""

from matplotlib.figure import Figure

from bn.bench import records
from bn.bench.cases import SHAPES, name_of
from bn.style import INK, figure

#: Contender: label, marker, colour.
SHOWN = {
    "numpy-steps": ("NumPy, step by step", "s", "#d55e00"),
    "numpy-closed": ("NumPy, closed form", "D", "#cc79a7"),
    "compile": ("torch.compile", "v", "#56b4e9"),
    "bn-auto": ("bn.pytorch", "P", "#767676"),
    "numba": ("kernels", "^", "#009e73"),
    "numba-out": ("kernels, mapped", "o", "#0072b2"),
}


def draw() -> Figure:
    made = records.load("layers")
    copy = made["settings"]["copy_gb_per_s"]
    times = {
        (row["shape"], row["contender"]): row["ms"]
        for row in made["rows"]
        if row["operation"] == "both"
    }
    shapes = [shape for shape in SHAPES if (name_of(shape), "torch") in times][::-1]
    fig, ax = figure(4.6)
    for name, (label, marker, color) in SHOWN.items():
        points = [
            (times[name_of(shape), name] / times[name_of(shape), "torch"], y)
            for y, shape in enumerate(shapes)
            if (name_of(shape), name) in times
        ]
        if points:
            ax.plot(*zip(*points, strict=True), marker, color=color, label=label, ms=6.5)
    limits = []
    for shape in shapes:
        size = 4
        for length in shape:
            size *= length
        limits.append(5 * size / copy / 1e6 / times[name_of(shape), "torch"])
    ax.plot(limits, range(len(shapes)), "|", color=INK, ms=16, mew=2, label="5 passes of a copy")
    ax.axvline(1, color=INK, lw=1)
    ax.set_xscale("log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_yticks(range(len(shapes)), ["×".join(map(str, shape)) for shape in shapes])
    ax.set_ylim(-0.5, len(shapes) - 0.5)
    ax.set_xlabel("time, divided by torch's (log scale)")
    fig.legend(loc="outside upper center", ncols=2, fontsize=9.5)
    return fig
