"""Each row of the table in ``bn.pytorch``: what torch.nn does, and what we do.

The docstring of a test is the first cell of its row.
"""

import inspect
import sys
import warnings

import pytest
import torch
from torch import nn

from bn import pytorch

BOTH = (nn, pytorch)


def one_of_each(*args, **options):
    return [package.BatchNorm1d(*args, **options) for package in BOTH]


def error_of(function, *args):
    """The type of what a call raises, None if nothing."""
    try:
        function(*args)
    except Exception as error:  # whatever it is, it is compared
        return type(error)
    return None


def test_large_mean(textbook):
    """mean 1e6, std 1, float32"""
    x = 1e6 + torch.randn(256, 8)
    exact = textbook(x.double())
    theirs, ours = ((m(x) - exact).abs().max() for m in one_of_each(8))
    assert theirs > 0.01
    assert ours < 1e-6


def test_constant_channel():
    """constant channel"""
    x = torch.full((64, 3), 1e9)
    theirs, ours = (m(x) for m in one_of_each(3))
    assert (theirs.abs() > 0.5).all()
    assert (ours == 0).all()


def test_huge_values(textbook):
    """values near 1e30, float32"""
    x = 1e30 * torch.randn(40, 3)
    exact = textbook(x.double(), eps=1e-5)
    theirs, ours = (m(x) for m in one_of_each(3))
    assert (theirs == 0).all()
    assert (ours - exact).abs().max() < 1e-6


def test_half_precision(textbook):
    """half precision"""
    torch.manual_seed(0)
    x = (5 + torch.randn(64, 4, 6, 6)).half()
    gamma, beta = torch.tensor([0.5, 1, 2, -3]), torch.tensor([0.3, -1, 1, 0.7])
    exact = textbook(x.double(), gamma.double(), beta.double())
    unit = torch.finfo(torch.float16).eps * torch.exp2(exact.abs().log2().floor())
    theirs = nn.functional.batch_norm(x, None, None, gamma, beta, training=True)
    assert ((theirs - exact).abs() / unit).max() > 1
    assert ((pytorch.batch_norm(x, gamma, beta) - exact).abs() / unit).max() < 0.501


def test_variance_beyond_float64():
    """variance beyond float64"""
    x = 1e200 * torch.randn(40, 3, dtype=torch.float64)
    theirs, ours = one_of_each(3, dtype=torch.float64)
    assert (theirs(x) == 0).all()
    with pytest.raises(OverflowError, match="scale x down"):
        ours(x)
    assert ours.num_batches_tracked == 0


def test_differences_beyond_float32():
    """differences beyond float32"""
    x = torch.randn(8, 3)
    x[:4, 1], x[4:, 1] = 3e38, -3e38
    theirs, ours = one_of_each(3)
    assert theirs(x)[:, 1].isnan().all()
    for backend in ("auto", "reference"):
        ours.backend = backend
        with pytest.raises(OverflowError, match="channel 1 of x are too far apart"):
            ours(x)
        assert ours.num_batches_tracked == 0
        assert (ours.running_mean == 0).all()


def test_nonfinite():
    """NaN or infinity in a batch"""
    for module, spoilt in zip(one_of_each(3), (True, False), strict=True):
        x = torch.randn(8, 3)
        x[0, 0] = torch.inf
        assert module(x)[:, 0].isnan().any()
        for _ in range(100):
            module(torch.randn(8, 3))
        assert (not module.running_var.isfinite().all()) == spoilt
        assert module.num_batches_tracked == (101 if spoilt else 100)


def test_empty_batch():
    """empty batch in training"""
    theirs, ours = one_of_each(3)
    for module, count in ((theirs, 1), (ours, 0)):
        assert module(torch.zeros(0, 3)).shape == (0, 3)
        assert module.num_batches_tracked == count


def test_eps_zero():
    """eps = 0 in training"""
    theirs, ours = one_of_each(3, eps=0.0)
    x = torch.randn(8, 3)
    with pytest.raises(ValueError, match="eps must be positive"):
        theirs(x)
    torch.testing.assert_close(ours(x).square().mean(0), torch.ones(3))
    with pytest.raises(ValueError, match="eps is 0"):
        ours(torch.ones(8, 3))


def test_running_variance():
    """running variance"""
    x = torch.randn(4, 3)
    theirs, ours = one_of_each(3, momentum=1.0)
    biased = pytorch.BatchNorm1d(3, momentum=1.0, unbiased=False)
    for module, correction in ((theirs, 1), (ours, 1), (biased, 0)):
        module(x)
        torch.testing.assert_close(module.running_var, x.var(0, correction=correction))


def test_options():
    """options out of range"""
    for options in ({"momentum": 1.5}, {"momentum": -0.1}, {"eps": -1.0}, {"num_features": 0}):
        options = {"num_features": 3, **options}
        nn.BatchNorm1d(**options)
        with pytest.raises(ValueError, match="expected"):
            pytorch.BatchNorm1d(**options)


def test_channels():
    """wrong number of channels"""
    x = torch.randn(8, 4)
    assert [error_of(m, x) for m in one_of_each(3)] == [RuntimeError, ValueError]
    bare = one_of_each(3, affine=False, track_running_stats=False)
    assert [error_of(m, x) for m in bare] == [None, ValueError]


def test_mixed_types():
    """float64 input, float32 module"""
    x = torch.randn(8, 3, dtype=torch.float64)
    theirs, ours = one_of_each(3)
    assert error_of(theirs, x) is RuntimeError
    assert torch.equal(ours(x), pytorch.BatchNorm1d(3, dtype=torch.float64)(x))


def test_third_derivative():
    """third derivative"""
    for module, expected in zip(one_of_each(3), (None, NotImplementedError), strict=True):
        x = torch.randn(8, 3, requires_grad=True)
        y = module(x)
        for _ in range(2):
            (y,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        assert error_of(y.sum().backward) is expected


def test_functional_transforms():
    """torch.func.grad"""
    x = torch.randn(8, 3)
    for module, expected in zip(one_of_each(3, affine=False), (None, RuntimeError), strict=True):
        module.eval()
        assert error_of(torch.func.grad(lambda x, m=module: m(x).sum()), x) is expected


def test_older_compilers():
    """torch.jit.script, torch.fx"""
    theirs, ours = one_of_each(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.*deprecated", DeprecationWarning)
        for trace in (torch.jit.script, torch.fx.symbolic_trace):
            assert error_of(trace, nn.Sequential(theirs)) is None
            assert error_of(trace, nn.Sequential(ours)) is not None
        for trace in (torch.jit.script, torch.fx.symbolic_trace):
            trace(pytorch.convert(nn.Sequential(pytorch.BatchNorm1d(3)), to="torch"))


def test_every_row_has_a_test():
    lines = inspect.getdoc(pytorch).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("====")]
    width = lines[rules[0]].index(" ")
    cases = []
    for line in lines[rules[1] + 1 : rules[2]]:
        cell = line[:width].strip()
        if line[width:].strip() == "":  # the first cell goes on
            cases[-1] += " " + cell
        elif cell:
            cases.append(cell)
    tests = [
        inspect.getdoc(value)
        for name, value in vars(sys.modules[__name__]).items()
        if name.startswith("test_") and value is not test_every_row_has_a_test
    ]
    assert len(cases) >= 14
    assert cases == tests
