"""The singular values of one layer: deep networks before training, MNIST before and after it."""

from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import GREY, INK, SIDES, figure

ROWS = (
    ("jacobian-depth", "plain-relu", "", "ReLU, no BN, He"),
    ("jacobian-depth", "gaussian-linear", "", "linear, Gaussian"),
    ("jacobian-depth", "gaussian-sigmoid", "", "sigmoids, Gaussian"),
    ("jacobian-depth", "gaussian-relu", "", "ReLU, Gaussian"),
    ("jacobian-depth", "orthogonal-linear", "", "linear, orthogonal"),
    ("jacobian-depth", "orthogonal-sigmoid", "", "sigmoids, orthogonal"),
    ("jacobian-depth", "orthogonal-relu", "", "ReLU, orthogonal"),
    ("jacobian-training", "plain", "start_", "MNIST, sigmoids, no BN: start"),
    ("jacobian-training", "plain", "", "trained"),
    ("jacobian-training", "bn", "start_", "MNIST, sigmoids, BN: start"),
    ("jacobian-training", "bn", "", "trained"),
    ("jacobian-training", "bn-orthogonal", "start_", "the same, orthogonal: start"),
    ("jacobian-training", "bn-orthogonal", "", "trained"),
    ("jacobian-training", "bn-relu", "start_", "MNIST, ReLU, BN: start"),
    ("jacobian-training", "bn-relu", "", "trained"),
)
LAYER = 3


def draw() -> Figure:
    fig, axis = figure(5.6)
    axis.axvspan(0.5, 2, color=GREY, alpha=0.15, lw=0)
    axis.axvline(1, color=INK, lw=0.8)
    for row, (study, arm, prefix, _) in enumerate(ROWS):
        runs = record.load(study)
        ending = f"_{LAYER}" if study == "jacobian-training" else ""

        def of(name: str, arm: str = arm, runs: list[record.Run] = runs,
               prefix: str = prefix, ending: str = ending) -> float:  # fmt: skip
            return record.summarize(runs, arm, f"{prefix}{name}{ending}").mean

        color = SIDES["plain" if arm.startswith("plain") else "bn"]["color"]
        axis.plot([of("p5"), of("p95")], [row, row], color=color, lw=2)
        axis.plot(of("p50"), row, "o", color=color, ms=5)
        axis.plot(of("rms"), row, "|", color=color, ms=11, mew=2)
    axis.set_yticks(range(len(ROWS)), [label for *_, label in ROWS], fontsize=9)
    axis.axhline(6.5, color=GREY, lw=0.8, ls=":")
    axis.invert_yaxis()
    axis.set_xlim(0, 2.8)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("singular values of one layer")
    return fig
