"""Candidates that misbehave, and what can be given as one."""

import functools
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from bn import check
from tests.check.right_numpy import BatchNorm as Right


def plain(x, gamma, beta, eps):
    return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta


def mistakes_of(forward):
    return check.batch_norm(type("Mine", (Right,), {"forward": forward})).wrong


class TestErrors:
    def test_an_error_is_told_with_its_place(self):
        def forward(self, x):
            raise KeyError("running_mean")

        (finding,) = mistakes_of(forward)
        assert finding.mistake == "raises"
        assert "KeyError: 'running_mean' (test_behaviour.py, line " in finding.came
        assert "in forward)" in finding.came

    def test_leaving_python_is_an_error(self):
        (finding,) = mistakes_of(lambda self, x: sys.exit(3))
        assert "SystemExit: 3" in finding.came

    def test_an_error_of_the_constructor(self):
        class Mine(Right):
            def __init__(self, num_features):
                raise ValueError("no")

        (finding,) = check.batch_norm(Mine).wrong
        assert "ValueError: no" in finding.came

    def test_warnings_of_the_candidate_are_no_errors(self):
        def forward(self, x):
            warnings.warn("old", DeprecationWarning, stacklevel=2)
            np.float64(1) / np.float64(0)
            return Right.forward(self, x)

        filters = list(warnings.filters)
        assert not mistakes_of(forward)
        assert warnings.filters == filters


class TestTime:
    def test_an_endless_loop(self):
        running = threading.Event()

        def forward(self, x):
            running.set()
            while True:
                pass

        mine = type("Mine", (Right,), {"forward": forward})
        report = check.batch_norm(mine, timeout=3)
        (finding,) = report.wrong
        assert finding.mistake == "hangs"
        assert running.is_set()
        assert finding.fed.startswith("forward in training, x of shape")
        for thread in threading.enumerate():
            if thread.name == "bn.check":
                thread.join(30)
                assert not thread.is_alive(), "it was not stopped"

    def test_what_was_found_before_is_kept(self):
        def backward(self, dy):
            while True:
                pass

        mine = type("Mine", (Right,), {"backward": backward})
        report = check.batch_norm(mine, timeout=15)  # the checks before it need their time
        assert [(row.check, row.status) for row in report.rows[:3]] == [
            ("layouts", "right"), ("forward", "right"), ("gradients", "wrong"),
        ]  # fmt: skip
        assert report.rows[3].status == "not checked"

    def test_the_filters_of_warnings_survive_what_cannot_be_stopped(self):
        asleep = threading.Event()

        def forward(self, x):
            asleep.wait()

        filters = list(warnings.filters)
        mine = type("Mine", (Right,), {"forward": forward})
        assert check.batch_norm(mine, timeout=3).mistakes == {"hangs"}
        assert warnings.filters == filters
        asleep.set()  # let the thread go


FORMS = {
    "function": (plain, "NumPy function"),
    "without eps": (lambda x, gamma, beta: plain(x, gamma, beta, 1e-5), "NumPy function"),
    "other names": (lambda a, b, c, d: plain(a, b, c, d), "NumPy function"),
    "x alone": (lambda x: plain(x, 1, 0, 1e-3), "NumPy function"),
    "with a cache": (lambda x, gamma, beta, eps: (plain(x, gamma, beta, eps), 1), None),
    "partial": (functools.partial(plain, eps=0.1), "NumPy function"),
    "class": (Right, "NumPy class"),
    "instance": (Right(4), "NumPy class"),
    "factory": (lambda: Right(2, momentum=0.5), "NumPy class"),
    "partial class": (functools.partial(Right, 3, eps=0.1), "NumPy class"),
    "torch lambda": (
        lambda x, weight, bias, eps: torch.nn.functional.batch_norm(
            x, None, None, weight, bias, True, 0.1, eps
        ),
        "torch function",
    ),
    "torch module of a factory": (lambda: torch.nn.BatchNorm1d(3), "torch module"),
}


class TestForms:
    """Each passes; what is told apart is what it was taken for."""

    @pytest.mark.parametrize("form", FORMS)
    def test_form(self, form):
        candidate, kind = FORMS[form]
        report = check.batch_norm(candidate)
        assert report.passed, report
        assert kind in (None, report.kind)

    def test_eps_is_measured_where_it_is_not_given(self):
        report = check.batch_norm(FORMS["without eps"][0])
        assert report.conventions["eps"] == "1e-05, measured"

    def test_tensors_by_request(self):
        def either(x, gamma, beta, eps):
            var = ((x - x.mean(0)) ** 2).mean(0)
            return gamma * (x - x.mean(0)) * (var + eps) ** -0.5 + beta

        assert check.batch_norm(either).kind == "NumPy function"
        report = check.batch_norm(either, framework="torch")
        assert report.kind == "torch function"
        assert {row.check: row.status for row in report.rows}["second gradients"] == "right"

    def test_an_instance_is_left_alone(self):
        module = torch.nn.BatchNorm1d(3).eval()
        with torch.no_grad():
            module.running_mean += 5
            module.weight += 1
        kept = {name: value.clone() for name, value in module.state_dict().items()}
        assert check.batch_norm(module).passed
        assert not module.training
        for name, value in module.state_dict().items():
            assert torch.equal(value, kept[name]), name

    @pytest.mark.parametrize(
        ("candidate", "message"),
        [
            (3, "of type int; expected a function"),
            (lambda x, foo, bar, baz, qux: x, "needs foo, bar, baz, qux"),
            (torch.nn.Conv2d, "name a function without arguments"),
            (lambda: None, "returns a NoneType"),
            ((plain, 3), "a tuple has to hold"),
            (type("Empty", (), {}), "no method forward"),
        ],
    )
    def test_usage(self, candidate, message):
        with pytest.raises(check.UsageError, match=message):
            check.batch_norm(candidate)
        assert issubclass(check.UsageError, TypeError)


class TestNotBatchNorm:
    @pytest.mark.parametrize(
        ("module", "mistake"),
        [
            (torch.nn.LayerNorm, "statistics-per-position"),
            (lambda: torch.nn.InstanceNorm2d(3, affine=True), "statistics-over-positions-only"),
            (lambda: torch.nn.GroupNorm(1, 3), "statistics-per-example"),
            (torch.nn.Identity, "unidentified"),
        ],
    )
    def test_other_layers(self, module, mistake):
        report = check.batch_norm(module)
        assert not report.passed
        assert mistake in report.mistakes, report


def test_two_axes_only_is_no_mistake_unless_more_are_meant():
    report = check.batch_norm(plain)
    assert report.passed
    assert "only-two-axes" in report.mistakes

    def four(x, gamma, beta, eps):
        assert x.ndim == 4, "expected (N, H, W, C)"
        return plain(x, gamma, beta, eps)

    assert "statistics-over-batch-only" in {f.mistake for f in check.batch_norm(four).wrong}


class FourAxes(torch.nn.Module):
    """(N, C, H, W), and nobody looks whether there are four: (N, C) is broadcast to four."""

    def __init__(self, channels):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = torch.nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        axes = [a for a in range(x.dim()) if a != 1]
        mean = x.mean(axes, keepdim=True)
        var = ((x - mean) ** 2).mean(axes, keepdim=True)
        return self.gamma * (x - mean) / torch.sqrt(var + 1e-5) + self.beta


def test_four_axes_only_is_no_mistake():
    report = check.batch_norm(FourAxes)
    assert report.passed, report
    assert "returns-wrong-shape" in report.mistakes
    assert report.rows[0].detail == "(N, C, H, W)"


def test_gamma_that_acts_along_the_wrong_axis():
    def four(x, gamma, beta, eps):
        assert x.ndim == 4, "expected (N, C, H, W)"
        own = {"axis": (0, 2, 3), "keepdims": True}
        return gamma * (x - x.mean(**own)) / np.sqrt(x.var(**own) + eps) + beta

    assert "gamma-along-last-axis" in {f.mistake for f in check.batch_norm(four).wrong}


def test_importing_it_loads_numpy_alone_and_so_does_checking_numpy(request):
    script = (
        "import sys, bn.check, bn.reference\n"
        "frameworks = {'torch', 'keras', 'flax', 'jax', 'tensorflow'}\n"
        "assert not frameworks & set(sys.modules)\n"
        "assert bn.check.batch_norm(bn.reference.BatchNorm).passed\n"
        "print(*frameworks & set(sys.modules))"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=request.config.rootpath, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == ""


def test_the_example_in_the_docstring():
    import doctest

    assert doctest.testmod(check).attempted > 4
    assert doctest.testmod(check).failed == 0
