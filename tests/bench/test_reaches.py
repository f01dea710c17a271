"""Judging figures."""

import pytest

from bn.bench import tables
from bn.bench.reaches import judge
from bn.bench.sections.growth import add_slopes, thread_counts
from bn.bench.sections.layers import add_ratios


def layer(shape, contender, ms, operation="both", quiet=True):
    return {
        "shape": shape, "operation": operation, "contender": contender, "title": contender,
        "ms": ms, "quiet": quiet, "passes": 1.0, "faults": None,
    }  # fmt: skip


def named(reaches):
    return {reach.name: reach for reach in reaches}


def test_the_worst_shape_decides():
    rows = [layer(shape, "torch", 10.0) for shape in ("8x4", "8x4x2x2", "9x4x2x2")]
    rows += [layer("8x4", "numba", 9.0), layer("8x4x2x2", "numba", 4.0)]
    reach = named(judge({"layers": [*rows, layer("9x4x2x2", "numba", 6.0)]}))["layer-both"]
    assert reach.values == {"8x4x2x2": 0.4, "9x4x2x2": 0.6}
    assert (reach.worst, reach.met) == (0.6, True)
    reach = named(judge({"layers": [*rows, layer("9x4x2x2", "numba", 6.1)]}))["layer-both"]
    assert reach.met is False
    disturbed = layer("9x4x2x2", "numba", 6.0, quiet=False)
    assert named(judge({"layers": [*rows, disturbed]}))["layer-both"].met is None


def test_forward_is_judged_against_forward():
    rows = [
        layer("8x4x2x2", "torch", 100.0), layer("8x4x2x2", "torch", 10.0, "forward"),
        layer("8x4x2x2", "numba", 6.0, "forward"),
    ]  # fmt: skip
    assert named(judge({"layers": rows}))["layer-forward"].values == {"8x4x2x2": 0.6}


def test_nothing_measured_nothing_decided():
    assert all(reach.met is None for reach in judge({}))
    assert "not measured here" in tables.reached(judge({}))


def test_the_better_of_our_layouts_counts():
    def row(contender, ratio):
        return {"shape": "8x4x2x2", "kind": "bn_relu", "contender": contender, "quiet": True,
                "ratio_to_best_eager": ratio}  # fmt: skip

    rows = [row("ours", 0.7), row("ours-last", 0.5), row("eager", 1.0)]
    assert named(judge({"fused": rows}))["fused-time"].values == {"bn_relu 8x4x2x2": 0.5}


def test_images_per_second_in_the_best_form_of_each_side():
    rows = [
        {"network": "cifar", "setting": setting, "contender": contender, "images_per_s": rate,
         "quiet": True}
        for setting, contender, rate in [
            ("default", "torch-float32", 100.0), ("default", "torch-bfloat16", 200.0),
            ("default", "ours-float32", 210.0), ("default", "ours-bfloat16", 150.0),
            ("tuned", "torch-float32", 100.0), ("tuned", "ours-float32", 130.0),
        ]
    ]  # fmt: skip
    reach = named(judge({"training": rows}))["cifar"]
    assert reach.values == pytest.approx({"default": 1.05, "tuned": 1.3})
    assert reach.met is False  # at least 1.1 in both


def test_the_graphics_card():
    def row(contender, ms, of_copy, megabytes):
        return {"shape": "s", "dtype": "float32", "operation": "forward", "contender": contender,
                "ms": ms, "of_copy": of_copy, "megabytes": megabytes, "quiet": True}  # fmt: skip

    rows = [row("ours", 1.0, 0.5, 10.0), row("eager", 2.0, 0.3, 10.0), row("compile", 0.9, 0.6, 10)]
    made = named(judge({"gpu": rows}))
    assert made["gpu-copy"].values == {}  # only tensors over 64 MB
    assert made["gpu-peers"].values == {"ours s float32 forward": pytest.approx(1 / 0.9)}


def test_ratios_are_within_an_operation():
    rows = [layer("s", "a", 2.0), layer("s", "b", 4.0), layer("s", "a", 1.0, "forward")]
    add_ratios(rows)
    assert [row["ratio_to"] for row in rows] == [{"b": 0.5}, {"a": 2.0}, {}]


def test_slopes_are_over_the_elements_of_x():
    rows = [
        {"axis": "H", "size": h, "shape": f"2x3x{h}x{h}", "contender": "a", "ms": float(h * h)}
        for h in (4, 8, 16)
    ]
    add_slopes(rows)
    assert rows[-1] == {"axis": "H", "contender": "a", "slope": pytest.approx(1.0), "points": 3}


def test_thread_counts():
    assert [thread_counts(cores) for cores in (1, 2, 6)] == [(1,), (1, 2), (1, 2, 4, 6)]


def test_a_time_that_others_disturbed_has_a_star():
    rows = [layer("8x4", "torch", 10.0), layer("8x4", "numba", 0.0123456, quiet=False)]
    text = tables.layers(rows)
    assert "10.0 " in text
    assert "0.0123*" in text
