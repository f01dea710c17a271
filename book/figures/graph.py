"""The computational graph of batch normalization, worked out in fractions for four numbers."""

import math
from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bn.style import GREY, INK, figure

RED = "#b04a00"
DOWN = {"arrowstyle": "-|>", "color": GREY, "lw": 1.1, "mutation_scale": 9, "shrinkA": 0,
        "shrinkB": 0}  # fmt: skip

#: A number on an edge is a list of one.
Numbers = list[Fraction]

X = [Fraction(x) for x in (1, 2, 3, 6)]
DY = [Fraction(dy) for dy in (1, 0, 0, 0)]
GAMMA, BETA, EPS = Fraction(2), Fraction(1), Fraction(1, 2)


def root(value: Fraction) -> Fraction:
    """Return the square root of a fraction that has one."""
    found = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    assert found * found == value
    return found


def edges() -> dict[str, tuple[Numbers, Numbers]]:
    """Return the value and the gradient on every edge.

    Where a quantity is used twice it has an edge of its own (``c``) and one for each use
    (``c to 3``), whose gradients are the parts that the one of the quantity is the sum of.
    """
    m = len(X)
    mean = sum(X, Fraction(0)) / m
    centred = [x - mean for x in X]
    squared = [c * c for c in centred]
    var = sum(squared, Fraction(0)) / m
    std = root(var + EPS)
    inv_std = 1 / std
    x_hat = [c * inv_std for c in centred]
    y = [GAMMA * h + BETA for h in x_hat]

    dbeta = sum(DY, Fraction(0))
    dgamma = sum((d * h for d, h in zip(DY, x_hat, strict=True)), Fraction(0))
    dx_hat = [GAMMA * d for d in DY]
    dinv_std = sum((d * c for d, c in zip(dx_hat, centred, strict=True)), Fraction(0))
    dcentred_product = [d * inv_std for d in dx_hat]
    dstd = -dinv_std / std**2
    dvar = dstd / (2 * std)
    dsquared = [dvar / m] * m
    dcentred_square = [2 * c * d for c, d in zip(centred, dsquared, strict=True)]
    dcentred = [a + b for a, b in zip(dcentred_product, dcentred_square, strict=True)]
    dmean = -sum(dcentred, Fraction(0))
    dx_mean = [dmean / m] * m
    dx = [a + b for a, b in zip(dcentred, dx_mean, strict=True)]
    return {
        "x": (X, dx),
        "x to 1": (X, dx_mean),
        "x to 2": (X, dcentred),
        "mu": ([mean], [dmean]),
        "c": (centred, dcentred),
        "c to 3": (centred, dcentred_square),
        "c to 7": (centred, dcentred_product),
        "s": (squared, dsquared),
        "v": ([var], [dvar]),
        "t": ([std], [dstd]),
        "r": ([inv_std], [dinv_std]),
        "x_hat": (x_hat, dx_hat),
        "gamma": ([GAMMA], [dgamma]),
        "beta": ([BETA], [dbeta]),
        "y": (y, DY),
    }


def text(values: Numbers) -> str:
    """Write one fraction, or several over their common denominator: (4, −3, −2, 1)/8."""
    if len(values) == 1:
        return str(values[0]).replace("-", "−")
    over = math.lcm(*(value.denominator for value in values))
    inside = ", ".join(str(value * over) for value in values).replace("-", "−")
    return f"({inside})" + (f"/{over}" if over > 1 else "")


#: In inches: the middle of the graph, the edges that go past nodes, the space between two
#: nodes, and half the width and height of a node's box.
MIDDLE, SIDE, STEP = 2.3, 0.2, 0.78
HALF, HIGH = 0.62, 0.15
#: From top to bottom: a node, the edge below it, and what the edge carries.
CHAIN = [
    ("", "x", "x"),
    ("split", "x to 1", ""),
    ("1   μ = mean x", "mu", "μ"),
    ("2   c = x − μ", "c", "c"),
    ("split", "c to 3", ""),
    ("3   s = c²", "s", "s"),
    ("4   v = mean s", "v", "v"),
    ("5   t = √(v + ε)", "t", "t"),
    ("6   r = 1 / t", "r", "r"),
    ("7   x̂ = c r", "x_hat", "x̂"),
    ("8   y = γ x̂ + β", "y", "y"),
]


def draw() -> Figure:
    height = STEP * len(CHAIN) + 0.4
    fig, axes = figure(height)
    fig.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 4.8)
    axes.set_ylim(height - 0.25, -0.15)
    numbers = edges()
    axes.text(0.12, 0.05, "↓ value", color=INK, fontsize=11, va="center")
    axes.text(0.12, 0.27, "↑ gradient", color=RED, fontsize=11, va="center")
    for i, (node, edge, name) in enumerate(CHAIN):
        top, bottom = STEP * i, STEP * (i + 1)
        above = 0.0 if node in ("", "split") else HIGH
        below = HIGH if i + 1 < len(CHAIN) and CHAIN[i + 1][0] != "split" else 0.05
        axes.annotate("", (MIDDLE, bottom - below), (MIDDLE, top + above), arrowprops=DOWN)
        down = 0.05 if node == "split" else 0.0
        _label(axes, MIDDLE + 0.14, (top + above + bottom - below) / 2 + down, name, numbers[edge])
        _node(axes, top, node)
    for start, end, edge in ((1, 3, "x to 2"), (4, 9, "c to 7")):
        _past(axes, STEP * start, STEP * end, numbers[edge])
    for shift, edge, name in ((-0.25, "gamma", "γ"), (0.25, "beta", "β")):
        place = STEP * 10 + shift
        _label(axes, 0.12, place, name, numbers[edge])
        axes.annotate("", (MIDDLE - HALF, STEP * 10 + shift / 4), (0.95, place), arrowprops=DOWN)
    return fig


def _node(axes: Axes, y: float, name: str) -> None:
    if name == "split":
        axes.plot(MIDDLE, y, "o", color=INK, markersize=5)
        axes.text(
            MIDDLE + 0.14, y, "used twice: gradients add", color=GREY, fontsize=9.5, va="center"
        )
    elif name:
        axes.add_patch(
            FancyBboxPatch(
                (MIDDLE - HALF, y - HIGH), 2 * HALF, 2 * HIGH,
                boxstyle="round,pad=0,rounding_size=0.06", facecolor="#f2f2f2", edgecolor=GREY,
            )
        )  # fmt: skip
        axes.text(MIDDLE, y, name, ha="center", va="center", color=INK, fontsize=10.5)


def _label(axes: Axes, x: float, y: float, name: str, pair: tuple[Numbers, Numbers]) -> None:
    """Write value and gradient to the right of an edge."""
    value = f"{name} = {text(pair[0])}" if name else text(pair[0])
    axes.text(x, y - 0.1, f"↓ {value}", va="center", color=INK, fontsize=10.5)
    axes.text(x, y + 0.1, f"↑ {text(pair[1])}", va="center", color=RED, fontsize=10.5)


def _past(axes: Axes, start: float, end: float, pair: tuple[Numbers, Numbers]) -> None:
    """Draw an edge that goes past nodes on the left."""
    axes.plot([MIDDLE, SIDE, SIDE], [start, start, end], color=GREY, lw=1.1)
    axes.annotate("", (MIDDLE - HALF, end), (SIDE, end), arrowprops=DOWN)
    _label(axes, SIDE + 0.06, (start + end) / 2, "", pair)
