"""The Triton kernels where numbers are large, tiny, constant or not numbers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid  # noqa: E402
from tests import large_mean  # noqa: E402

NEEDS_INTERPRETER = not triton_gpu.can_run()
if NEEDS_INTERPRETER:
    reason = "no GPU here; test_triton_interpreted.py runs it in the interpreter"
    pytest.skip(reason, allow_module_level=True)

# the interpreter computes with NumPy, which reports what IEEE 754 does without a word
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
DEVICE = "cpu" if triton_gpu.interpreted() else "cuda"


@pytest.fixture(params=["on chip", "in parts"], autouse=True)
def way(request, monkeypatch):
    if request.param == "in parts":
        monkeypatch.setattr(grid, "ON_CHIP", 0)
        monkeypatch.setattr(grid, "TILE", 64)
        monkeypatch.setattr(grid, "RUN", 16)
    return request.param


@pytest.fixture
def normal():
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(shape, generator=generator)


def textbook(x, dy, eps=0.0, unit=1.0):
    """y, dx and dgamma in float64, with x and the statistics in units of `unit`."""
    x = (x.cpu().double() / unit).requires_grad_()
    gamma = torch.ones(x.shape[1], dtype=torch.float64, requires_grad=True)
    others = [a for a in range(x.dim()) if a != 1]
    centred = x - x.mean(others, keepdim=True)
    y = centred / (centred.square().mean(others, keepdim=True) + eps).sqrt()
    y = y * gamma.reshape([-1 if a == 1 else 1 for a in range(x.dim())])
    dx, dgamma = torch.autograd.grad(y, (x, gamma), dy.cpu().double())
    return y.detach(), dx / unit, dgamma


def relative_error(got, expected):
    got = got.cpu().double()
    return ((got - expected).abs().max() / expected.abs().max()).item()


def step(x, dy=None, eps=0.0):
    x = x.to(DEVICE)
    dy = torch.ones_like(x) if dy is None else dy.to(DEVICE)
    y, statistics = triton_gpu.forward(x, None, None, eps=eps)
    return y, statistics, triton_gpu.backward(dy, x, None, None, statistics)


@pytest.mark.parametrize("shape", [(64, 3), (4, 2, 16)], ids=str)
def test_a_large_mean_of_dy_costs_no_digits(shape, rng):
    """Bounds and their derivation are in tests/large_mean.py."""
    case = large_mean.drawn(rng, shape, "float32")
    x, d, dy = (torch.from_numpy(a) for a in case)
    *_, gradients = step(x, dy, eps=1e-5)
    _, dx, dgamma = textbook(x, d, eps=1e-5)
    got = [g.cpu().double().numpy() for g in gradients[:3]]
    dbeta = case.d.astype(float).sum(axis=(0, *range(2, x.dim())))
    large_mean.check(got, (dx.numpy(), dgamma.numpy(), dbeta), case, np.ones(shape[1]))


@pytest.mark.parametrize("mean", [1e4, 1e6])
@pytest.mark.parametrize("shape", [(50, 3), (4, 3, 15)])
def test_large_means(normal, shape, mean):
    x, dy = mean + normal(*shape), normal(*shape)
    y, _, gradients = step(x, dy, eps=1e-5)
    expected, dx, dgamma = textbook(x, dy, eps=1e-5)
    assert (y.cpu() - expected).abs().max() < 1e-6
    assert relative_error(gradients.dx, dx) < 1e-6
    assert relative_error(gradients.dgamma, dgamma) < 2e-6


def test_a_first_value_far_from_the_others(normal):
    """It is the first guess of the mean; that must cost no digits."""
    x, dy = normal(60, 3), normal(60, 3)
    x[0] = 1e4
    dy[0] = 0
    y, _, gradients = step(x, dy, eps=1e-5)
    expected, dx, _ = textbook(x, dy, eps=1e-5)
    assert (y.cpu() - expected)[1:].abs().max() < 2e-7
    assert relative_error(gradients.dx, dx) < 2e-6


def test_a_large_mean_of_dy(normal):
    x, dy = normal(40, 3), 1e4 + normal(40, 3)
    _, _, gradients = step(x, dy)
    _, dx, dgamma = textbook(x, dy)
    assert relative_error(gradients.dx, dx) < 5e-4, "1e4 has 3 digits after the point in float32"
    assert relative_error(gradients.dgamma, dgamma) < 1e-5


def test_where_dy_is_constant_dx_is_zero(normal):
    """Also where a sum of the constant is rounded."""
    for value in (0.1, 1 / 3, 1e4 / 7):
        x = normal(37, 3)
        _, _, gradients = step(x, torch.full_like(x, value))
        assert (gradients.dx == 0).all()
        assert (gradients.dgamma == 0).all()


@pytest.mark.parametrize("value", [0.0, 1e-7, 1e9, 3e38])
def test_a_constant_channel_is_exactly_beta(value):
    beta = torch.tensor([-1.0, 0.1, 2.0], device=DEVICE)
    for shape in ((33, 3), (2, 3, 5, 7)):
        x = torch.full(shape, value, device=DEVICE)
        y, statistics = triton_gpu.forward(x, None, beta, eps=1e-5)
        assert torch.equal(y, beta.reshape(-1, *[1] * (len(shape) - 2)).expand(shape))
        assert (statistics.var == 0).all()
        gradients = triton_gpu.backward(torch.ones_like(x), x, None, beta, statistics)
        assert (gradients.dx == 0).all()
        assert (gradients.dgamma == 0).all()
        assert (gradients.dbeta == x.numel() // 3).all()


@pytest.mark.parametrize("size", [1e30, 1e-15, 1e-30])
def test_huge_and_tiny(normal, size):
    """Squares of these do not fit in float32. The variance is float64 and has room."""
    x, dy = size * normal(40, 3), normal(40, 3)
    y, statistics, gradients = step(x, dy)
    expected, dx, _ = textbook(x, dy, unit=size)
    assert relative_error(y, expected) < 1e-6
    assert relative_error(gradients.dx, dx) < 1e-6
    var = (x.double() / size).var(0, correction=0) * size**2
    assert relative_error(statistics.var, var) < 1e-6


def test_nan_and_infinity_stay_in_their_channel(normal):
    for bad in (torch.nan, torch.inf):
        x = normal(4, 3, 11)
        x[2, 1, 7] = bad
        y, statistics, gradients = step(x, eps=1e-5)
        assert y[:, 1].isnan().all()
        assert gradients.dx[:, 1].isnan().all()
        for values in (y, gradients.dx):
            assert values[:, [0, 2]].isfinite().all()
        assert statistics.var.isfinite().tolist() == [True, False, True]
        assert statistics.inv_std.isfinite()[[0, 2]].all()


def test_the_relu_lets_nan_through(normal):
    x, residual = normal(6, 2), normal(6, 2)
    residual[3, 1] = torch.nan
    x, residual = x.to(DEVICE), residual.to(DEVICE)
    y, _ = triton_gpu.forward(x, None, None, eps=1e-5, relu=True, residual=residual)
    assert y.isnan().sum() == 1
    assert y[3, 1].isnan()


def test_zero_by_zero_is_nan():
    """Nothing is looked at on a GPU, so nothing can be raised."""
    y, _, _ = step(torch.ones(8, 3), eps=0.0)
    assert y.isnan().all()


def test_sums_are_not_atomic(normal):
    """The same numbers give the same bits."""
    x, dy = normal(30, 3), normal(30, 3)
    (y, _, first), (again, _, second) = step(x, dy), step(x, dy)
    assert torch.equal(y, again)
    for a, b in zip(first[:3], second[:3], strict=True):
        assert np.array_equal(a.cpu().numpy(), b.cpu().numpy())
