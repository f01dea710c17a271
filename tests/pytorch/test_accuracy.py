"""How many digits are right, where torch loses them."""

import pytest
import torch

from bn import pytorch
from bn.pytorch import moments

SHAPES = [(256, 8), (16, 8, 32), (8, 4, 16, 16), (1, 3, 64, 64)]


@pytest.fixture(params=["float64", "no float64"])
def widest(request, monkeypatch):
    """The CPU as it is, and as if it had no float64, like MPS."""
    if request.param == "no float64":
        monkeypatch.setattr(moments, "WITHOUT_FLOAT64", {"cpu"})
    return request.param


def exact(function, *tensors):
    """y, dx and the gradients of gamma and beta in float64; dy is the last tensor."""
    *inputs, dy = [t.detach().double() for t in tensors]
    for t in inputs:
        t.requires_grad_()
    y = function(*inputs)
    return [y, *torch.autograd.grad(y, inputs, dy)]


def ours(*tensors):
    *inputs, dy = tensors
    for t in inputs:
        t.requires_grad_()
    y = pytorch.batch_norm(*inputs)
    return [y, *torch.autograd.grad(y, inputs, dy)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_large_means(shape, mean, widest, textbook, relative_error):
    x, dy = mean + torch.randn(shape), torch.randn(shape)
    gamma, beta = torch.ones(shape[1]), torch.zeros(shape[1])
    expected = exact(textbook, x, gamma, beta, dy)
    got = ours(x, gamma, beta, dy)
    assert (got[0] - expected[0]).abs().max() < 1e-6
    assert relative_error(got[1], expected[1]) < 1e-6
    for gradient, truth in zip(got[2:], expected[2:], strict=True):
        # a sum of m terms of size 1: its error in units of sqrt(m), its usual size
        scale = (x.numel() / shape[1]) ** 0.5
        assert (gradient - truth).abs().max() / scale < 1e-6
    _, cache = pytorch.batch_norm_forward(x)
    assert cache.var.dtype == (torch.float64 if widest == "float64" else torch.float32)
    others = [a for a in range(x.dim()) if a != 1]
    assert relative_error(cache.var, x.double().var(others, correction=0)) < 1e-6


def test_a_first_sample_far_from_the_rest(textbook, widest):
    """Subtracting an outlier would cost the other values their last digits."""
    x = torch.randn(64, 3, 32, 32)
    x[0, :, 0, 0] = 200.0
    expected = exact(textbook, x, torch.zeros_like(x))[0]
    error = (pytorch.batch_norm(x) - expected).abs()
    assert (error < 5e-7 * expected.abs().clamp(min=1)).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e9, -3.3e30, 1e-30])
@pytest.mark.parametrize("shape", [(64, 3), (1, 1, 10, 10), (4, 3, 5, 5)])
def test_a_constant_channel_is_exactly_beta(shape, value, widest):
    beta = torch.linspace(0.1, 0.3, shape[1])
    x = torch.full(shape, value, requires_grad=True)
    y = pytorch.batch_norm(x, torch.full_like(beta, 7.0), beta)
    assert torch.equal(y, beta.reshape(1, -1, *[1] * (len(shape) - 2)).expand(shape))


@pytest.mark.parametrize("size", [1e30, 1e19, 1e-15, 1e-19, 1e-30])
def test_sizes_whose_squares_do_not_fit_in_float32(size, widest, textbook, relative_error):
    x, dy = size * torch.randn(40, 3, 5), torch.randn(40, 3, 5)
    x64 = (x.double() / size).requires_grad_()  # batch norm does not see a scale, at eps = 0
    expected = textbook(x64, eps=0.0)
    (gradient,) = torch.autograd.grad(expected, x64, dy.double())
    x.requires_grad_()
    y = pytorch.batch_norm(x, eps=0.0)
    (dx,) = torch.autograd.grad(y, x, dy)
    assert relative_error(y, expected) < 1e-6
    assert relative_error(dx.double() * size, gradient) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounded_once(dtype, widest):
    x = (5 + torch.randn(64, 4, 6, 6)).to(dtype)
    dy = torch.randn_like(x)
    wider = torch.float64 if widest == "float64" else torch.float32
    for result, wide in zip(ours(x, dy), ours(x.detach().to(wider), dy.to(wider)), strict=True):
        assert result.dtype == dtype
        assert torch.equal(result, wide.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_inference_far_from_zero(dtype):
    x = (1e6 + torch.randn(50, 2)).to(dtype)
    mean = torch.tensor([1e6 + 0.3, 1e6 - 0.7], dtype=torch.float64)  # float32 has no such number
    y = pytorch.batch_norm_inference(x, mean, torch.ones(2), eps=0.0)
    assert (y - (x.double() - mean)).abs().max() < 1e-6


def test_powers_of_two_are_exact():
    """The scaling of `moments` costs no rounding because exp2 of a whole number is exact."""
    for dtype, limit in ((torch.float32, 100), (torch.float64, 1000)):
        whole = torch.arange(-limit, limit + 1)
        expected = torch.tensor([2.0**e for e in whole.tolist()], dtype=dtype)
        assert torch.equal(torch.exp2(whole.to(dtype)), expected)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_second_gradients_at_a_large_mean(fraction, textbook, relative_error):
    x, dy = 1e6 + torch.randn(64, 4), torch.randn(64, 4)

    def penalty(function, x, dy):
        x = x.detach().requires_grad_()
        (dx,) = torch.autograd.grad(function(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx.square().sum() + fraction * dx.sum(), x)[0]

    expected = penalty(textbook, x.double(), dy.double())
    assert relative_error(penalty(pytorch.batch_norm, x, dy), expected) < 1e-5
