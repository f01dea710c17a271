"""Each row of the table in ``bn.pytorch``: what torch.nn does, and what we do.

The docstring of a test is the first cell of its row.
"""

import inspect
import sys
import warnings

import pytest
import torch
import torch.utils.checkpoint
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


def test_negative_variance():
    """negative running variance"""
    theirs, ours = one_of_each(3)
    for module in (theirs, ours):
        module.eval().running_var[1] = -1.0
    assert theirs(torch.ones(4, 3))[:, 1].isnan().all()
    with pytest.raises(ValueError, match=r"var is -1\.0 in channel 1, expected 0 or more"):
        ours(torch.ones(4, 3))


def test_upstream_in_another_layout(relative_error, textbook):
    """(N, C, L, 1), dy transposed"""
    x, weights = torch.randn(2, 16, 17, 1), torch.randn(16, 5)

    def dx(function, x):
        x = x.clone().requires_grad_()
        y = function(x)
        (y.squeeze(3).transpose(1, 2) @ weights.to(x.dtype)).pow(3).sum().backward()
        return x.grad

    exact = dx(textbook, x.double())
    assert relative_error(dx(nn.BatchNorm2d(16), x), exact) > 0.5
    for backend in ("auto", "reference", "torch"):
        ours = pytorch.BatchNorm2d(16, backend=backend)
        assert relative_error(dx(ours, x), exact) < 1e-5


def test_statistics_that_move_before_the_backward_pass():
    """evaluation, step, backward"""
    for module, is_right in zip(one_of_each(3), (False, True), strict=True):
        x = torch.randn(8, 3, requires_grad=True)
        y = module.eval()(x)
        module.train()(10 * torch.randn(8, 3))
        y.sum().backward()
        expected = torch.full_like(x, (1 + module.eps) ** -0.5)
        assert torch.allclose(x.grad, expected) == is_right


def test_checkpointing():
    """activation checkpointing"""
    for module, times in zip(one_of_each(3), (2, 1), strict=True):
        for reentrant in (True, False):
            module.reset_running_stats()
            x = torch.randn(8, 3, requires_grad=True)
            y = torch.utils.checkpoint.checkpoint(module, x, use_reentrant=reentrant)
            y.square().sum().backward()
            assert module.num_batches_tracked == times
            torch.testing.assert_close(module.running_mean, (1 - 0.9**times) * x.detach().mean(0))


def test_training_in_a_hook():
    """training in a backward hook"""
    for module, count in zip(one_of_each(3), (1, 0), strict=True):
        x = torch.randn(8, 3, requires_grad=True)
        x.register_hook(lambda dx, module=module: module(dx) * 0)
        x.sum().backward()
        assert module.num_batches_tracked == count


def test_two_forwards():
    """buffers moved, then backward"""
    x = torch.randn(8, 3)
    for module, is_possible in zip(one_of_each(3), (False, True), strict=True):
        y = module.eval()(x)
        module.running_mean = torch.zeros(3)
        module.running_mean.copy_(torch.ones(3))
        y = y + module(x)
        module.running_mean.add_(1)
        assert (error_of(y.sum().backward) is None) == is_possible


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


def third_derivatives(module, textbook):
    """Along a line, by autograd: of a module, and of the formula as anyone would write it."""
    x, direction, weights = torch.randn(3, 5, 2, dtype=torch.double)
    found = []
    for function in (module, textbook):
        t = torch.zeros((), dtype=torch.double, requires_grad=True)
        value = (function(x + t * direction) * weights).sum()
        for _ in range(3):
            (value,) = torch.autograd.grad(value, t, create_graph=True)
        found.append(value.item())
    return found


def test_third_derivative(textbook):
    """third derivative"""
    theirs, ours = one_of_each(2, affine=False, dtype=torch.double)
    got, right = third_derivatives(theirs, textbook)
    assert abs(got - right) > 0.1 * abs(right)
    with pytest.raises(NotImplementedError, match=r"torch\.func\.grad"):
        third_derivatives(ours, textbook)
    x = torch.randn(5, 2, dtype=torch.double)

    def third(function):
        def along(t):
            return (function(x + t * x.flip(0)) * x.flip(1)).sum()

        for _ in range(3):
            along = torch.func.grad(along)
        return along(torch.zeros((), dtype=torch.double))

    torch.testing.assert_close(third(pytorch.batch_norm), third(textbook))


def test_compiled_average():
    """momentum = None, compiled"""
    torch.compiler.reset()
    x = torch.randn(8, 3)
    theirs, ours = (
        torch.compile(module, backend="eager", fullgraph=True)
        for module in one_of_each(3, momentum=None)
    )
    assert issubclass(error_of(theirs, x), torch._dynamo.exc.TorchDynamoException)
    for _ in range(2):
        ours(x)
    torch.testing.assert_close(ours.running_mean, x.mean(0))


def test_older_compilers():
    """torch.jit.script"""
    theirs, ours = one_of_each(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.*deprecated", DeprecationWarning)
        torch.jit.script(nn.Sequential(theirs))
        with pytest.raises(TypeError, match=r'convert\(model, to="torch"\)'):
            torch.jit.script(nn.Sequential(ours))
        torch.jit.script(pytorch.convert(nn.Sequential(ours), to="torch"))


def test_quantization():
    """torch.ao.quantization"""
    theirs, ours = (
        nn.Sequential(nn.Conv2d(3, 4, 3), package.BatchNorm2d(4)).eval() for package in BOTH
    )
    fuse = torch.ao.quantization.fuse_modules
    assert type(fuse(theirs, ["0", "1"])[1]) is nn.Identity
    with pytest.raises(AssertionError, match="did not find fuser method"):
        fuse(ours, ["0", "1"])
    nodes = torch.fx.symbolic_trace(ours).graph.nodes  # what its FX mode begins with
    assert [node.target for node in nodes if node.op == "call_module"] == ["0", "1"]
    fuse(pytorch.convert(ours, to="torch"), ["0", "1"])


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
