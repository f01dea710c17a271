"""What a spoilt or an empty batch does to the running statistics."""

import pytest
import torch

from bn import pytorch

BAD = [torch.nan, torch.inf, -torch.inf]


def books(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def assert_same(one, other):
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def spoilt(bad):
    x = torch.randn(8, 3)
    x[4, 1] = bad
    return x


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_kept_by_default(bad, momentum):
    module = pytorch.BatchNorm1d(3, momentum=momentum)
    assert torch.isnan(module(spoilt(bad))[:, 1]).all()  # also as the very first batch
    assert_same(books(module), books(pytorch.BatchNorm1d(3)))
    batches = [1 + torch.randn(8, 3) for _ in range(3)]
    for x in batches:
        module(x)
    before = books(module)
    y = module(spoilt(bad))
    assert y[:, 1].isnan().all()
    assert y[:, [0, 2]].isfinite().all()
    assert_same(books(module), before)
    assert module.num_batches_tracked == 3
    if momentum is None:
        expected = torch.stack([x.mean(0) for x in batches]).mean(0)
        torch.testing.assert_close(module.running_mean, expected)
    assert module.eval()(batches[0]).isfinite().all()


@pytest.mark.parametrize("bad", BAD)
def test_raised_when_asked_for(bad):
    module = pytorch.BatchNorm1d(3, nonfinite="raise")
    module(torch.randn(8, 3))
    before = books(module)
    with pytest.raises(ValueError, match=r"channel 1.*not updated"):
        module(spoilt(bad))
    assert_same(books(module), before)
    module(torch.randn(8, 3))
    assert module.num_batches_tracked == 2


@pytest.mark.parametrize("bad", BAD)
def test_propagated_when_asked_for_as_torch_does(bad):
    ours, theirs = pytorch.BatchNorm1d(3, nonfinite="propagate"), torch.nn.BatchNorm1d(3)
    for module in (ours, theirs):
        torch.manual_seed(0)
        module(spoilt(bad))
        module(torch.randn(8, 3))
    assert ours.running_mean.isfinite().tolist() == [True, False, True]
    for name, value in books(theirs).items():
        torch.testing.assert_close(books(ours)[name].isfinite(), value.isfinite())
    assert ours.num_batches_tracked == 2


@pytest.mark.parametrize("m", [1, 0, 4.5, True, None])
@pytest.mark.parametrize("unbiased", [True, False])
def test_statistics_of_fewer_than_two_values_are_refused(m, unbiased):
    running = torch.zeros(3), torch.ones(3)
    with pytest.raises(ValueError, match=rf"m is {m}, expected a whole number of at least 2"):
        pytorch.update_running(*running, torch.ones(3), torch.ones(3), m, unbiased=unbiased)
    assert running[0].tolist() == [0] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)  # two ways to do it
@pytest.mark.parametrize("which", [1, 2, 3])
def test_statistics_of_one_channel_are_not_those_of_three(which, dtype):
    tensors = [torch.full((1 if i == which else 3,), 2.0, dtype=dtype) for i in range(4)]
    name = ("running_mean", "running_var", "mean", "var")[which]
    with pytest.raises(ValueError, match=rf"{name} has shape \(1,\), expected \(3,\)"):
        pytorch.update_running(*tensors, 4)
    assert (tensors[0] == 2).all()


def test_a_variance_that_the_buffer_cannot_hold():
    """y is right, so nothing is raised; infinity must not enter the running variance."""
    x = 1e30 * torch.randn(40, 3)
    module = pytorch.BatchNorm1d(3)
    y = module(x)
    assert abs(y.square().mean().item() - 1) < 1e-5
    assert_same(books(module), books(pytorch.BatchNorm1d(3)))
    with pytest.raises(ValueError, match="overflows"):
        pytorch.BatchNorm1d(3, nonfinite="raise")(x)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (5, 3, 0)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_empty_batch_leaves_them(shape, options, dtype):
    module = pytorch.BatchNorm1d(3, momentum=None, **options)
    module(torch.randn(8, 3))
    before = books(module)
    x = torch.zeros(shape, dtype=dtype, requires_grad=True)
    y = module(x)
    assert y.shape == shape
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.shape == shape
    for parameter in module.parameters():  # a gradient, as data-parallel training needs one
        assert (parameter.grad == 0).all()
    assert_same(books(module), before)
    assert module.eval()(x).shape == shape


def test_the_biased_variance_when_asked_for():
    x = torch.randn(4, 3, dtype=torch.float64)
    module = pytorch.BatchNorm1d(3, momentum=1.0, unbiased=False, dtype=torch.float64)
    module(x)
    torch.testing.assert_close(module.running_var, x.var(0, correction=0))


def test_evaluation_without_statistics_leaves_nothing_behind():
    module = pytorch.BatchNorm1d(3, track_running_stats=False).eval()
    x = 5 + torch.randn(8, 3)
    assert module(x).mean().abs() < 1e-6
    assert books(module) == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_statistics_in_half_precision(dtype):
    """Of a model made half with ``.half()``: computed in float64, rounded to the buffer once."""
    module = pytorch.BatchNorm1d(3).to(dtype)
    x = (2 + torch.randn(32, 3)).to(dtype)
    module(x)
    expected = 0.1 * x.double().mean(0)
    assert torch.equal(module.running_mean, expected.to(dtype))
