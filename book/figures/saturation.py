"""The sigmoid, its slope, and what is left of a gradient behind several of them."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments.inputs import SATURATED
from bn.layers import Sigmoid
from bn.style import GREY, figure


def slope(x: np.ndarray) -> np.ndarray:
    """Return the derivative of the sigmoid, from the layer's own backward pass."""
    layer = Sigmoid()
    layer.forward(x)
    return layer.backward(np.ones_like(x))


def draw() -> Figure:
    fig, (above, below) = figure(5.6, 2, 1)
    x = np.linspace(-8, 8, 321)
    above.plot(x, Sigmoid().forward(x), label="sigmoid g")
    above.plot(x, slope(x), "--", label="its slope g′")
    for side in (-1, 1):
        above.axvspan(side * SATURATED, side * 8, color=GREY, alpha=0.15, lw=0)
    above.text(6, 0.5, "saturated", ha="center", fontsize=9.5)
    above.text(-6, 0.5, "saturated", ha="center", fontsize=9.5)
    above.set_xlim(-8, 8)
    above.set_xlabel("input x of the sigmoid")
    above.legend(loc="upper left")

    layers = np.arange(1, 11)
    for at, marker, shape in ((0.0, "o", "-"), (2.0, "s", "--"), (4.0, "^", ":")):
        factor = float(slope(np.array([at]))[0])
        below.semilogy(layers, factor**layers, shape, marker=marker, ms=4, label=f"x = {at:g}")
    below.axhline(1e-6, color=GREY, lw=1)
    below.text(1, 5e-7, "a millionth", va="top", fontsize=9.5)
    below.set_ylim(1e-18, 2)
    below.set_xticks(layers)
    below.set_xlabel("sigmoids, one after another")
    below.set_ylabel("product of their slopes")
    below.legend(loc="lower left")
    return fig
