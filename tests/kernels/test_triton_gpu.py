"""The compiled Triton kernels on a GPU, at the shapes of ResNet-50, against float64.

Where there is a GPU, ``pytest tests/kernels/test_triton_*.py`` runs these and, compiled, all that
otherwise runs in the interpreter.
"""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid  # noqa: E402

if triton_gpu.interpreted() or not triton_gpu.can_run():
    pytest.skip("no CUDA GPU here", allow_module_level=True)

#: Channels and size of the maps that ResNet-50 normalizes.
RESNET_50 = [
    (64, 112), (64, 56), (256, 56), (128, 56), (128, 28), (512, 28),
    (256, 28), (256, 14), (1024, 14), (512, 14), (512, 7), (2048, 7),
]  # fmt: skip
ERROR = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
LAYOUTS = {"packed": torch.contiguous_format, "channels_last": torch.channels_last}
EPS = 1e-5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20150211)


def relative_error(got, expected):
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


def draw(shape, dtype, memory_format=torch.contiguous_format):
    """x, residual, dy in the type; gamma, beta in float32."""
    tensors = [torch.randn(shape, device="cuda") for _ in range(3)]
    tensors[0].mul_(2).add_(3)
    x, residual, dy = (t.to(dtype).to(memory_format=memory_format) for t in tensors)
    gamma, beta = 1 + torch.rand(shape[1], device="cuda"), torch.randn(shape[1], device="cuda")
    return x, residual, dy, gamma, beta


def textbook(x, residual, dy, gamma, beta, relu):
    """The results in float64, by autograd."""
    leaves = [t.double().requires_grad_() for t in (x, gamma, beta, residual)]
    wide, scale, shift, add = leaves
    others = [a for a in range(x.dim()) if a != 1]
    shape = [-1 if a == 1 else 1 for a in range(x.dim())]
    centred = wide - wide.mean(others, keepdim=True)
    var = centred.square().mean(others, keepdim=True)
    y = centred * (var + EPS).rsqrt() * scale.reshape(shape) + shift.reshape(shape)
    before = y + add if relu else y
    y = before.relu() if relu else before
    gradients = torch.autograd.grad(y, leaves, dy.double(), allow_unused=True)
    names = ("dx", "dgamma", "dbeta", "dresidual")
    return dict(zip(names, gradients, strict=True)) | {
        "y": y.detach(),
        "before": before.detach(),
        "var": var.detach(),
    }


def run(x, residual, dy, gamma, beta, relu):
    options = {"relu": relu, "residual": residual if relu else None}
    y, statistics = triton_gpu.forward(x, gamma, beta, eps=EPS, **options)
    gradients = triton_gpu.backward(dy, x, gamma, beta, statistics, **options)
    return {"y": y, "var": statistics.var, **gradients._asdict()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("channels", "size"), RESNET_50)
def test_resnet_50(channels, size, dtype, layout):
    arguments = draw((32, channels, size, size), dtype, LAYOUTS[layout])
    for relu in (False, True):
        expected = textbook(*arguments, relu)
        if relu:  # where y is 0 but for rounding, either side of the ReLU is right
            arguments[2].masked_fill_(expected["before"].abs() < 1e-4, 0)
            expected = textbook(*arguments, relu)
        got = run(*arguments, relu)
        for name in ("y", "var", "dx", "dgamma", "dbeta"):
            limit = ERROR[dtype if name in ("y", "dx") else torch.float32]
            error = relative_error(got[name], expected[name].reshape(got[name].shape))
            assert error < limit, f"{name}, relu {relu}: relative error {error:.2g}"
        assert got["y"].stride() == got["dx"].stride() == arguments[0].stride()
        if relu:
            assert ((got["y"] > 0) <= (got["dresidual"] == arguments[2])).all()


@pytest.mark.parametrize("shape", [(65_537, 3), (7, 3, 1021, 13), (2, 70_000, 3), (4096, 1024)])
def test_odd_shapes(shape):
    arguments = draw(shape, torch.float32)
    expected, got = textbook(*arguments, False), run(*arguments, False)
    for name in ("y", "var", "dx", "dgamma", "dbeta"):
        truth = expected[name].reshape(got[name].shape)
        assert relative_error(got[name], truth) < 5e-6, name


@pytest.mark.parametrize("shape", [(64, 64, 56, 56), (64, 256, 7, 7)])
def test_the_same_bits_again(shape):
    arguments = draw(shape, torch.float32)
    first, second = run(*arguments, True), run(*arguments, True)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_large_means(mean):
    x, residual, dy, gamma, beta = draw((32, 64, 56, 56), torch.float32)
    x = x + mean
    expected = textbook(x, residual, dy, gamma, beta, False)
    got = run(x, residual, dy, gamma, beta, False)
    assert relative_error(got["y"], expected["y"]) < 2e-6
    assert relative_error(got["dx"], expected["dx"]) < 2e-6


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize("shape", [(8, 64, 56, 56), (8, 64, 7, 7)])
def test_the_host_never_waits(shape):
    arguments = draw(shape, torch.float16)
    run(*arguments, True)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(*arguments, True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("shape", [(8, 64, 56, 56), (8, 64, 7, 7)])
def test_captured_in_a_cuda_graph(shape):
    arguments = draw(shape, torch.float32)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run(*arguments, True)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(*arguments, True)
    arguments[0].copy_(torch.randn_like(arguments[0]))
    graph.replay()
    for name, value in run(*arguments, True).items():
        assert torch.equal(captured[name], value), name


def test_more_elements_than_32_bits_can_count():
    shape = (33, 64, 1024, 1024)  # 2^31 and a bit
    needed = 3 * 2 * 33 * 2**26
    free, _ = torch.cuda.mem_get_info()
    if free < needed + 2**32:
        pytest.skip(f"{needed / 1e9:.0f} GB of GPU memory are not free")
    x = torch.empty(shape, dtype=torch.float16, device="cuda")
    for image in x:
        image.normal_()
    y, statistics = triton_gpu.forward(x, None, None, eps=EPS)
    assert statistics.var.sub(1).abs().max() < 1e-2
    last, channels = x[-1].double(), (64, 1, 1)
    mean = (statistics.pivot.double() + statistics.offset).reshape(channels)
    expected = (last - mean) * statistics.inv_std.reshape(channels)
    assert relative_error(y[-1], expected) < ERROR[torch.float16]
    got = triton_gpu.backward(x, x, None, None, statistics, out=y)  # dy = x: dx is nearly 0
    assert got.dx[-1].abs().max() < 1e-2
    assert (got.dgamma / (x.numel() / 64)).sub(1).abs().max() < 1e-2
    assert grid.parts_of_channels(grid.View(33, 64, 2**20), 2, 1).arguments()["wide"]


def test_another_gpu_than_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU here")
    x = torch.randn(64, 3, device="cuda:1")
    y, _ = triton_gpu.forward(x, None, None, eps=EPS)
    assert y.device == x.device
    ones = torch.ones(3, device=x.device)
    expected = textbook(x, x, x, ones, 0 * ones, False)["y"]
    assert relative_error(y, expected) < ERROR[torch.float32]
