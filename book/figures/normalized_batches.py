"""Where normalized mini-batches of two and of three values lie, seen as points."""

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.reference import batch_norm_forward
from bn.style import GREY, INK, SIDES, figure

BLUE, RED = SIDES["bn"]["color"], SIDES["plain"]["color"]
#: Mini-batches to be normalized, with a marker each.
PAIRS = (((2.9, 0.3), "o"), ((3.0, 2.2), "s"), ((0.2, 3.0), "^"))
TRIPLES = (
    ((1.0, 2.0, 5.0), "o"),
    ((5.0, 5.25, 6.0), "D"),  # the first one, shifted and a quarter as wide
    ((4.0, 3.0, 3.4), "s"),
    ((0.0, 3.0, 0.5), "^"),
)
SHIFTS = {"o": (8, 4), "D": (8, -4), "s": (0, 13), "^": (8, -4)}  # of their labels, in points


def normalized(x: tuple[float, ...]) -> np.ndarray:
    """Return x_hat of one mini-batch of one feature, at eps = 0."""
    _, cache = batch_norm_forward(np.array(x)[:, None], eps=0.0)
    return cache.x_hat[:, 0]


def along_ones(x: np.ndarray) -> np.ndarray:
    """Return the place of three numbers in the plane, as seen along (1, 1, 1)."""
    sideways = np.array([-1.0, 1.0, 0.0]) / np.sqrt(2)
    upwards = np.array([-1.0, -1.0, 2.0]) / np.sqrt(6)
    return np.array([x @ sideways, x @ upwards])


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, color: str) -> None:
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.2, "mutation_scale": 9}
    axes.annotate(
        "", (end[0], end[1]), (start[0], start[1]), arrowprops={**style, "shrinkA": 3, "shrinkB": 4}
    )


def _label(axes: Axes, text: str, at: np.ndarray, shift: tuple[float, float], color: str) -> None:
    side = "left" if shift[0] > 0 else "right" if shift[0] < 0 else "center"
    axes.annotate(
        text, (at[0], at[1]), shift, textcoords="offset points", ha=side, va="center",
        color=color, fontsize=9.5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _two(axes: Axes) -> None:
    axes.axline((0, 0), slope=1, color=GREY, lw=1, ls=":")
    axes.axline((0, 0), slope=-1, color=GREY, lw=1)
    words: Any = {"color": GREY, "fontsize": 9.5, "rotation_mode": "anchor"}
    axes.text(-1.6, -1.5, "equal values", rotation=45, **words)
    axes.text(-2.3, 2.4, "mean 0", rotation=-45, **words)
    for pair, marker in PAIRS:
        x = np.array(pair)
        centred = x - x.mean()
        axes.plot(*x, marker, color=RED, ms=6)
        axes.plot(*centred, marker, color=INK, ms=5.5, mfc="white", zorder=4)
        _arrow(axes, x, centred, RED)
        _arrow(axes, centred, normalized(pair), BLUE)
    for end in np.array([[1.0, -1.0], [-1.0, 1.0]]):
        axes.plot(*end, "o", color=BLUE, ms=9, zorder=3)
        _label(axes, f"({end[0]:.0f}, {end[1]:.0f})".replace("-", "−"), end, (-10, -6), BLUE)
    axes.set_xlim(-2.6, 3.4)
    axes.set_ylim(-1.7, 3.2)
    axes.set_xlabel("first value")
    axes.set_ylabel("second value")
    axes.set_title("mini-batches of two")


def _three(axes: Axes) -> None:
    turn = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.sqrt(3) * np.cos(turn), np.sqrt(3) * np.sin(turn), color=BLUE, lw=1.6)
    for i in range(3):  # where the two other values are equal
        tip = along_ones(np.eye(3)[i]) * 2.6
        axes.plot(*np.outer(tip, [-1, 1]), color=GREY, lw=1, ls=":")
    for order in itertools.permutations((1, 2, 3)):
        middle = along_ones(np.array(order, float))
        smallest, between, largest = np.argsort(order) + 1
        text = f"$x_{smallest}<x_{between}<x_{largest}$"
        x, y = middle / np.linalg.norm(middle) * 2.45
        axes.text(x, y, text, color=GREY, fontsize=9.5, ha="center", va="center")
    for triple, marker in TRIPLES:
        values = np.array(triple)
        centred, x_hat = along_ones(values - values.mean()), along_ones(normalized(triple))
        axes.plot(*centred, marker, color=INK, ms=5.5, mfc="white")
        axes.plot(*x_hat, "o", color=BLUE, ms=7, zorder=3)
        _arrow(axes, centred, x_hat, BLUE)
        name = "(" + ", ".join(f"{v:g}" for v in triple) + ")"
        _label(axes, name, centred, SHIFTS[marker], INK)
    axes.set_aspect("equal")
    axes.set_xlim(-3.3, 3.3)
    axes.set_ylim(-2.8, 3.2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title("mini-batches of three, seen along (1, 1, 1)")


def draw() -> Figure:
    fig, (above, below) = figure(8.0, 2, 1, height_ratios=[0.8, 1])
    above.set_aspect("equal")
    _two(above)
    _three(below)
    return fig
