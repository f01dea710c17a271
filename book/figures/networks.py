"""The network of section 4.1, without and with batch normalization."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bn.style import GREY, INK, SIDES, figure

BLUE = SIDES["bn"]["color"]


def _column(axes: Axes, x: float, title: str, boxes: list[tuple[str, str]], step: float) -> None:
    axes.text(x, 1.0, title, ha="center", va="bottom", fontsize=11, color=INK)
    for i, (text, kind) in enumerate(boxes):
        y = 0.97 - step * i
        color = BLUE if kind == "bn" else GREY
        if kind != "data":
            axes.add_patch(
                FancyBboxPatch(
                    (x - 0.2, y - 0.032), 0.4, 0.05, boxstyle="round,pad=0.004",
                    facecolor="#d9e8f5" if kind == "bn" else "#f2f2f2", edgecolor=color, lw=1,
                )
            )  # fmt: skip
        axes.text(x, y - 0.007, text, ha="center", va="center", fontsize=9.5, color=INK)
        if i + 1 < len(boxes):
            axes.annotate(
                "", (x, y - step + 0.024), (x, y - 0.036),
                arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 0.9, "mutation_scale": 8},
            )  # fmt: skip


def draw() -> Figure:
    fig, axes = figure(6.4)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.05, 1.06)
    plain: list[tuple[str, str]] = [("784 binary pixels", "data")]
    bn = plain.copy()
    for i in range(3):
        fan_in = 784 if i == 0 else 100
        plain += [(f"$Wu + b$   {fan_in} to 100", "layer"), ("sigmoid", "layer")]
        bn += [
            (f"$Wu$   {fan_in} to 100", "layer"),
            (r"BN   $\gamma, \beta$: 100", "bn"),
            ("sigmoid", "layer"),
        ]
    end = [("$Wu + b$   100 to 10", "layer"), ("softmax, 10 classes", "data")]
    _column(axes, 0.24, "without BN", plain + end, 0.083)
    _column(axes, 0.76, "with BN", bn + end, 0.083)
    return fig
