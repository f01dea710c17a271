"""Which values of a layer share a mean: examples, maps and positions, cut three ways."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from bn.style import INK, SIDES, figure

MAPS, EXAMPLES = 4, 4
#: How far one step backwards goes to the right and up.
BACK = (0.42, 0.34)
SHARED, REST = SIDES["bn"]["color"], "#f2f2f2"


def block(ax: Axes, rows: int, shared: tuple[int, tuple[int, ...]]) -> None:
    """Draw a block of cells; coloured are those of one map and of some rows."""
    chosen, of_rows = shared

    def cell(corners: Sequence[tuple[float, float, float]], coloured: bool) -> None:
        points = [(x + z * BACK[0], y + z * BACK[1]) for x, y, z in corners]
        color = SHARED if coloured else REST
        ax.add_patch(Polygon(points, facecolor=color, edgecolor=INK, lw=0.7))

    for c in range(MAPS):
        for r in range(rows):  # the front: the first example
            square = [(c, r, 0), (c + 1, r, 0), (c + 1, r + 1, 0), (c, r + 1, 0)]
            cell(square, c == chosen and r in of_rows)
    for z in range(EXAMPLES):
        for c in range(MAPS):  # the top: the last position
            square = [(c, rows, z), (c + 1, rows, z), (c + 1, rows, z + 1), (c, rows, z + 1)]
            cell(square, c == chosen and rows - 1 in of_rows)
        for r in range(rows):  # the side: the last map
            square = [(MAPS, r, z), (MAPS, r + 1, z), (MAPS, r + 1, z + 1), (MAPS, r, z + 1)]
            cell(square, chosen == MAPS - 1 and r in of_rows)


def draw() -> Figure:
    fig, axes = figure(2.1, 1, 3)
    panels = (
        ("fully connected", "$m$ values", 1, (1, (0,)), "features"),
        ("per position", "$m$ values", 4, (1, (3,)), "maps"),
        ("per map", r"$m \cdot p \cdot q$ values", 4, (1, (0, 1, 2, 3)), "maps"),
    )
    for ax, (title, count, rows, shared, across) in zip(axes, panels, strict=True):
        block(ax, rows, shared)
        ax.set_title(f"{title}\n{count}", fontsize=10)
        ax.text(MAPS / 2, -0.25, across, ha="center", va="top", color=INK, fontsize=9.5)
        x, y = MAPS + 1.15 * BACK[0] + 0.15, 1.15 * BACK[1] - 0.2
        ax.text(x, y, "examples", color=INK, fontsize=9.5, rotation=40, rotation_mode="anchor",
                ha="left", va="top")  # fmt: skip
        if rows > 1:
            ax.text(-0.25, rows / 2, "positions", rotation=90, ha="right", va="center",
                    color=INK, fontsize=9.5)  # fmt: skip
        ax.set_xlim(-1.1, MAPS + EXAMPLES * BACK[0] + 0.6)
        ax.set_ylim(-1.1, 4 + EXAMPLES * BACK[1] + 0.1)
        ax.set_aspect("equal")
        ax.axis("off")
    return fig
