"""Everything that depends on the device, on CUDA and on MPS. Skipped where there is none.

``pytest tests/pytorch/test_gpu.py`` runs exactly these.
"""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from bn import pytorch
from bn.pytorch import inference, moments, training

# torch's own: inductor imports modules that still use torch.jit
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning")

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
MPS = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU (MPS) here")
DEVICES = [pytest.param("cuda", marks=CUDA), pytest.param("mps", marks=MPS)]
SHAPES = [(64, 5), (8, 5, 33), (4, 5, 16, 16), (2, 3, 4, 5, 6)]
ERROR = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def types(device):
    return [dtype for dtype in ERROR if device != "mps" or dtype != torch.float64]


def results(function, x, gamma, beta, dy):
    """y, the gradients, and the gradient of a gradient; all inputs are leaves."""
    x, gamma, beta = (t.detach().clone().requires_grad_() for t in (x, gamma, beta))
    y = function(x, gamma, beta)
    first = torch.autograd.grad(y, (x, gamma, beta), dy, create_graph=True)
    (second,) = torch.autograd.grad(first[0].square().sum() + first[1].sum(), x)
    return dict(zip(("y", "dx", "dgamma", "dbeta", "second"), (y, *first, second), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_numbers_are_those_of_float64_on_the_cpu(device, shape, textbook, relative_error):
    for dtype in types(device):
        tensors = [3 + 2 * torch.randn(shape), *(1 + torch.rand(shape[1]) for _ in "gb")]
        tensors = [t.to(dtype).double() for t in (*tensors, torch.randn(shape))]
        expected = results(lambda *t: textbook(*t, eps=0.1), *tensors)
        on_device = [t.to(device=device, dtype=dtype) for t in tensors]
        got = results(lambda *t: pytorch.batch_norm(*t, eps=0.1), *on_device)
        for name, value in got.items():
            assert value.dtype == dtype
            assert value.device.type == device
            # a second gradient comes from a first one that was rounded to the type
            limit = ERROR[dtype] * (20 if name == "second" else 1)
            error = relative_error(value, expected[name])
            assert error < limit, f"{name} in {dtype}: relative error {error:.2g}"


@pytest.mark.parametrize("shape", [(256, 8), (8, 4, 64, 64), (100_000, 3), (1, 2, 512, 512)])
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_large_means_and_many_values(device, shape, mean, textbook, relative_error):
    x, dy = mean + torch.randn(shape), torch.randn(shape)
    wide = x.double().requires_grad_()
    expected = textbook(wide)
    (gradient,) = torch.autograd.grad(expected, wide, dy.double())
    x = x.to(device).requires_grad_()
    y = pytorch.batch_norm(x)
    (dx,) = torch.autograd.grad(y, x, dy.to(device))
    assert (y.cpu() - expected).abs().max() < 1e-6
    assert relative_error(dx, gradient) < 1e-6
    _, cache = pytorch.batch_norm_forward(x)
    assert cache.var.dtype == (torch.float32 if device == "mps" else torch.float64)


def test_constant_huge_and_tiny(device, textbook, relative_error):
    for value in (0.0, 1e9, -3.3e30):
        y = pytorch.batch_norm(torch.full((64, 3, 5), value, device=device))
        assert (y == 0).all()
    for size in (1e30, 1e-15):
        x = size * torch.randn(40, 3, 5)
        y = pytorch.batch_norm(x.to(device), eps=0.0)
        assert relative_error(y, textbook(x.double() / size, eps=0.0)) < 1e-6


def test_what_the_cpu_refuses_is_nan(device):
    """Nothing is looked at, so nothing can be raised."""
    assert pytorch.batch_norm(torch.ones(8, 3, device=device), eps=0.0).isnan().all()
    one = torch.ones(3, device=device)
    assert pytorch.batch_norm_inference(torch.ones(8, 3, device=device), one, -one).isnan().all()


@pytest.mark.parametrize(
    ("kind", "shape", "memory_format"),
    [
        ("BatchNorm2d", (2, 3, 4, 5), torch.channels_last),
        ("BatchNorm3d", (2, 3, 4, 5, 2), torch.channels_last_3d),
    ],
)
def test_channels_last_is_kept(device, kind, shape, memory_format):
    if device == "mps" and memory_format == torch.channels_last_3d:
        pytest.skip("MPS does not know channels_last_3d in every release")
    for training_ in (True, False):
        module = getattr(pytorch, kind)(3, device=device).train(training_)
        x = torch.randn(shape, device=device).to(memory_format=memory_format).requires_grad_()
        y = module(x)
        y.backward(torch.randn(shape, device=device))
        assert y.stride() == x.grad.stride() == x.stride()
        plain = copy.deepcopy(module)(x.detach().contiguous())
        torch.testing.assert_close(y, plain, rtol=1e-5, atol=1e-6)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 36, 16), nn.BatchNorm1d(16, momentum=None), nn.ReLU(), nn.Linear(16, 4),
    )  # fmt: skip


@pytest.mark.parametrize("half", [None, torch.float16, torch.bfloat16], ids=str)
def test_a_network_trains_as_with_torch_nn(device, half):
    theirs = network().to(device)
    ours = pytorch.convert(copy.deepcopy(theirs))
    assert ours[1].weight.device.type == device
    losses = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(10):
            x = torch.randn(64, 3, 8, 8).to(device)
            labels = (x.mean((1, 2, 3)) > 0).long()
            with torch.autocast(device, dtype=half, enabled=half is not None):
                hidden = model[0](x)
                assert model[1](hidden).dtype == hidden.dtype == (half or torch.float32)
                loss = nn.functional.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    limit = 1e-3 if half is None else 0.1
    assert losses[10:] == pytest.approx(losses[:10], rel=limit, abs=limit)
    for (name, got), expected in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(got, expected, rtol=limit, atol=limit, msg=name)


def test_policies(device):
    spoilt = torch.randn(8, 3)
    spoilt[2, 1] = torch.nan
    spoilt = spoilt.to(device)
    for policy in ("keep", "raise", "propagate"):
        module = pytorch.BatchNorm1d(3, device=device, nonfinite=policy)
        if policy == "raise":
            with pytest.raises(ValueError, match="channel 1"):
                module(spoilt)
        else:
            assert module(spoilt)[:, 1].isnan().all()
        assert module.running_mean.isnan().any() == (policy == "propagate")
        assert module.num_batches_tracked == (policy == "propagate")
    module = pytorch.BatchNorm1d(3, device=device)
    module(torch.zeros(0, 3, device=device, requires_grad=True)).sum().backward()
    assert module.num_batches_tracked == 0
    assert (module.weight.grad == 0).all()


@CUDA
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"nonfinite": "propagate"}], ids=str)
def test_the_host_never_waits(options):
    """torch raises as soon as anything would read a value back from the GPU."""
    module = pytorch.BatchNorm2d(3, device="cuda", **options)
    x = torch.randn(4, 3, 8, 8, device="cuda", requires_grad=True)
    dy = torch.randn_like(x)
    torch.autograd.grad(module(x), x, dy)  # first use may allocate and load
    torch.cuda.set_sync_debug_mode("error")
    try:
        (dx,) = torch.autograd.grad(module(x), x, dy, create_graph=True)
        torch.autograd.grad(dx.square().sum(), x)
        module.eval()
        torch.autograd.grad(module(x), x, dy)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@CUDA
def test_captured_in_a_cuda_graph():
    module, twin = (pytorch.BatchNorm2d(3, device="cuda") for _ in range(2))
    x = torch.randn(4, 3, 8, 8, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        module(x)  # warm up, as torch asks for
    torch.cuda.current_stream().wait_stream(stream)
    module.reset_running_stats()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        y = module(x)
    for _ in range(3):
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(y, twin(x), rtol=1e-5, atol=1e-6)
    for got, expected in zip(module.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(got, expected)


@CUDA
def test_the_operators():
    x = torch.randn(4, 3, 5, 2, device="cuda", requires_grad=True)
    gamma, beta, mean, w = (torch.randn(3, device="cuda") for _ in range(4))
    dy, u = torch.randn_like(x), torch.randn_like(x)
    how, none = (1, False), torch.empty(0, device="cuda")  # axis, relu; no residual
    with torch.no_grad():
        _, statistics, _ = training.batch_norm_op(x, gamma, beta, None, 1e-3, *how, "auto")
    saved = gamma, None, None, statistics, *how
    fixed = (mean, mean.square())
    for operator, arguments in (
        (training.batch_norm_op, (x, gamma, beta, None, 1e-3, *how, "auto")),
        (training.batch_norm_backward_op, (dy, x, *saved, "auto")),
        (training.batch_norm_double_backward_op, (u, w, w, none, dy, x.detach(), *saved)),
        (inference.batch_norm_inference_op, (x, *fixed, gamma, beta, 1e-3, 1, "auto")),
        (inference.batch_norm_inference_backward_op, (dy, x, *fixed, gamma, 1e-3, 1)),
        (
            inference.batch_norm_inference_double_backward_op,
            (u, w, w, dy, x.detach(), *fixed, gamma, 1e-3, 1),
        ),
    ):
        opcheck(operator, arguments)


@CUDA
@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_gradients_against_differences(mode):
    x, gamma, beta = (
        torch.randn(size, dtype=torch.float64, device="cuda", requires_grad=True)
        for size in ((4, 3, 2), (3,), (3,))
    )
    mean, var = torch.randn(3, device="cuda"), torch.rand(3, device="cuda")

    def forward(x, gamma, beta):
        if mode:
            return pytorch.batch_norm(x, gamma, beta, eps=0.1)
        return pytorch.batch_norm_inference(x, mean, var, gamma, beta, eps=0.1)

    # sums in another order each time: nothing here is bitwise the same twice
    assert gradcheck(forward, (x, gamma, beta), nondet_tol=1e-10)
    assert gradgradcheck(forward, (x, gamma, beta), nondet_tol=1e-10)


@CUDA
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_as_a_whole(backend):
    if backend == "inductor":
        pytest.importorskip("triton", reason="inductor needs Triton on a GPU")
    torch.compiler.reset()
    eager, module = (pytorch.BatchNorm2d(3, device="cuda") for _ in range(2))
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    for shape in ((4, 3, 5, 5), (6, 3, 4, 4)):
        x = torch.randn(shape, device="cuda", requires_grad=True)
        weight = torch.randn(shape, device="cuda")
        pairs = []
        for function in (eager, compiled):
            y = function(x)
            pairs.append([y, *torch.autograd.grad((weight * y.square()).sum(), x)])
        for got, expected in zip(*pairs, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    for got, expected in zip(module.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(got, expected)


@CUDA
def test_variance_beyond_float64_still_gives_the_right_y(textbook, relative_error):
    x = torch.randn(40, 3, dtype=torch.float64)
    module = pytorch.BatchNorm1d(3, eps=0.0, device="cuda")
    y = module(1e200 * x.to("cuda"))
    assert relative_error(y, textbook(x, eps=0.0)) < 1e-12
    assert module.running_var.isfinite().all()
    assert module.num_batches_tracked == 0


def test_another_device_is_said(device):
    with pytest.raises(ValueError, match=rf"gamma is on cpu and x on {device}"):
        pytorch.batch_norm(torch.randn(4, 3, device=device), torch.ones(3))
    assert moments.wide_dtype(torch.ones(1, device=device)) == (
        torch.float32 if device == "mps" else torch.float64
    )
