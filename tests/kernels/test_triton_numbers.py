"""The Triton kernels compute what bn.reference computes, in both layouts, by both ways.

On a GPU if there is one, else in Triton's interpreter: see test_triton_interpreted.py.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from bn import reference  # noqa: E402
from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid  # noqa: E402

NEEDS_INTERPRETER = not triton_gpu.can_run()
if NEEDS_INTERPRETER:
    reason = "no GPU here; test_triton_interpreted.py runs it in the interpreter"
    pytest.skip(reason, allow_module_level=True)

DEVICE = "cpu" if triton_gpu.interpreted() else "cuda"
ERROR = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
EPS = 1e-3


@pytest.fixture(params=["on chip", "in parts"])
def way(request, monkeypatch):
    """Small tiles, so that small tensors have several."""
    if request.param == "in parts":
        monkeypatch.setattr(grid, "ON_CHIP", 0)
        monkeypatch.setattr(grid, "TILE", 64)
        monkeypatch.setattr(grid, "RUN", 16)
    monkeypatch.setattr(grid, "PROGRAMS", 2)
    return request.param


def relative_error(got, expected):
    got = got.detach().cpu().double().numpy()
    return np.abs(got - expected).max() / np.abs(expected).max()


def draw(shape, axis, dtype, seed=0):
    """x, gamma, beta, residual and dy, in the type and on the device."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    x, residual, dy = 3 + 2 * normal(shape), normal(shape), 0.5 + normal(shape)
    gamma, beta = 1.5 + normal(shape[axis]), normal(shape[axis])
    vector = torch.float64 if dtype == torch.float64 else torch.float32
    vectors = [v.to(device=DEVICE, dtype=vector) for v in (gamma, beta)]
    return [t.to(device=DEVICE, dtype=dtype) for t in (x, residual, dy)], vectors


def expect(x, gamma, beta, residual, dy, *, axis, relu):
    """The same by bn.reference in float64; ReLU and residual by hand."""
    x, gamma, beta, dy = (t.cpu().double().numpy() for t in (x, gamma, beta, dy))
    y, cache = reference.batch_norm_forward(x, gamma, beta, eps=EPS, axis=axis)
    if residual is not None:
        y = y + residual.cpu().double().numpy()
    if relu:
        dy, y = np.where(y > 0, dy, 0), np.maximum(y, 0)
    gradients = reference.batch_norm_backward(dy, cache)
    results = dict(zip(("dx", "dgamma", "dbeta"), gradients, strict=True))
    return results | {"y": y, "mean": cache.mean, "var": cache.var, "dresidual": dy}


def check(x, gamma, beta, residual, dy, *, axis=1, relu=False):
    expected = expect(x, gamma, beta, residual, dy, axis=axis, relu=relu)
    options = {"axis": axis, "relu": relu, "residual": residual}
    y, statistics = triton_gpu.forward(x, gamma, beta, eps=EPS, **options)
    gradients = triton_gpu.backward(dy, x, gamma, beta, statistics, **options)
    mean = statistics.pivot.double() + statistics.offset
    got = {"y": y, "mean": mean, "var": statistics.var, **gradients._asdict()}
    if residual is None:
        assert got.pop("dresidual") is None
    for name, value in got.items():
        # statistics and gradients of parameters are not rounded to half precision
        whole = name in ("y", "dx", "dresidual")
        limit = ERROR[x.dtype] if whole else min(ERROR[x.dtype], ERROR[torch.float32])
        error = relative_error(value, expected[name])
        assert error < limit, f"{name}: relative error {error:.2g}"
        if whole:
            assert (value.dtype, value.shape) == (x.dtype, x.shape)
            assert value.stride() == x.stride()
    compute = torch.float64 if x.dtype == torch.float64 else torch.float32
    assert statistics.pivot.dtype == gradients.dgamma.dtype == gradients.dbeta.dtype == compute
    assert {v.dtype for v in statistics[1:]} == {torch.float64}


@pytest.mark.parametrize("dtype", ERROR, ids=str)
@pytest.mark.parametrize(("relu", "add"), [(False, False), (True, True)])
def test_types(way, dtype, relu, add):
    (x, residual, dy), (gamma, beta) = draw((5, 2, 11), 1, dtype)
    check(x, gamma, beta, residual if add else None, dy, relu=relu)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((4, 3), 1),  # a row for each value
        ((35, 3), 1),  # beyond one block of rows, and its last one not full
        ((3, 7), 0),
        ((1, 2, 3, 9), 1),
        ((4, 3, 1, 1), 1),
        ((4, 1, 5), 1),  # one channel
        ((2, 5, 2, 3), 1),  # short channels: several of them in a tile
        ((2, 3, 4), -1),
        ((1, 2, 65), 1),  # one more than a block
        ((2, 2, 2, 2, 3), 1),
        ((8, 4, 4), 1),  # powers of two: no mask has anything to do
    ],
)
def test_shapes(way, shape, axis):
    (x, residual, dy), (gamma, beta) = draw(shape, axis, torch.float32)
    check(x, gamma, beta, residual, dy, axis=axis, relu=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (3, 2, 3, 5), (2, 9, 2, 2)])
def test_channels_last(way, shape, dtype):
    tensors, (gamma, beta) = draw(shape, 1, dtype)
    x, residual, dy = (t.to(memory_format=torch.channels_last) for t in tensors)
    check(x, gamma, beta, residual, dy, relu=True)


@pytest.mark.parametrize(("relu", "add"), [(True, False), (False, True)])
def test_one_option_alone(way, relu, add):
    (x, residual, dy), (gamma, beta) = draw((4, 3, 7), 1, torch.float32)
    check(x, gamma, beta, residual if add else None, dy, relu=relu)


def test_without_gamma_and_beta(way):
    (x, _, dy), _ = draw((4, 3, 7), 1, torch.float32)
    ones, zeros = torch.ones(3, device=DEVICE), torch.zeros(3, device=DEVICE)
    y, statistics = triton_gpu.forward(x, None, None, eps=EPS, relu=True)
    got = triton_gpu.backward(dy, x, None, None, statistics, relu=True)
    expected = expect(x, ones, zeros, None, dy, axis=1, relu=True)
    assert relative_error(y, expected["y"]) < 1e-6
    assert relative_error(got.dx, expected["dx"]) < 1e-6


def test_offsets_of_64_bits(way, monkeypatch):
    monkeypatch.setattr(grid, "LIMIT_32", -1)
    (x, residual, dy), (gamma, beta) = draw((3, 5, 7), 1, torch.float32)
    check(x, gamma, beta, residual, dy, relu=True)


def test_the_relu_is_the_same_in_both_directions(way):
    """Where y is 0 but for rounding, the backward pass sees the sign that the forward pass saw."""
    (x, _, _), (gamma, _) = draw((48, 4), 1, torch.float32)
    x = x[:1] + 0.1 * x  # the first row is near the mean
    y, _ = triton_gpu.forward(x, gamma, None, eps=EPS)
    residual = -y.roll(1, 0).roll(-1, 0) * (1 + 2e-7 * torch.randn_like(y))  # y + residual: noise
    y, statistics = triton_gpu.forward(x, gamma, None, eps=EPS, relu=True, residual=residual)
    ones = torch.ones_like(x)
    got = triton_gpu.backward(ones, x, gamma, None, statistics, relu=True, residual=residual)
    assert 20 < (y > 0).sum() < y.numel() - 20, "as many are open as closed, about"
    assert torch.equal(y > 0, got.dresidual == 1)


@pytest.mark.parametrize("vectors", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", ERROR, ids=str)
def test_inference(dtype, vectors):
    (x, residual, _), (gamma, beta) = draw((3, 5, 7), 1, dtype)
    mean = torch.linspace(-1, 4, 5, device=DEVICE, dtype=vectors)
    var = torch.linspace(0.5, 2, 5, device=DEVICE, dtype=vectors)
    y = triton_gpu.inference(
        x, mean, var, gamma, beta, eps=EPS, axis=1, relu=True, residual=residual
    )
    numbers = [t.cpu().double().numpy() for t in (x, mean, var, gamma, beta)]
    expected = reference.batch_norm_inference(*numbers, eps=EPS)
    expected = np.maximum(expected + residual.cpu().double().numpy(), 0)
    assert relative_error(y, expected) < ERROR[dtype]


def test_inference_in_many_tiles(monkeypatch):
    monkeypatch.setattr(grid, "TILE", 32)
    (x, _, _), _ = draw((7, 3, 13), 1, torch.float32)
    mean = torch.tensor([1e6 + 0.1, 0.0, -3.0], dtype=torch.float64, device=DEVICE)
    x = (x + mean.reshape(3, 1)).to(torch.float32)
    y = triton_gpu.inference(x, mean, torch.ones_like(mean), None, None, eps=0.0)
    expected = x.double() - mean.reshape(3, 1)
    assert relative_error(y, expected.cpu().numpy()) < 1e-6, "no digit of the mean is lost"
    assert triton_gpu.inference(x[:0], mean, mean, None, None, eps=0.0).shape == (0, 3, 13)
