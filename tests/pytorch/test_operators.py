"""What torch asks of an operator: its own checks, the compiler, autocast, transforms."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from bn import pytorch
from bn.pytorch import inference, running, training

# torch's own: inductor imports modules that still use torch.jit
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning")

COMPILER = shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")
BACKENDS = [
    "aot_eager",
    pytest.param(
        "inductor",
        marks=pytest.mark.skipif(COMPILER is None, reason="inductor needs a C++ compiler"),
    ),
]
#: Who computes on a CPU.
COMPUTING = ["reference", "numba", "torch"]
CASES = [((5, 3), 1), ((3, 4, 2), 0), ((2, 3, 2, 2), 1), ((2, 2, 2, 1, 2), -1)]


def inputs(shape, axis, dtype=torch.float64, grad=True):
    channels = shape[axis]
    sizes = [shape, (channels,), (channels,)]
    return [torch.randn(size, dtype=dtype).requires_grad_(grad) for size in sizes]


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("backend", COMPUTING)
def test_first_and_second_gradients_against_differences(shape, axis, backend):
    x, gamma, beta = inputs(shape, axis)

    def forward(*tensors):
        return pytorch.batch_norm(*tensors, eps=0.1, axis=axis, backend=backend)

    for given in ((x, gamma, beta), (x, gamma), (x,)):
        assert gradcheck(forward, given)
        assert gradgradcheck(forward, given)


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("backend", COMPUTING)
def test_gradients_of_a_relu_and_a_residual_against_differences(shape, axis, backend):
    x, gamma, beta = inputs(shape, axis)
    residual = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def forward(x, gamma, beta, residual):
        return pytorch.batch_norm(
            x, gamma, beta, relu=True, residual=residual, eps=0.1, axis=axis, backend=backend
        )

    def alone(x, gamma, beta):
        return pytorch.batch_norm(x, gamma, beta, relu=True, eps=0.1, axis=axis, backend=backend)

    def sum_only(x, residual):
        return pytorch.batch_norm(x, residual=residual, eps=0.1, axis=axis, backend=backend)

    for y in (forward(x, gamma, beta, residual), alone(x, gamma, beta)):
        assert y[y > 0].min() > 1e-4  # none so near 0 that a difference would cross it
    for function, given in (
        (forward, (x, gamma, beta, residual)),
        (alone, (x, gamma, beta)),
        (sum_only, (x, residual)),
    ):
        assert gradcheck(function, given)
        assert gradgradcheck(function, given)


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_gradients_of_inference_against_differences(shape, axis):
    mean, var = torch.randn(shape[axis]), torch.rand(shape[axis])

    def forward(*tensors):
        return pytorch.batch_norm(
            tensors[0], *tensors[1:], **fixed, training=False, eps=0.1, axis=axis
        )

    fixed = {"running_mean": mean, "running_var": var}
    for given in (inputs(shape, axis), inputs(shape, axis)[:1]):
        assert gradcheck(forward, given)
        assert gradgradcheck(forward, given)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("backend", COMPUTING)
@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("with_residual", [False, True], ids=["", "residual"])
def test_torchs_own_check_of_training(dtype, affine, backend, relu, with_residual):
    shape, axis, eps = (4, 3, 2, 5), 1, 1e-3
    x, gamma, beta = inputs(shape, axis, dtype)
    x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    if not affine:
        gamma = beta = None
    residual, dy, u, s = (torch.randn(shape, dtype=dtype) for _ in range(4))
    v, w = torch.randn(3), torch.randn(3)
    if not with_residual:
        residual, s = None, torch.empty(0, dtype=dtype)
    elif not relu:
        s = torch.empty(0, dtype=dtype)
    plain, plain_gamma, plain_beta = (t if t is None else t.detach() for t in (x, gamma, beta))
    how = (axis, relu)
    _, statistics, gates = training.batch_norm_op(
        plain, plain_gamma, plain_beta, residual, eps, *how, backend
    )
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    if dtype != torch.bfloat16:  # see below
        tests += ("test_aot_dispatch_dynamic",)
    grown = residual if residual is None else residual.clone().requires_grad_()
    gate = (plain_beta, gates if gates.numel() else residual) if relu else (None, None)
    opcheck(training.batch_norm_op, (x, gamma, beta, grown, eps, *how, backend), test_utils=tests)
    opcheck(
        training.batch_norm_backward_op,
        (dy.clone().requires_grad_(), x, gamma, *gate, statistics, *how, backend),
        test_utils=tests,
    )
    opcheck(
        training.batch_norm_double_backward_op,
        (u, v, w, s, dy, plain, plain_gamma, *gate, statistics, *how),
        test_utils=tests,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("backend", COMPUTING)
def test_torchs_own_check_of_inference(dtype, affine, backend):
    shape, axis, eps = (4, 3, 2, 5), 1, 1e-3
    x, gamma, beta = inputs(shape, axis, dtype)
    x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    if not affine:
        gamma = beta = None
    dy = torch.randn(shape, dtype=dtype, requires_grad=True)
    u, v, w = torch.randn(shape, dtype=dtype), torch.randn(3), torch.randn(3)
    plain, plain_gamma = x.detach(), None if gamma is None else gamma.detach()
    mean, var = torch.randn(3), torch.rand(3)
    # opcheck compares autograd eager and traced, for which half precision is too coarse
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    if dtype != torch.bfloat16:
        tests += ("test_aot_dispatch_dynamic",)
    for operator, arguments in (
        (inference.batch_norm_inference_op, (x, mean, var, gamma, beta, eps, axis, backend)),
        (inference.batch_norm_inference_backward_op, (dy, x, mean, var, gamma, eps, axis)),
        (
            inference.batch_norm_inference_double_backward_op,
            (u, v, w, dy.detach(), plain, mean, var, plain_gamma, eps, axis),
        ),
        (running.require_finite, (torch.ones(3, dtype=torch.bool),)),
    ):
        opcheck(operator, arguments, test_utils=tests)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_a_third_derivative_is_refused(mode):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    module = pytorch.BatchNorm1d(3, dtype=torch.float64).train(mode)
    gradient = module(x).pow(3).sum()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(gradient.pow(3).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivative"):
        gradient.pow(3).sum().backward()


def buffers_close(one, other):
    for (name, got), expected in zip(one.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None, "nonfinite": "raise"}, {"affine": False}], ids=str
)
def test_compiled_as_a_whole(backend, options):
    torch.compiler.reset()
    eager, module = (pytorch.BatchNorm2d(3, **options) for _ in range(2))
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    for shape in ((4, 3, 5, 5), (6, 3, 4, 4), (2, 3, 7, 4)):
        x = torch.randn(shape, requires_grad=True)
        weight = torch.randn(shape)
        results = []
        for function in (eager, compiled):
            y = function(x)
            results.append([y, *torch.autograd.grad((weight * y.square()).sum(), x)])
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        buffers_close(module, eager)
    assert module.num_batches_tracked == 3

    spoilt = torch.randn(4, 3, 5, 5)
    spoilt[2, 1, 0, 0] = torch.nan
    if options.get("nonfinite") == "raise":
        with pytest.raises(ValueError, match="channel 1"):
            compiled(spoilt)
    else:
        assert compiled(spoilt)[:, 1].isnan().all()
    buffers_close(module, eager)
    assert module.num_batches_tracked == 3

    module.eval()
    eager.eval()
    torch.testing.assert_close(compiled(x), eager(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_exported(mode):
    """torch.export finds our operators in the graph, and the graph computes the same."""
    module = pytorch.BatchNorm2d(3, track_running_stats=not mode).train(mode)
    x = torch.randn(4, 3, 2, 2)
    program = torch.export.export(module, (x,))
    assert "bn_book" in program.graph_module.code
    torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.parametrize("training", [True, False])
def test_autocast_keeps_the_type_and_computes_in_float32(training, relative_error):
    network = nn.Sequential(nn.Linear(6, 4), pytorch.BatchNorm1d(4)).train(training)
    x = 3 + torch.randn(32, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(x)
        hidden = network[0](x)
    assert y.dtype == hidden.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert network[1].weight.grad.dtype == torch.float32
    exact = pytorch.BatchNorm1d(4, dtype=torch.float64).train(training)
    expected = exact(hidden.double())
    assert relative_error(y, expected.bfloat16()) == 0  # rounded once, at the end
    if training:
        torch.testing.assert_close(
            network[1].running_var.double(), exact.running_var, rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("kind", "shape", "memory_format"),
    [
        ("BatchNorm2d", (2, 3, 4, 5), torch.channels_last),
        ("BatchNorm3d", (2, 3, 4, 5, 2), torch.channels_last_3d),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_is_kept(kind, shape, memory_format, dtype, training):
    module = getattr(pytorch, kind)(3).train(training)
    x = torch.randn(shape, dtype=dtype).to(memory_format=memory_format).requires_grad_()
    y = module(x)
    y.backward(torch.randn(shape, dtype=dtype))  # dy comes in another format
    for tensor in (y, x.grad):
        assert tensor.is_contiguous(memory_format=memory_format)
        assert tensor.stride() == x.stride()
        assert tensor.dtype == dtype


def test_vmap_treats_each_slice_as_a_batch_of_its_own():
    x = torch.randn(3, 6, 4)
    mapped = torch.vmap(pytorch.batch_norm)(x)
    torch.testing.assert_close(mapped, torch.stack([pytorch.batch_norm(part) for part in x]))
    module = pytorch.BatchNorm1d(4)
    with pytest.raises(RuntimeError, match="stack_module_state"):  # which slice's would be kept?
        torch.vmap(module)(x)
    assert module.num_batches_tracked == 0


def test_saved_for_the_backward_pass():
    """The batch itself and a few small tensors: x_hat is not kept."""
    saved = []
    x = torch.randn(64, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        pytorch.BatchNorm2d(3)(x)
    assert sorted(t.numel() for t in saved) == [3, 4 * 3, x.numel()]
    assert any(t.data_ptr() == x.data_ptr() for t in saved)


def test_a_gradient_for_each_input_of_an_operator():
    """torch 2.13 takes more of them, too; 2.14 refuses that."""
    x, dy, u, s = torch.randn(4, 6, 3)
    gamma, beta, v, w = torch.randn(4, 3)
    mean, var = x.mean(0), x.var(0)
    _, statistics, _ = training.batch_norm_op(x, gamma, beta, None, 1e-3, 1, False, "auto")
    types = {"gamma_dtype": gamma.dtype, "beta_dtype": beta.dtype}
    saved = x, gamma, None, None, statistics
    fixed = x, mean, var, gamma
    for operator, gradient, context, given in (
        (
            training.batch_norm_op,
            training._gradient,
            {"saved_tensors": saved, "how": (1, False, "auto"), "has_residual": False, **types},
            (dy,),
        ),
        (
            training.batch_norm_backward_op,
            training._double_gradient,
            {"saved_tensors": (dy, *saved), "axis": 1, "relu": False},
            (u, v, w, s),
        ),
        (
            inference.batch_norm_inference_op,
            inference._gradient,
            {"saved_tensors": fixed, "eps": 1e-3, "axis": 1, **types},
            (dy,),
        ),
        (
            inference.batch_norm_inference_backward_op,
            inference._double_gradient,
            {"saved_tensors": (dy, *fixed), "eps": 1e-3, "axis": 1},
            (u, v, w),
        ),
    ):
        found = gradient(SimpleNamespace(**context), *given)
        assert len(found) == len(operator._opoverload._schema.arguments)
    # where y got no gradient, and nothing was to be filled with zeros
    assert training._gradient(None, None) == (None,) * 8
