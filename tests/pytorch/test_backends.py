"""Which code computes, and what is said when it cannot."""

import subprocess
import sys

import pytest
import torch

from bn import pytorch
from bn.pytorch import backends
from bn.pytorch.backends import numba_cpu, reference


def test_numba_is_chosen_on_the_cpu():
    assert backends.choose("auto", torch.randn(4, 3)) is numba_cpu
    assert backends.choose("auto", torch.randn(0, 3)) is reference
    assert backends.choose("auto", torch.empty(4, 3, device="meta")) is reference
    assert backends.choose("reference", torch.randn(4, 3)) is reference


def test_without_numba_the_reference_computes(request):
    script = """
import sys; sys.modules["numba"] = None
import torch, bn.pytorch as p
x = torch.randn(8, 3)
print(torch.equal(p.batch_norm(x), p.batch_norm(x, backend="reference")))
try:
    p.batch_norm(x, backend="numba")
except ImportError as error:
    print(error)
"""
    made = subprocess.run(
        [sys.executable, "-c", script],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    first, second = made.stdout.splitlines()
    assert first == "True"
    assert "pip install" in second
    assert "numba" in second


def test_numba_elsewhere_is_an_error():
    with pytest.raises(ValueError, match="computes on the CPU, and x is on meta"):
        raise numba_cpu.problem(torch.empty(4, 3, device="meta"))


def test_the_answer_is_the_chosen_ones():
    """At mean 1e6 torch's own loses digits that the others have."""
    x = 1e6 + torch.randn(64, 3, 8, 8)
    exact = pytorch.batch_norm(x.double())
    error = {
        name: (pytorch.batch_norm(x, backend=name) - exact).abs().max().item()
        for name in ("reference", "numba", "torch")
    }
    assert error["reference"] < 1e-6
    assert error["numba"] < 1e-6
    assert error["torch"] > 1e-3


#: How far a result of size 1 may be off.
ERRORS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 0.05}


@pytest.mark.parametrize("backend", ["reference", "numba", "torch"])
@pytest.mark.parametrize("dtype", ERRORS, ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("view", ["plain", "strided", "transposed", "expanded"])
def test_any_view_of_memory(backend, dtype, axis, view):
    x = torch.randn(6, 4, 8)
    x = {
        "plain": x,
        "strided": x[:, :, ::2],
        "transposed": x.transpose(0, 2),
        "expanded": x[:, :1].expand(6, 4, 8),
    }[view].to(dtype)
    dy = torch.randn(1).expand(x.shape).to(dtype)
    expected, exact = pytorch.batch_norm_forward(x.double(), axis=axis, backend="reference")
    y, cache = pytorch.batch_norm_forward(x, axis=axis, backend=backend)
    assert (y - expected).abs().max() < ERRORS[dtype]
    assert y.is_contiguous()  # as in torch.nn, whatever the strides of x are
    dx, _, dbeta = pytorch.batch_norm_backward(dy, cache)
    assert dx.abs().max() < ERRORS[dtype]  # the gradient of a constant is 0
    others = [a for a in range(3) if a != axis % 3]
    assert (dbeta / dy.double().sum(others) - 1).abs().max() < ERRORS[dtype]
    fixed = pytorch.batch_norm_inference(x, exact.mean, exact.var, axis=axis, backend=backend)
    assert (fixed - expected).abs().max() < ERRORS[dtype]
    assert fixed.stride() == y.stride()


def test_the_compiler_does_not_see_the_choice():
    for backend in ("reference", "numba", "torch"):
        torch.compiler.reset()
        module = pytorch.BatchNorm2d(3, backend=backend)
        x = torch.randn(4, 3, 5, 5)
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), module(x))
