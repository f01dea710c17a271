"""bn.check has its own formulas; here they are held to bn.reference, and to differences."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from bn import check, reference
from bn.check import probes
from bn.check.diagnosis import backward, forward
from bn.check.formula import INFERENCE, TRAINING, Batch, Formula
from bn.check.gradients import gradients, inference_gradients, second_gradients

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = [(2, 1), (3, 2), (4, 1), (4, 3), (5, 4)]
EPS = 0.3


@pytest.fixture(params=LAYOUTS, ids=str)
def batch(request):
    return probes.random(3, *request.param)


def test_training(batch):
    y, cache = reference.batch_norm_forward(
        batch.x, batch.gamma, batch.beta, eps=EPS, axis=batch.axis
    )
    np.testing.assert_allclose(TRAINING(batch, EPS), y, rtol=0, atol=1e-13)
    came = gradients(batch, EPS)
    for got, expected in zip(
        (came.dx, came.dgamma, came.dbeta), reference.batch_norm_backward(batch.dy, cache),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_inference(batch):
    running = probes.statistics(3)
    given = {"eps": EPS, "axis": batch.axis}
    y = reference.batch_norm_inference(
        batch.x, running.mean, running.var, batch.gamma, batch.beta, **given
    )
    np.testing.assert_allclose(INFERENCE(batch, EPS, running), y, rtol=0, atol=1e-13)
    came = inference_gradients(batch, EPS, running)
    expected = reference.batch_norm_inference_backward(
        batch.dy, batch.x, running.mean, running.var, batch.gamma, **given
    )
    for got, right in zip((came.dx, came.dgamma, came.dbeta), expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-12)


def test_second_gradients(batch):
    upstream = probes.upstream(batch)
    _, cache = reference.batch_norm_forward(
        batch.x, batch.gamma, batch.beta, eps=EPS, axis=batch.axis
    )
    expected = reference.batch_norm_double_backward(
        upstream.ddx, upstream.ddgamma, upstream.ddbeta, batch.dy, cache
    )
    came = second_gradients(batch, EPS, upstream)
    for got, right in zip((came.for_dy, came.for_x, came.for_gamma), expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-11)


def test_large_means_lose_nothing():
    rng = np.random.default_rng(0)
    x = (1e6 + rng.normal(size=(64, 2))).astype(np.float32).astype(np.float64)
    batch = Batch(x, np.ones(2), np.zeros(2), x, 1)
    wide = x.astype(np.longdouble)
    right = (wide - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-5)
    np.testing.assert_allclose(TRAINING(batch, 1e-5), right.astype(float), rtol=0, atol=1e-9)


def test_each_change_of_the_formula_changes_y():
    batch, running = probes.random(3, 4, 1), probes.statistics(3)
    seen = {}
    for training in (True, False):
        right = TRAINING if training else INFERENCE
        for name, change in list(forward._forward_changes(training))[:30]:
            fields = vars(right) | change
            y = Formula(**fields)(batch, EPS, running)
            if y is None or "+" in name or change.get("updated"):
                continue
            assert not np.allclose(y, right(batch, EPS, running)), name
            key = (training, y.round(9).tobytes())
            assert seen.setdefault(key, name) == name, f"{name} gives what {seen[key]} gives"


def test_wrong_gradients_differ_from_the_right_ones_and_from_each_other():
    batch = probes.random(3, 4, 1)
    cache = TRAINING.normalize(batch, EPS)
    for variants in backward.VARIANTS.values():
        seen = {}
        for name, values in variants(batch, cache):
            key = np.asarray(values).round(9).tobytes()
            assert seen.setdefault(key, name) == name, f"{name} gives what {seen[key]} gives"


def test_by_hand():
    batch = probes.by_hand(1, 2, 1)
    assert batch.x[:, 0].tolist() == [1, 2, 3, 6]
    y = TRAINING(batch, 0.0)
    np.testing.assert_allclose(y[:, 0], 2 * np.array([-2, -1, 0, 3]) / np.sqrt(3.5) + 1)


class TestMistakes:
    def test_pages_exist(self):
        pages = set(re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text("utf-8")))
        for name, mistake in check.MISTAKES.items():
            assert mistake.page.removesuffix(".html") in pages, name
            assert mistake.sentence.endswith((".", "?")), name
            assert name == name.lower().replace("_", "-").strip(), name

    def test_none_is_missing_and_none_is_idle(self):
        folder = Path(inspect.getfile(check)).parent
        code = "".join(
            path.read_text("utf-8")
            for path in sorted(folder.rglob("*.py"))
            if path.name != "mistakes.py"
        )
        used = set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)*)"', code))
        composed = {f"second-gradient-{part}" for part in (
            "x-hat-as-a-constant", "inv-std-as-a-constant", "statistics-as-constants",
            "mean-as-a-constant", "variance-as-a-constant",
        )}  # fmt: skip
        idle = set(check.MISTAKES) - used - composed
        assert not idle, f"never said: {sorted(idle)}"
        tables = [forward.SHARED, forward.IN_TRAINING, forward.IN_INFERENCE]
        for table in tables:
            assert set(table) <= set(check.MISTAKES)
        assert composed <= set(check.MISTAKES)
