"""Nothing is said against the right ones, and their conventions are told as facts."""

import functools

import numpy as np
import pytest
import torch

from bn import check, pytorch, reference
from tests.check import peers

TORCH = "0.1 is the weight of the new value, as in PyTorch"
UNBIASED = "unbiased, m/(m-1)·var, as in PyTorch and the paper"
BIASED = "biased, var, as in Keras, Flax and ONNX"

OURS = {
    "reference.BatchNorm": reference.BatchNorm,
    "an instance": reference.BatchNorm(5),
    "channels last": lambda: reference.BatchNorm(3, axis=-1, unbiased=False),
    "without gamma": lambda: reference.BatchNorm(2, affine=False, momentum=None),
    "no eps": lambda: reference.BatchNorm(2, eps=0.0),
    "forward": reference.batch_norm_forward,
    "pair": (reference.batch_norm_forward, reference.batch_norm_backward),
    "three": (
        reference.batch_norm_forward,
        reference.batch_norm_backward,
        reference.batch_norm_double_backward,
    ),
    "inference": (reference.batch_norm_inference, reference.batch_norm_inference_backward),
    "pytorch.BatchNorm1d": pytorch.BatchNorm1d,
    "pytorch.BatchNorm2d": pytorch.BatchNorm2d,
    "pytorch.BatchNorm3d": functools.partial(pytorch.BatchNorm3d, 2),
    "pytorch.batch_norm": pytorch.batch_norm,
    "pytorch pair": (pytorch.batch_norm_forward, pytorch.batch_norm_backward),
    "pytorch inference": pytorch.batch_norm_inference,
}


@pytest.mark.parametrize("name", OURS)
def test_ours(name):
    report = check.batch_norm(OURS[name], strict=True)
    assert not report.findings, report
    assert report.passed
    assert report.rows
    assert {row.status for row in report.rows} <= {"right", "not offered"}, report


def rows(report):
    return {row.check: row.status for row in report.rows}


def found(candidate, *, but):
    """The rows with another status than this one."""
    statuses = rows(check.batch_norm(candidate, strict=True))
    return [name for name, status in statuses.items() if status != but]


def test_how_much_of_ours_is_looked_at():
    # the class has none; the function has
    assert found(reference.BatchNorm, but="right") == ["second gradients"]
    assert rows(check.batch_norm(OURS["three"]))["second gradients"] == "right"
    assert found(pytorch.BatchNorm2d, but="right") == ["masks"]  # the modules take none
    report = str(check.batch_norm(pytorch.BatchNorm2d))
    assert "float64: off by" in report, "large means were not tried in float64"


TORCH_NN = {
    "BatchNorm1d": torch.nn.BatchNorm1d,
    "BatchNorm2d": torch.nn.BatchNorm2d,
    "BatchNorm3d": torch.nn.BatchNorm3d,
    "an instance": torch.nn.BatchNorm2d(4),
    "one channel": torch.nn.BatchNorm1d(1),
    "without gamma": torch.nn.BatchNorm1d(3, affine=False),
    "without statistics": torch.nn.BatchNorm1d(3, track_running_stats=False),
    "average": lambda: torch.nn.BatchNorm2d(3, momentum=None),
    "function": torch.nn.functional.batch_norm,
}


@pytest.mark.parametrize("name", TORCH_NN)
def test_torch_nn(name):
    report = check.batch_norm(TORCH_NN[name])
    assert report.passed, report
    # On the CPU it sums (N, C) in float32, row after row; with positions it does not.
    flat = {"long sums"} & {row.check for row in report.rows if "(N, C)" in report.rows[0].detail}
    assert {each.check for each in report.findings} <= {"large means"} | flat, report


def test_torch_loses_digits_at_large_means_and_strict_fails_it():
    report = check.batch_norm(torch.nn.BatchNorm2d)
    assert [each.check for each in report.weak] == ["large means"]
    assert not check.batch_norm(torch.nn.BatchNorm2d, strict=True).passed


def test_conventions_of_torch():
    facts = check.batch_norm(torch.nn.BatchNorm1d).conventions
    assert facts["momentum"] == TORCH
    assert facts["running variance"] == UNBIASED
    assert facts["eps"] == "1e-05, as declared"
    assert facts["one value per channel"].startswith("refused")
    facts = check.batch_norm(TORCH_NN["average"]).conventions
    assert facts["momentum"].startswith("all batches count alike")


def test_a_flipped_momentum_is_a_convention(as_module):
    code = "import torch\nclass Mine(torch.nn.BatchNorm1d):\n    def forward(self, x):\n"
    code += "        self.momentum, kept = 1 - self.momentum, self.momentum\n"
    code += "        y = super().forward(x)\n        self.momentum = kept\n        return y"
    report = check.batch_norm(as_module(code).Mine)
    assert report.passed, report
    assert report.conventions["momentum"].startswith("0.1 is the weight of the old value")
    assert "hardly an average" in report.conventions["momentum"]


class TestKeras:
    """On torch it takes E[x²] − E[x]², which near a mean of 10⁴ is negative in float32: NaN."""

    @pytest.mark.parametrize(
        "options", [{}, {"axis": 1}, {"momentum": 0.5, "epsilon": 0.1}, {"scale": False}],
        ids=str,
    )  # fmt: skip
    def test_right(self, keras, options):
        layer = keras.layers.BatchNormalization
        report = check.batch_norm(layer(**options) if options else layer)
        assert report.kind == "Keras layer on torch"
        (finding,) = report.findings
        assert (finding.check, finding.mistake) == ("large means", "one-pass-variance")
        assert finding.came == "y NaN or infinity"
        statuses = rows(report)
        assert statuses.pop("large means") == "wrong"
        without = {"long sums"} if options == {"scale": False} else set()  # it has no gamma
        assert {name for name, status in statuses.items() if status != "right"} == without

    def test_conventions(self, keras):
        facts = check.batch_norm(keras.layers.BatchNormalization).conventions
        assert facts["momentum"] == "0.99 is the weight of the old value, as in Keras and Flax"
        assert facts["running variance"] == BIASED
        assert facts["one value per channel"].startswith("accepted")

    def test_a_layer_with_a_mistake(self, keras):
        class Swapped(keras.layers.BatchNormalization):
            def call(self, inputs, training=None):
                y = super().call(inputs, training=training)
                x_hat = (y - self.beta) / self.gamma
                return self.beta * x_hat + self.gamma

        report = check.batch_norm(Swapped)
        assert "gamma-beta-swapped" in report.mistakes, report

    def test_another_normalization(self, keras):
        report = check.batch_norm(keras.layers.LayerNormalization)
        assert report.mistakes == {"statistics-per-position"}


class TestFlax:
    def test_linen(self):
        linen = pytest.importorskip("flax.linen")
        for candidate in (linen.BatchNorm, linen.BatchNorm(momentum=0.9, axis=1)):
            report = check.batch_norm(candidate)
            assert report.passed, report
            assert report.conventions["running variance"] == BIASED
        assert "statistics-per-position" in check.batch_norm(linen.LayerNorm).mistakes

    def test_nnx(self):
        nnx = pytest.importorskip("flax.nnx")
        for candidate in (nnx.BatchNorm, nnx.BatchNorm(4, rngs=nnx.Rngs(0))):
            report = check.batch_norm(candidate)
            assert report.passed, report
            assert rows(report)["second gradients"] == "right"


class TestPeers:
    """What the report says of them, weakness by weakness."""

    def test_like_d2l(self):
        report = check.batch_norm(peers.LikeD2L)
        assert [each.mistake for each in report.wrong] == ["state-not-saved"], report
        assert "mode-from-grad-mode" in report.mistakes
        assert report.conventions["running variance"] == BIASED
        assert report.conventions["momentum"] == "not declared; the new value has the weight 0.1"

    def test_the_function_in_it(self):
        report = check.batch_norm(peers.like_d2l)
        assert report.passed, report
        assert {"mode-from-grad-mode", "gamma-along-last-axis"} <= report.mistakes

    def test_like_labml(self):
        report = check.batch_norm(peers.LikeLabml)
        # not only digits: at a mean of 10⁶ its variance is negative, and y is NaN
        assert [each.mistake for each in report.wrong] == ["one-pass-variance"], report
        assert report.mistakes == {"one-pass-variance", "memory-layout-refused"}
        assert report.conventions["momentum"] == TORCH
        assert report.conventions["running variance"] == BIASED

    def test_like_cs231n(self):
        report = check.batch_norm((peers.like_cs231n, peers.like_cs231n_backward))
        assert report.passed, report
        assert report.mistakes == {
            "rounded-mean", "half-precision-statistics", "sums-in-float32"
        }  # fmt: skip
        assert report.conventions["running variance"] == BIASED
        assert "weight of the old value" in report.conventions["momentum"]
        assert {"gradients", "inference", "running statistics"} <= {
            name for name, status in rows(report).items() if status == "right"
        }

    def test_like_flax(self):
        report = check.batch_norm(peers.LikeFlax)
        assert report.passed, report
        assert report.mistakes == {"one-pass-variance"}
        assert report.conventions["momentum"].startswith("0.99 is the weight of the old value")


def test_numpy_does_not_need_more_than_a_function():
    def mine(x, gamma, beta, eps):
        x = np.asarray(x, np.float64)
        return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta

    report = check.batch_norm(mine)
    assert report.passed, report
    assert report.mistakes <= {"only-two-axes", "rounded-mean"}
