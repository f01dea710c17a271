"""ReLU networks whose gradient ignores the mean, until their loss is no number any more."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn.experiments import record
from bn.experiments.record import Run
from bn.style import GREY, SIDES, band, figure

STUDY = "outside-relu"
BLUE, ORANGE, GREEN = SIDES["bn"]["color"], SIDES["plain"]["color"], "#007a59"
#: Runs with and without biases hardly differ: the first are drawn wide, the others thin on top.
ENDING = {
    "centre": {"color": ORANGE, "lw": 3.2, "alpha": 0.4, "label": "mean ignored"},
    "centre-no-bias": {"color": GREEN, "lw": 0.9, "label": "ignored, no biases"},
}
LASTING = {
    "centre-through": {"color": BLUE, "linestyle": "-", "label": "gradient through the mean"},
    "plain": {"color": GREY, "linestyle": "-.", "label": "nothing subtracted"},
}
#: Figure of the curve, title of the axis, its ends, and its marks.
PANELS: tuple[tuple[str, str, tuple[float, float], list[float]], ...] = (
    ("loss", "training loss, nats", (0.05, 30.0), [0.1, 1, 10]),
    ("input_mean", "squared length of ν", (1.0, 1e4), [1, 10, 100, 1000, 10_000]),
)


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, panels = figure(6.6, 3, sharex=True)
    for axes, (name, title, ends, marks) in zip(panels[:2], PANELS, strict=True):
        for arm, style in LASTING.items():
            of_arm = [run for run in runs if run.arm == arm]
            steps = [step or 0 for step in of_arm[0].curve["step"]][1:]
            curves = [[value or 0 for value in run.curve[name][1:]] for run in of_arm]
            band(axes, steps, curves, "bn", **style)
        for arm, style in ENDING.items():
            for run in (run for run in runs if run.arm == arm):
                steps = [step or 0 for step in run.curve["step"]][1:]
                values = [value or 0 for value in run.curve[name]][1:]
                axes.plot(steps, values, **{**style, "label": style["label"] * (not run.seed)})
        axes.set_yscale("log")
        axes.set_yticks(marks, [f"{mark:,}".replace(",", "\u2009") for mark in marks])
        axes.minorticks_off()
        axes.set_ylim(*ends)
        axes.set_ylabel(title)
    panels[0].legend(fontsize=9.5, loc="upper right")
    ends_of(panels[2], runs)
    panels[2].set_xlim(0, 5000)
    panels[2].set_xlabel("training steps (mini-batches of 60)")
    return fig


def ends_of(axes: Axes, runs: list[Run]) -> None:
    """Mark the last step of each run that ended: a row for each seed, the two arms one above."""
    for arm, marker, shift in (("centre", "x", -0.17), ("centre-no-bias", "o", 0.17)):
        of_arm = [run for run in runs if run.arm == arm and run.final["diverged"]]
        axes.plot(
            [run.final["steps_done"] or 0 for run in of_arm],
            [run.seed + shift for run in of_arm],
            marker, color=ENDING[arm]["color"], mfc="none", mew=1.5, markersize=6,
            label=ENDING[arm]["label"],
        )  # fmt: skip
    seeds = sorted({run.seed for run in runs})
    axes.set_yticks(seeds, [str(seed) for seed in seeds])
    axes.set_ylim(seeds[-1] + 0.6, seeds[0] - 0.6)
    axes.set_ylabel("seed")
    axes.legend(fontsize=9.5, loc="center right", title="last step of a run", title_fontsize=9.5)
