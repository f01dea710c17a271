"""How many digits are right, where torch loses them."""

import pytest
import torch

from bn import pytorch
from bn.pytorch import moments
from tests import large_mean, rounding

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
    m = x.numel() // shape[1]
    # the sum of an example's values, and the sum of these sums: so many additions in a row
    terms = shape[0] + m // shape[0]
    largest = expected[0].abs().max().item()
    assert (got[0] - expected[0]).abs().max() < rounding.of_y("float32", terms, largest)
    limit = rounding.of_batch_norm("float32", terms)
    assert relative_error(got[1], expected[1]) < limit
    for gradient, truth in zip(got[2:], expected[2:], strict=True):
        # a sum of m terms of size 1: its error in units of sqrt(m), its usual size
        assert (gradient - truth).abs().max() / m**0.5 < limit
    _, cache = pytorch.batch_norm_forward(x)
    assert cache.var.dtype == (torch.float64 if widest == "float64" else torch.float32)
    others = [a for a in range(x.dim()) if a != 1]
    _, of_var = rounding.of_statistics("float32", terms)
    assert relative_error(cache.var, x.double().var(others, correction=0)) < of_var


def test_a_first_sample_far_from_the_rest(textbook, widest):
    """Subtracting an outlier would cost the other values their last digits.

    The outlier makes the standard deviation 78; the other values are of size 0.01 in y. By
    subtraction of the outlier they would be rounded to steps of 2.5e-5 there.
    """
    pytest.importorskip("numba")
    from bn.kernels.numba_cpu.planes import CHUNK

    x = torch.randn(16, 3, 64, 64)
    x[0, :, 0, 0] = 2e4
    expected = exact(textbook, x, torch.zeros_like(x))[0]
    size = expected.abs()
    # Sums of |x - pivot|, in standard deviations: with the mean as pivot, and additions in
    # whatever order; or with the mean of the first example, 1/16 off, and CHUNK in a row.
    by_any_order = rounding.after("float32", 16 + 64 * 64) * size.mean().item()
    in_chunks = rounding.after("float32", CHUNK + 3) * (size.mean().item() + 1 / 16)
    of_var = rounding.of_statistics("float32", 16 + 64 * 64, pivot=1 / 16)[1]
    limit = max(by_any_order, in_chunks) + (of_var / 2 + rounding.after("float32", 8)) * size
    assert ((pytorch.batch_norm(x) - expected).abs() < limit).all()
    careless = exact(textbook, x - 2e4, torch.zeros_like(x))[0]  # exact but for that difference
    assert ((careless - expected).abs() > limit).any(), "the limit would not see it"


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
    limit = rounding.of_batch_norm("float32", 40 * 5)
    assert relative_error(y, expected) < limit
    assert relative_error(dx.double() * size, gradient) < limit


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
    expected = x.double() - mean
    limit = rounding.after("float32", 8) * expected.abs().max()  # each operation is rounded
    assert (y - expected).abs().max() < limit


def test_powers_of_two_are_exact():
    """The scaling of `moments` costs no rounding because exp2 of a whole number is exact."""
    for dtype, limit in ((torch.float32, 100), (torch.float64, 1000)):
        whole = torch.arange(-limit, limit + 1)
        expected = torch.tensor([2.0**e for e in whole.tolist()], dtype=dtype)
        assert torch.equal(torch.exp2(whole.to(dtype)), expected)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("shape", large_mean.SHAPES, ids=str)
def test_a_large_mean_of_dy_costs_no_digits(shape, backend, widest, textbook, rng):
    """Behind a ReLU that is open everywhere, and an addition: so through everything there is."""
    if backend == "numba" and widest != "float64":
        pytest.skip("its kernels know of no device")
    case = large_mean.drawn(rng, shape, "float32")
    gamma, beta = torch.linspace(0.5, 1.5, shape[1]), torch.full(shape[1:2], 30.0)
    expected = exact(textbook, torch.from_numpy(case.x), gamma, beta, torch.from_numpy(case.d))
    inputs = [t.requires_grad_() for t in (torch.from_numpy(case.x), gamma, beta)]
    residual = torch.zeros(shape)
    y = pytorch.batch_norm(*inputs, relu=True, residual=residual, backend=backend)
    got = torch.autograd.grad(y, inputs, torch.from_numpy(case.dy))
    arrays = [[t.detach().numpy() for t in ts] for ts in (got, expected[1:])]
    large_mean.check(*arrays, case, gamma.detach().numpy())


@pytest.mark.parametrize("added", [(True, False), (False, True), (True, True)])
def test_second_gradients_with_large_means_above(added, textbook, rng):
    """With u above dx, U for the largest |u - mean(u)|, and the rest as in tests/large_mean.py.

    For x it is gamma / std^2 times products of a mean with a number, or of two means with x_hat:
    (2 + 4 H) U D at most, as the mean of x_hat^2 is 1 at most. Each has two or three factors,
    each off by (3m + 7) units at most.
    """
    one, two = (large_mean.drawn(rng, (64, 3), "float32") for _ in range(2))
    given = [b.dy if add else b.d for add, b in zip(added, (two, one), strict=True)]

    def second(function, x, u, dy):
        x, u, dy = (torch.from_numpy(a) for a in (x, u, dy))
        x.requires_grad_()
        (dx,) = torch.autograd.grad(function(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx, x, u)[0].double()

    got = second(pytorch.batch_norm, one.x.copy(), *given)
    wide = [a.astype("float64") for a in (one.x, two.d, one.d)]
    error = (got - second(textbook, *wide)).abs().amax(0).numpy()
    x, u, d = (a - a.mean(0) for a in wide)
    std = (x.var(0) + 1e-5) ** 0.5
    x_hat, above, size = (abs(a).max(0) for a in (x / std, u, d))
    units = 3 * (3 * 64 + 7) * 2**-24
    assert (error <= units * (2 + 4 * x_hat) * above * size / std**2).all()


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_second_gradients_at_a_large_mean(fraction, textbook, relative_error):
    x, dy = 1e6 + torch.randn(64, 4), torch.randn(64, 4)

    def penalty(function, x, dy):
        x = x.detach().requires_grad_()
        (dx,) = torch.autograd.grad(function(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx.square().sum() + fraction * dx.sum(), x)[0]

    expected = penalty(textbook, x.double(), dy.double())
    limit = 3 * rounding.of_batch_norm("float32", 64)  # forward, backward, and backward of that
    assert relative_error(penalty(pytorch.batch_norm, x, dy), expected) < limit
