"""One plotting style, for the book and for whoever wants figures like the book's.

Figures are narrow, so that their text stays readable on a phone, and have a white
background, which the site inverts in dark mode. Colours are those of Okabe and Ito, which
people with colour-blindness can tell apart; lines also differ in dash and marker.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

#: Colour and dash of each side of a comparison, everywhere in the book.
SIDES: dict[str, dict[str, Any]] = {
    "plain": {"color": "#d55e00", "linestyle": "--", "label": "without BN"},
    "bn": {"color": "#0072b2", "linestyle": "-", "label": "with BN"},
}
INK = "#222222"
GREY = "#767676"

_SETTINGS: Any = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.prop_cycle": cycler(color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"]),
    "svg.hashsalt": "bn",  # the same figure gives the same file
}


def use() -> None:
    """Make this the style of every figure from here on."""
    plt.rcParams.update(_SETTINGS)


def figure(
    height: float = 3.0, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure of the book's width and its axes, as ``plt.subplots`` does.

    Parameters
    ----------
    height : float
        In inches; the width is 4.8 inches, which a phone shows at four fifths.
    rows, columns, **options
        For ``plt.subplots``.
    """
    use()
    return plt.subplots(rows, columns, figsize=(4.8, height), **options)


def band(axes: Axes, x: ArrayLike, runs: Sequence[ArrayLike], side: str, **options: Any) -> None:
    """Draw the mean of several runs, with a band from their smallest to their largest.

    Parameters
    ----------
    axes : matplotlib Axes
    x : array, shape (points,)
    runs : sequence of arrays, each of shape (points,)
    side : {"plain", "bn"}
        Sets colour, dash and label; `options` override them.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}, expected one of {', '.join(SIDES)}")
    values = np.array(runs, float)  # (runs, points)
    line = {**SIDES[side], **options}
    axes.fill_between(
        x, values.min(axis=0), values.max(axis=0), color=line["color"], alpha=0.2, lw=0
    )
    axes.plot(x, values.mean(axis=0), **line)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    """Return a table that a notebook shows as one: names on the left, numbers to the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences, each as long as the header
        Numbers as text, with the digits that they are to have.
    """
    from IPython.display import Markdown  # who shows a table is in a notebook

    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    return Markdown(text)  # type: ignore[no-untyped-call]
