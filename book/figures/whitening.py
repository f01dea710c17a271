"""The same points raw, normalized one feature at a time, and whitened; the same axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.experiments.whitening import whiten_forward
from bn.reference import batch_norm_forward
from bn.style import GREY, INK, SIDES, figure

#: Four of the points, drawn large in every panel, to see where they go.
MARKERS = "os^D"


def points() -> tuple[np.ndarray, list[int]]:
    """Return 300 correlated points, and the numbers of four of them, outermost in a diagonal."""
    z = np.random.default_rng(3).standard_normal((300, 2))
    x = z @ np.array([[1.7, 0.75], [0.0, 0.4]]) + np.array([1.2, 0.8])
    sides = [np.argmin(np.hypot(*(z - at).T)) for at in ((2, 0), (0, 2), (-2, 0), (0, -2))]
    return x, [int(i) for i in sides]


def draw() -> Figure:
    x, chosen = points()
    clouds = (
        ("raw", x),
        ("each feature", batch_norm_forward(x, eps=0.0)[0]),
        ("whitened", whiten_forward(x, eps=0.0)[0]),
    )
    fig, panels = figure(2.3, 1, 3, sharex=True, sharey=True)
    for axes, (title, cloud) in zip(panels, clouds, strict=True):
        axes.set_title(title)
        axes.plot(*cloud.T, ".", color=SIDES["bn"]["color"], markersize=2.5, alpha=0.6)
        for marker, i in zip(MARKERS, chosen, strict=True):
            axes.plot(*cloud[i], marker, color=SIDES["plain"]["color"], mec="white", markersize=7)
        ellipse(axes, cloud)
        axes.set_xlim(-4, 5.2)
        axes.set_ylim(-4, 5.2)
        axes.set_aspect("equal")
        axes.axhline(0, color=GREY, lw=0.6, zorder=0)
        axes.axvline(0, color=GREY, lw=0.6, zorder=0)
        axes.set_xticks((-3, 0, 3))
        axes.set_yticks((-3, 0, 3))
        axes.set_xlabel("feature 1")
    panels[0].set_ylabel("feature 2")
    return fig


def ellipse(axes: Axes, cloud: np.ndarray) -> None:
    """Draw where points lie that are two standard deviations from the mean, in any direction."""
    angle = np.linspace(0, 2 * np.pi, 200)
    root = np.linalg.cholesky(np.cov(cloud.T, bias=True))
    line = cloud.mean(axis=0)[:, None] + 2 * root @ np.stack((np.cos(angle), np.sin(angle)))
    axes.plot(*line, color=INK, lw=1)
