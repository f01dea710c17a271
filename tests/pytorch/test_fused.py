"""ReLU and residual in the same operator: the same as one after the other, with less kept."""

import copy
import warnings

import pytest
import torch
from torch import nn

from bn import kernels, pytorch
from bn.pytorch import gates
from bn.pytorch.backends import module_of

BACKENDS = ["auto", "reference", "numba", "torch"]
SHAPES = [(8, 3), (6, 3, 5), (4, 3, 5, 5), (2, 3, 3, 4, 2)]


def pair(x, kind=pytorch.BatchNormReLU):
    """A fused module and torch's batch norm with the same weights."""
    ours = kind(3, dtype=x.dtype)
    theirs = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.dim()](
        3, dtype=x.dtype
    )
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())  # a checkpoint of the batch norm alone fits
    return ours, theirs


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("added", [False, True], ids=["relu", "add, relu"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_like_one_after_the_other(shape, backend, added, training):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    residual = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    ours, theirs = pair(x, pytorch.BatchNormAddReLU if added else pytorch.BatchNormReLU)
    ours.norm.backend = backend
    theirs(1 + 2 * x)  # statistics that are not those of x
    ours.load_state_dict(theirs.state_dict())
    ours.train(training)
    theirs.train(training)
    y = ours(x, residual) if added else ours(x)
    expected = torch.relu(theirs(x) + residual if added else theirs(x))
    torch.testing.assert_close(y, expected)
    assert 0.1 < (y == 0).double().mean() < 0.9
    weights = torch.randn(shape, dtype=torch.float64)
    inputs = (x, residual) if added else (x,)
    for module, result in ((ours, y), (theirs, expected)):
        result.backward(weights, inputs=[*inputs, *module.parameters()])
        module.gradients = [t.grad.clone() for t in (*inputs, *module.parameters())]
        for t in (*inputs, *module.parameters()):
            t.grad = None
    for got, wanted in zip(ours.gradients, theirs.gradients, strict=True):
        torch.testing.assert_close(got, wanted)
    for got, wanted in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_layout_and_type_are_kept(dtype, backend):
    x = torch.randn(4, 3, 6, 5).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    residual = torch.randn(4, 3, 6, 5).to(dtype).requires_grad_()  # in another layout
    y = pytorch.BatchNormAddReLU(3, backend=backend)(x, residual)
    y.backward(torch.ones_like(y))
    for tensor in (y, x.grad):
        assert tensor.dtype == dtype
        assert tensor.stride() == x.stride()
    assert residual.grad.dtype == dtype
    assert torch.equal(residual.grad != 0, y > 0)


def kept(function, *inputs):
    """Bytes that autograd keeps besides the inputs and what the module keeps anyway."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = function(*inputs)
    return sum(storages.values()), y


def test_half_of_what_torch_keeps():
    x = torch.randn(16, 3, 16, 16, requires_grad=True)
    ours, _ = kept(pytorch.BatchNormReLU(3), x)
    theirs, _ = kept(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True)), x)
    size = x.numel() * x.element_size()
    assert size <= ours < 1.01 * size
    assert 2 * size <= theirs < 2.01 * size


@pytest.mark.skipif(kernels.problem("numba_cpu") is not None, reason="its kernels keep bits")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_bit_for_each_element_of_the_residual(dtype):
    x, residual = (torch.randn(16, 3, 16, 16, dtype=dtype, requires_grad=True) for _ in range(2))
    ours, _ = kept(pytorch.BatchNormAddReLU(3), x, residual)
    theirs, _ = kept(lambda x, r: nn.BatchNorm2d(3)(x).add_(r).relu_(), x, residual)
    size = x.numel() * x.element_size()
    assert size + x.numel() / 8 <= ours < 1.02 * size + x.numel() / 8
    assert 2 * size <= theirs < 2.01 * size


@pytest.mark.parametrize(("shape", "axis"), [((5, 3, 9, 9), 1), ((7, 3), 1), ((4, 5, 3), 2)])
@pytest.mark.parametrize("layout", ["packed", "channels last", "with gaps"])
def test_gates_as_bits(shape, axis, layout):
    """The kernels write them in the order in which they are read here, and the other way round."""
    pytest.importorskip("numba")
    x, residual = torch.randn(2, *shape)
    if layout == "channels last":
        x = x.movedim(axis, -1).contiguous().movedim(-1, axis)
    elif layout == "with gaps":
        x = x.repeat_interleave(2, 0)[::2]
    residual.view(-1)[3] = torch.nan
    arguments = x, None, None, residual, 1e-5, axis, True
    y, statistics, bits = module_of("numba").forward(*arguments)
    is_open = ~(y <= 0)
    assert bits.tolist() == gates.packed(is_open, x, axis).tolist()
    assert torch.equal(gates.unpacked(bits, x, axis), is_open)
    dy = torch.randn(shape)
    for backend in ("numba", "reference", "torch"):
        *_, dz = module_of(backend).backward(dy, x, None, None, bits, statistics, axis, True)
        assert torch.equal(dz, torch.where(is_open, dy, 0))


@pytest.mark.skipif(kernels.problem("numba_cpu") is not None, reason="its kernels keep bits")
@pytest.mark.parametrize("before", [torch.channels_last, torch.contiguous_format])
def test_saved_tensors_may_come_back_with_other_strides(before):
    """A hook that moves them away and back need not keep strides; bits are in an order."""
    other = {
        torch.channels_last: torch.contiguous_format,
        torch.contiguous_format: torch.channels_last,
    }[before]
    x, residual, dy = torch.randn(3, 4, 3, 5, 6)
    inputs = [t.to(memory_format=before).requires_grad_() for t in (x, residual)]
    module = pytorch.BatchNormAddReLU(3)
    expected = torch.autograd.grad(module(*inputs), inputs, dy)

    def back(tensor):
        return tensor.contiguous(memory_format=other) if tensor.dim() == 4 else tensor

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, back):
        y = module(*inputs)
    for got, right in zip(torch.autograd.grad(y, inputs, dy), expected, strict=True):
        torch.testing.assert_close(got, right)


def test_gates_of_another_tensor_are_refused():
    pytest.importorskip("numba")
    x = torch.randn(8, 3)
    y, statistics, bits = module_of("numba").forward(x, None, None, x, 1e-5, 1, True)
    for backend in ("numba", "reference"):
        with pytest.raises(ValueError, match="1 words of gates"):
            module_of(backend).backward(y, x, None, None, bits[:1], statistics, 1, True)


def test_shapes_are_known_without_values():
    module = pytorch.BatchNormAddReLU(3, backend="numba").to("meta")
    x = torch.empty(4, 3, 5, 5, device="meta", requires_grad=True)
    y = module(x, x)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_gates_where_the_kernels_leave_it_to_the_reference(monkeypatch):
    """As they do where a difference of values does not fit in float32."""
    pytest.importorskip("numba")
    numba_cpu = module_of("numba")
    called, reference_forward = [], numba_cpu.reference.forward

    def forward(*arguments):
        called.append(True)
        return reference_forward(*arguments)

    monkeypatch.setattr(numba_cpu.reference, "forward", forward)
    x = torch.randn(8, 3)
    x[:4, 1], x[4:, 1] = 1.6e38, -1.6e38
    residual = torch.randn(8, 3, requires_grad=True)
    y = pytorch.batch_norm(x, relu=True, residual=residual, backend="numba")
    assert called
    y.sum().backward()
    assert torch.equal(residual.grad, (y > 0).float())
    assert (y[:4, 1] > 0).any()
    assert (y[4:, 1] == 0).any()


@pytest.mark.parametrize("kind", [pytorch.BatchNormReLU, pytorch.BatchNormAddReLU])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiled_as_a_whole(kind, layout):
    torch.compiler.reset()
    module = kind(3)
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True, backend="aot_eager")
    for shape in ((4, 3, 5, 5), (6, 3, 4, 4)):
        inputs = [torch.randn(shape).to(memory_format=layout).requires_grad_() for _ in range(2)]
        inputs = inputs if kind is pytorch.BatchNormAddReLU else inputs[:1]
        results = []
        for function in (module, compiled):
            y = function(*inputs)
            results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_nan_goes_through(training):
    x = torch.randn(8, 3)
    x[2, 1] = torch.nan
    module = pytorch.BatchNormReLU(3).train(training)
    y = module(x)
    assert y[2, 1].isnan()
    assert not y[:, 0].isnan().any()
    assert module.norm.running_mean.isfinite().all()


def test_what_it_refuses():
    module = pytorch.BatchNormAddReLU(3)
    x = torch.randn(4, 3)
    for bad, says in ((x[:2], "shape"), (x.double(), "dtype"), (x.to("meta"), "device")):
        with pytest.raises(ValueError, match=f"residual has {says}"):
            module(x, bad)
    with pytest.raises(ValueError, match="at least two axes"):
        module(x[0], x[0])
    assert module.norm.num_batches_tracked == 0


def test_an_empty_batch():
    x = torch.randn(0, 3, 2, 2, requires_grad=True)
    for module, inputs in ((pytorch.BatchNormReLU(3), (x,)), (pytorch.BatchNormAddReLU(3), (x, x))):
        assert module(*inputs).shape == x.shape
        assert module.norm.num_batches_tracked == 0
        assert module.eval()(*inputs).shape == x.shape


KINDS = [pytorch.BatchNormReLU, pytorch.BatchNormAddReLU]


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_norm_inside_is_what_others_find(kind):
    """Frozen, synchronized or folded: the ReLU stays, and what was added too."""
    x = torch.randn(4, 3, 5, 5)
    inputs = (x, torch.randn_like(x)) if kind is pytorch.BatchNormAddReLU else (x,)
    model = nn.ModuleList([kind(3)])
    model[0].norm(1 + 2 * x)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = model[0].norm.running_mean.clone()
    y = model[0](*inputs)
    assert torch.equal(model[0].norm.running_mean, before)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert type(synced[0].norm) is nn.SyncBatchNorm
    torch.testing.assert_close(synced[0](*inputs), y)
    assert not hasattr(model[0], "running_mean")  # so nothing can fold it without the ReLU
    conv = nn.Conv2d(3, 3, 1).eval()
    expected = model[0](conv(x), *inputs[1:])
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv, model[0].norm)
    model[0].norm = nn.Identity()
    torch.testing.assert_close(model[0](folded(x), *inputs[1:]), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_hook_sees_the_batch_norm_by_itself(kind, shape):
    module, x, seen = kind(3), torch.randn(shape), []
    inputs = (x, x) if kind is pytorch.BatchNormAddReLU else (x,)
    y = module(*inputs)
    module.norm.register_forward_hook(lambda module, args, y: seen.append(y.min()))
    torch.testing.assert_close(module(*inputs), y)
    assert seen[0] < 0


@pytest.mark.parametrize("kind", KINDS)
def test_converted_to_torch_it_can_be_exported(kind):
    x = torch.randn(4, 3, 5, 5)
    inputs = (x, x) if kind is pytorch.BatchNormAddReLU else (x,)
    module = kind(3)
    y = module(*inputs)
    pytorch.convert(module, to="torch")
    assert type(module.norm) is nn.BatchNorm2d
    torch.testing.assert_close(module(*inputs), y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.*deprecated", DeprecationWarning)
        scripted = torch.jit.script(module)
    torch.testing.assert_close(scripted(*inputs), y)
    assert type(pytorch.convert(module).norm) is pytorch.BatchNorm2d
