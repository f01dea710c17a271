"""How straight a sigmoid is where normalized inputs lie, computed."""

import numpy as np
from matplotlib.figure import Figure

from bn.layers import Sigmoid
from bn.style import GREY, INK, SIDES, figure

BLUE, RED = SIDES["bn"]["color"], SIDES["plain"]["color"]


def density(x: np.ndarray) -> np.ndarray:
    """Return the density of the standard normal distribution."""
    values: np.ndarray = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return values


def mean_deviation() -> float:
    """Return the mean distance of sigmoid and tangent for a standard normal input."""
    x = np.linspace(-12, 12, 200_001)
    distance = np.abs(Sigmoid().forward(x) - (0.5 + 0.25 * x))
    return float(np.sum(distance * density(x)) * (x[1] - x[0]))


def draw() -> Figure:
    fig, (above, below) = figure(5.6, 2, 1, sharex=True)
    x = np.linspace(-5, 5, 1001)
    sigmoid = Sigmoid().forward(x)
    tangent = 0.5 + 0.25 * x
    inside = np.abs(x) <= 2

    # The density is drawn to a scale of its own: only its shape counts here.
    above.fill_between(x, 0.5 * density(x), color=GREY, alpha=0.3, lw=0)
    above.fill_between(x[inside], 0.5 * density(x[inside]), color=GREY, alpha=0.35, lw=0)
    above.text(0, 0.07, "95 %", ha="center", color=INK, fontsize=9.5)
    above.text(1.15, 0.14, "density of the\ninput, not to scale", color=INK, fontsize=9.5)
    above.plot(x, sigmoid, color=BLUE, label="sigmoid")
    above.plot(x, tangent, "--", color=RED, label="tangent at 0")
    above.set_ylim(-0.02, 1.05)
    above.set_ylabel("output")
    above.legend(loc="upper left")

    deviation = np.abs(sigmoid - tangent)
    weighted = deviation * density(x)
    below.plot(x, deviation, "--", color=RED)
    below.plot(x, weighted, color=INK)
    below.fill_between(x, weighted, color=GREY, alpha=0.35, lw=0)
    below.text(1.25, 0.0155, "distance from\nthe tangent", color=RED, fontsize=9.5)
    below.text(1.75, 0.0085, "the same, times\nthe normal density", color=INK, fontsize=9.5)
    below.text(
        -4.7, 0.0085, f"area of both\nhills: {mean_deviation():.3f}", color=INK, fontsize=9.5
    )
    below.set_yticks([0, 0.005, 0.01, 0.015, 0.02])
    below.set_ylim(0, 0.02)
    below.set_xlim(-5, 5)
    below.set_xlabel("input of the sigmoid")
    below.set_ylabel("distance;\ndistance × density")
    return fig
