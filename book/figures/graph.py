"""The computational graph of batch normalization, worked out for four numbers."""

import numpy as np
from matplotlib.figure import Figure

from bn.reference import batch_norm_backward, batch_norm_forward
from bn.style import GREY, INK, SIDES, figure

X = np.array([1.0, 2.0, 3.0, 6.0])
DY = np.array([1.0, 0.0, 0.0, 0.0])
RED = SIDES["plain"]["color"]


def _vector(values: np.ndarray) -> str:
    cells = [f"{v:.3f}".rstrip("0").rstrip(".").replace("-", "−") for v in np.atleast_1d(values)]
    cells = ["0" if c in ("−0", "") else c for c in cells]
    return f"({', '.join(cells)})" if len(cells) > 1 else cells[0]


def values() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Every node of the graph with its value and its gradient, at eps = 0, gamma 1, beta 0."""
    m = len(X)
    mean = X.sum() / m
    centred = X - mean
    squared = centred**2
    var = squared.sum() / m
    std = np.sqrt(var)
    inv_std = 1 / std
    x_hat = centred * inv_std

    dx_hat = DY
    dinv_std = (dx_hat * centred).sum()
    dstd = -dinv_std / std**2
    dvar = dstd / (2 * std)
    dsquared = np.full(m, dvar / m)
    dcentred = dx_hat * inv_std + 2 * centred * dsquared
    dmean = -dcentred.sum()
    dx = dcentred + dmean / m

    y, cache = batch_norm_forward(X[:, None], eps=0.0)
    assert np.allclose(y[:, 0], x_hat)
    assert np.allclose(batch_norm_backward(DY[:, None], cache)[0][:, 0], dx)
    return [
        (r"$x$", X, dx),
        (r"$\mu$", mean, dmean),
        (r"$c = x - \mu$", centred, dcentred),
        (r"$s = c^2$", squared, dsquared),
        (r"$v = \sigma^2$", var, dvar),
        (r"$t = \sqrt{v + \epsilon}$", std, dstd),
        (r"$r = 1/t$", inv_std, dinv_std),
        (r"$\hat x = c\, r$", x_hat, dx_hat),
    ]


def draw() -> Figure:
    fig, axes = figure(6.6)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    nodes = values()
    axes.set_ylim(-len(nodes) + 0.6, 1.0)
    left, right = 0.2, 0.71
    axes.text(right, 0.75, "value", ha="center", color=INK, fontsize=11)
    axes.text(right, 0.46, "gradient of the loss", ha="center", color=RED, fontsize=11)
    arrow = {"arrowstyle": "-|>", "color": GREY, "lw": 1, "mutation_scale": 10, "shrinkA": 0}
    boxes = []
    for i, (name, value, gradient) in enumerate(nodes):
        box = axes.text(
            left, -i, name, ha="center", va="center", color=INK, fontsize=12,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": "#f2f2f2", "edgecolor": GREY},
        )  # fmt: skip
        boxes.append(box)
        if i:
            axes.text(0.36, -i, f"node {i}", va="center", color=GREY, fontsize=8.5)
            axes.annotate("", (left, -i + 0.27), (left, -i + 0.73), arrowprops=arrow)
        for offset, numbers, color in ((0.17, value, INK), (-0.17, gradient, RED)):
            axes.text(
                right, offset - i, _vector(numbers), ha="center", va="center",
                color=color, fontsize=10,
            )  # fmt: skip
    # The two branches that skip nodes: x reaches c directly, and c reaches x_hat directly.
    # They leave and enter the boxes at their left edges, wherever these came to lie.
    fig.canvas.draw()
    edges = []
    for box in boxes:
        patch = box.get_bbox_patch()
        assert patch is not None
        edges.append(patch.get_window_extent().transformed(axes.transData.inverted()).x0)
    for start, end, bend in ((0, 2, 0.8), (2, 7, 0.25)):
        axes.annotate(
            "", (edges[end], -end + 0.06), (edges[start], -start - 0.06),
            arrowprops={**arrow, "shrinkB": 0, "connectionstyle": f"arc3,rad={bend}"},
        )  # fmt: skip
    return fig
