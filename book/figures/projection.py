"""The closed form as a projection: a gradient for three examples loses two of its components."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bn.style import GREY, INK, SIDES, figure

BLUE, RED = SIDES["bn"]["color"], "#b04a00"
X, DY = np.array([1.0, 2.0, 6.0]), np.array([1.0, 0.0, 0.0])
Point = NDArray[np.floating]


def parts() -> tuple[Point, Point, Point]:
    """Return unit vectors along 1 and along x_hat, and the one that is orthogonal to both."""
    ones = np.ones(3) / np.sqrt(3)
    centred = X - X.mean()
    along_x_hat = centred / np.linalg.norm(centred)
    return ones, along_x_hat, np.cross(ones, along_x_hat)


def seen(vector: Point) -> tuple[float, float]:
    """Return where a vector is drawn: 1 points up, the third direction right, x_hat backwards."""
    up, back, right = (float(vector @ axis) for axis in parts())
    return right + 0.55 * back, up + 0.3 * back


def draw() -> Figure:
    fig, axes = figure(3.325)
    fig.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.62, 1.3)
    axes.set_ylim(-0.45, 0.88)
    axes.set_aspect("equal")
    ones, x_hat, rest = parts()
    corners = [
        seen(a * x_hat + b * rest)
        for a, b in ((-0.9, -0.12), (0.95, -0.12), (0.95, 0.77), (-0.9, 0.77))
    ]
    axes.fill(*np.array(corners).T, color="#e8f0f7", lw=0)
    zero = np.zeros(3)
    _arrow(axes, zero, 0.75 * ones, GREY, 1.2)
    _arrow(axes, zero, 0.9 * x_hat, GREY, 1.2)
    axes.plot(*np.array([seen(zero), seen(-0.85 * x_hat)]).T, color=GREY, lw=1.2, ls=":")
    centred = DY - DY.mean()
    left = centred - x_hat * (x_hat @ centred)
    assert np.allclose(3 * centred, (2, -1, -1))  # as written beside the arrows
    assert np.allclose(21 * left, (8, -10, 2))
    axes.plot(*np.array([seen(DY), seen(centred)]).T, color=INK, lw=1.2, ls="--")
    axes.plot(*np.array([seen(centred), seen(left)]).T, color=INK, lw=1.2, ls="--")
    _arrow(axes, zero, DY, RED, 2.0)
    _arrow(axes, zero, centred, GREY, 1.8)
    _arrow(axes, zero, left, BLUE, 2.6)
    _right_angle(axes, centred, ones, -centred)
    _right_angle(axes, left, -x_hat, -left)
    _text(axes, 0.75 * ones, r"$\mathbf{1}$", (0.0, 0.05), GREY, "center")
    _text(axes, 0.9 * x_hat, r"$\hat x$", (0.03, 0.03), GREY)
    _text(axes, DY, r"$\bar y = (1, 0, 0)$", (0.0, 0.06), RED, "center")
    _text(axes, (DY + centred) / 2, r"minus the part along $\mathbf{1}$", (0.03, -0.04))
    _text(axes, centred, "(2, −1, −1)/3", (0.0, -0.08), GREY, "center")
    _text(axes, (centred + left) / 2, r"minus the part along $\hat x$", (0.05, -0.03))
    _text(axes, left, "(8, −10, 2)/21", (0.04, 0.01), BLUE)
    axes.text(-0.58, -0.38, "the plane where the sum is 0", color=GREY, fontsize=9.5)
    return fig


def _arrow(axes: Axes, start: Point, end: Point, color: str, width: float) -> None:
    style = {"arrowstyle": "-|>", "color": color, "lw": width, "mutation_scale": 13,
             "shrinkA": 0, "shrinkB": 0}  # fmt: skip
    axes.annotate("", seen(end), seen(start), arrowprops=style)


def _text(
    axes: Axes,
    at: Point,
    words: str,
    shift: tuple[float, float],
    color: str = INK,
    side: str = "left",
) -> None:
    x, y = seen(at)
    axes.text(x + shift[0], y + shift[1], words, color=color, fontsize=10.5, ha=side, va="center")


def _right_angle(axes: Axes, at: Point, one: Point, other: Point, size: float = 0.11) -> None:
    """Draw the small square of a right angle at the foot of a projection."""
    first, second = (size * v / np.linalg.norm(v) for v in (one, other))
    corners = np.array([seen(at + v) for v in (first, first + second, second)])
    axes.plot(*corners.T, color=INK, lw=0.8)
