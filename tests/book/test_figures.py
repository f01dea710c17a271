"""Figures come from code and records, and the stored one shows the present record."""

import numpy as np


def test_every_figure_is_drawn_the_same_twice(figures):
    for source in figures.SOURCES.glob("[a-z]*.py"):
        assert figures.svg(source) == figures.svg(source), source.name


def test_the_readmes_picture_shows_the_present_record(figures):
    stored = figures.README_PICTURE.read_text(encoding="utf-8")
    assert figures.record_hash() in stored, (
        "results/mnist-paper.json changed: run .venv/bin/python book/_ext/figures.py"
    )


def test_the_graphs_numbers_are_right(figures):
    """Each gradient in the drawn graph against a difference quotient of what follows it."""
    module_path = figures.SOURCES / "graph.py"
    namespace: dict = {"__name__": "graph"}
    exec(compile(module_path.read_text(encoding="utf-8"), str(module_path), "exec"), namespace)
    nodes = {name.strip("$"): (value, gradient) for name, value, gradient in namespace["values"]()}
    x, dx = nodes["x"]

    def loss(v):
        return (v[0] - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean())

    step = 1e-6
    for i in range(4):
        e = step * np.eye(4)[i]
        assert abs((loss(x + e) - loss(x - e)) / (2 * step) - dx[i]) < 1e-8
    c, dc = nodes["c = x - \\mu"]

    def from_c(v):
        return v[0] / np.sqrt((v**2).mean())

    for i in range(4):
        e = step * np.eye(4)[i]
        assert abs((from_c(c + e) - from_c(c - e)) / (2 * step) - dc[i]) < 1e-8
    var, dvar = nodes["v = \\sigma^2"]
    numeric = (c[0] / np.sqrt(var + step) - c[0] / np.sqrt(var - step)) / (2 * step)
    assert abs(numeric - dvar) < 1e-8
