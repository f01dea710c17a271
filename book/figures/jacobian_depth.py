"""A gradient on its way down, and the median singular value of many layers together."""

import numpy as np
from matplotlib.figure import Figure

from bn.experiments import record
from bn.style import INK, figure

STUDY, BATCH = "jacobian-depth", 60
COLORS = {"linear": "#0072b2", "relu": "#d55e00", "sigmoid": "#009e73"}
STARTS = {"plain": "no BN, He", "gaussian": "Gaussian", "orthogonal": "orthogonal"}
NAMES = {"linear": "linear", "relu": "ReLU", "sigmoid": "sigmoids"}


def draw() -> Figure:
    runs = record.load(STUDY)
    fig, axes = figure(7.0, 2, 1, sharex=True)
    arms = dict.fromkeys(run.arm for run in runs)
    for arm in sorted(arms, key=lambda arm: (arm.split("-")[1], arm)):
        start, nonlinearity = arm.split("-")
        chosen = [run for run in runs if run.arm == arm]
        layers = np.array(chosen[0].curve["layer"], float)
        plain = start == "plain"
        look = {
            "color": INK if plain else COLORS[nonlinearity],
            "ls": {"plain": "-.", "gaussian": "-", "orthogonal": "--"}[start],
            "lw": 1.5,
            "label": f"{NAMES[nonlinearity]}, {STARTS[start]}",
        }
        for axis, name in zip(axes, ("gradient", "together"), strict=True):
            values = np.array([run.curve[name] for run in chosen], float)
            if name == "together" and nonlinearity == "relu":
                continue  # half of them are 0: a ReLU lets half of the inputs through
            axis.semilogy(layers, np.exp(np.log(values).mean(axis=0)), **look)
    top = layers[-1]
    theory = (np.pi / (np.pi - 1) * (BATCH - 2) / (BATCH - 3)) ** ((top - layers) / 2)
    axes[0].semilogy(layers, theory, color=INK, lw=3, alpha=0.25, label="theory, ReLU")
    axes[0].set_ylabel("gradient, relative to layer 50")
    axes[1].set_ylabel("median singular value, to layer 50")
    axes[1].set_xlabel("hidden layer, from below")
    axes[0].legend(fontsize=8.5, loc="upper right", ncols=2)
    axes[0].set_ylim(0.3, 3e6)
    axes[1].legend(fontsize=8.5, loc="lower right")
    return fig
