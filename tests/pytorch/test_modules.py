"""Drop-ins: what other code sees of the modules is torch.nn's."""

import copy
import functools
import inspect
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from bn import pytorch

NAMES = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
SHAPE = {"BatchNorm1d": (4, 3), "BatchNorm2d": (4, 3, 2, 2), "BatchNorm3d": (4, 3, 2, 2, 2)}


def both(name, *args, **options):
    return getattr(nn, name)(*args, **options), getattr(pytorch, name)(*args, **options)


@pytest.mark.parametrize("name", NAMES)
def test_constructor(name):
    theirs, ours = (inspect.signature(cls).parameters for cls in both_classes(name))
    for key, parameter in theirs.items():
        assert ours[key].default == parameter.default, key
        assert ours[key].kind == parameter.kind, key
    positional = [k for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [k for k, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def both_classes(name):
    return getattr(nn, name), getattr(pytorch, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
def test_parameters_buffers_and_description(name, options):
    theirs, ours = both(name, 3, dtype=torch.float64, **options)
    for kind in ("named_parameters", "named_buffers"):
        expected = [(k, v.dtype, v.shape) for k, v in getattr(theirs, kind)()]
        assert [(k, v.dtype, v.shape) for k, v in getattr(ours, kind)()] == expected
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, type(theirs))
    changed = getattr(pytorch, name)(3, unbiased=False, nonfinite="raise", backend="torch")
    assert repr(changed).endswith(", unbiased=False, nonfinite='raise', backend='torch')")


def test_on_a_device():
    module = pytorch.BatchNorm2d(3, device="meta", dtype=torch.bfloat16)
    assert {v.device.type for v in module.state_dict().values()} == {"meta"}
    assert module.weight.dtype == torch.bfloat16
    assert module.to_empty(device="cpu").num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_in_both_directions(name):
    for source, target in (both(name, 3), reversed(both(name, 3))):
        for _ in range(3):
            source(1 + torch.randn(SHAPE[name]))
        nn.init.normal_(source.weight)
        assert target.load_state_dict(source.state_dict()).missing_keys == []
        x = torch.randn(SHAPE[name])
        torch.testing.assert_close(target.eval()(x), source.eval()(x))
        assert target.num_batches_tracked == 3


@pytest.mark.parametrize("with_version", [True, False])
def test_checkpoints_from_before_there_was_a_counter(with_version):
    module = pytorch.BatchNorm1d(3)
    old = nn.BatchNorm1d(3).state_dict()
    del old["num_batches_tracked"]
    old["running_mean"].fill_(5)
    if with_version:
        old._metadata[""]["version"] = 1
    else:
        old = dict(old)
    module.load_state_dict(old)  # strict
    assert module.num_batches_tracked == 0
    assert (module.running_mean == 5).all()


def complaint(module, x):
    """What a module says to an input, if anything."""
    try:
        module(x)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("dims", range(1, 7))
@pytest.mark.parametrize("name", NAMES)
def test_errors_of_dimension(name, dims):
    theirs, ours = both(name, 3)
    x = torch.randn(*[3] * dims)
    assert complaint(ours, x) == complaint(theirs, x)
    assert (complaint(ours, x) is None) == (f"{dims}D input" not in str(complaint(theirs, x)))


@pytest.mark.parametrize("name", NAMES)
def test_one_value_per_channel(name):
    theirs, ours = both(name, 3)
    x = torch.randn(1, *[3 if a == 0 else 1 for a in range(len(SHAPE[name]) - 1)])
    for module in (theirs, ours):
        with pytest.raises(ValueError, match="per channel"):
            module(x)
    assert ours.num_batches_tracked == 0
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_reset():
    module = pytorch.BatchNorm1d(3, momentum=None)
    module(5 + torch.randn(8, 3))
    nn.init.normal_(module.weight)
    module.reset_running_stats()
    assert module.num_batches_tracked == 0
    assert (module.weight != 1).any()
    module.reset_parameters()
    fresh = pytorch.BatchNorm1d(3).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in module.state_dict().items())
    pytorch.BatchNorm1d(3, bias=False).reset_parameters()
    pytorch.BatchNorm1d(3, affine=False).reset_parameters()


def by_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), by_torch_save],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_copies(duplicate):
    options = {"unbiased": False, "nonfinite": "propagate", "backend": "reference"}
    module = pytorch.BatchNorm2d(3, eps=0.1, **options)
    module(torch.randn(4, 3, 2, 2))
    twin = duplicate(module)
    assert repr(twin) == repr(module)
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(twin(x), module(x))
    for one, other in zip(twin.state_dict().values(), module.state_dict().values(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()


def test_tools_of_torch_know_them():
    """``update_bn`` looks for torch's own base class and sets ``momentum`` while it works."""
    batches = [1 + torch.randn(8, 3) for _ in range(4)]
    models = [nn.Sequential(module) for module in both("BatchNorm1d", 3)]
    for model in models:
        torch.optim.swa_utils.update_bn(batches, model)
    for got, expected in zip(models[1].buffers(), models[0].buffers(), strict=True):
        torch.testing.assert_close(got, expected)
    assert models[1][0].momentum == 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"eps": float("inf")}, "eps is inf"),
        ({"num_features": 0}, "num_features is 0"),
        ({"nonfinite": "ignore"}, "nonfinite is 'ignore'.*keep"),
        ({"backend": "fast"}, "backend is 'fast'.*numba"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        pytorch.BatchNorm1d(**{"num_features": 3, **options})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, c: pytorch.batch_norm([[1.0]]), "x is of type list.*Tensor"),
        (lambda x, c: pytorch.batch_norm(x, c.numpy()), "gamma is of type ndarray.*Tensor"),
        (lambda x, c: pytorch.batch_norm(x, c.int()), "gamma has dtype torch.int32"),
        (lambda x, c: pytorch.batch_norm(x, c.to("meta")), "gamma is on meta and x on cpu"),
        (lambda x, c: pytorch.batch_norm(x, running_mean=c), "both, or neither"),
        (lambda x, c: pytorch.batch_norm(x, training=False), "must be given"),
        (lambda x, c: pytorch.batch_norm_inference(x, c, None), "var is None"),
        (lambda x, c: pytorch.batch_norm(x, None, None, c, c, momentum=None), "num_batches"),
        (lambda x, c: pytorch.batch_norm(x, None, None, c, c, momentum=2), "momentum is 2"),
        (lambda x, c: pytorch.batch_norm(x, None, None, c[:2], c), r"running_mean.*\(2,\)"),
        (lambda x, c: pytorch.batch_norm(x, residual=x[:3]), r"residual has shape \(3, 3\)"),
        (lambda x, c: pytorch.batch_norm(x, residual=x.double()), "residual has dtype"),
        (lambda x, c: pytorch.batch_norm(x, residual=1), "residual is of type int"),
        (lambda x, c: pytorch.batch_norm(x, backend="cuda"), "backend is 'cuda'.*expected"),
        (lambda x, c: pytorch.batch_norm(x, backend="triton"), "triton"),
    ],
)
def test_bad_arguments(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call(torch.randn(4, 3), torch.ones(3))


@pytest.mark.parametrize("backend", ["auto", "reference", "torch"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_storages_can_still_be_resized(backend, training, dtype):
    """As FSDP does with parameters; an array of NumPy on their memory would forbid it for ever."""
    module = pytorch.BatchNorm2d(3, backend=backend).train(training)
    x = torch.randn(4, 3, 5, 5).to(dtype).requires_grad_()
    y = module(x)
    dy = torch.randn_like(y)
    y.backward(dy)
    for tensor in (*module.parameters(), *module.buffers(), x, y, dy, x.grad):
        assert tensor.untyped_storage().resizable()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
def test_y_is_laid_out_as_by_torch(training, compiled):
    """So that what comes next may do with it what it does with torch.nn's."""
    torch.compiler.reset()
    theirs, ours = (m.train(training) for m in both("BatchNorm2d", 3))
    call = torch.compile(ours, backend="aot_eager", dynamic=False) if compiled else ours
    packed, last = torch.randn(4, 3, 5, 6), torch.randn(4, 5, 6, 3).permute(0, 3, 1, 2)
    views = [packed, last, packed.transpose(2, 3), last.transpose(2, 3), packed[:, :, ::2]]
    views += [last[:, :, ::2], packed[:1].expand(4, 3, 5, 6), packed.permute(2, 1, 3, 0)]
    for x in views:
        assert call(x).stride() == theirs(x).stride()
    sequences = torch.randn(4, 7, 3)  # (N, L, C), as attention has them
    norm = pytorch.BatchNorm1d(3).train(training)
    assert norm(sequences.transpose(1, 2)).view(4, -1).shape == (4, 21)


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_compiled_with_symbols_for_numbers(eps):
    """As dynamic=True makes them of floats, and as modules do that differ in them."""
    torch.compiler.reset()
    call = torch.compile(lambda m, x: m(x), backend="eager", fullgraph=True, dynamic=True)
    for each in (eps, 2 * eps, 0.5):
        module, x = pytorch.BatchNorm2d(3, eps=each), torch.randn(4, 3, 5, 5)
        torch.testing.assert_close(call(module, x), pytorch.batch_norm(x, eps=each))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_selective_checkpointing(dtype):
    """It tells results apart by counting operators: the second pass must run those of the first."""
    policy = functools.partial(
        create_selective_checkpoint_contexts,
        [torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor, torch.ops.aten.clone.default],
    )
    module, x = pytorch.BatchNorm1d(3, dtype=dtype), torch.randn(8, 3, dtype=dtype)
    scale = torch.randn(3, dtype=dtype)

    def function(x):
        return module(x) * (1 + scale) - scale

    results = []
    for call in (
        function,
        lambda x: checkpoint(function, x, use_reentrant=False, context_fn=policy),
    ):
        given = x.clone().requires_grad_()
        call(given).pow(3).sum().backward()
        results.append(given.grad)
    torch.testing.assert_close(*results)
    assert module.num_batches_tracked == 2  # one for each call


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_exported_saved_and_loaded(training):
    module, x = pytorch.BatchNorm2d(3).train(training), torch.randn(4, 3, 5, 5)
    stream = io.BytesIO()
    torch.export.save(torch.export.export(module, (x,)), stream)
    stream.seek(0)
    again = torch.export.load(stream).module()
    torch.testing.assert_close(again(x), module(x))
    torch.testing.assert_close(dict(again.named_buffers()), dict(module.named_buffers()))


def test_evaluation_without_statistics_needs_a_batch():
    module = pytorch.BatchNorm1d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match=r"track_running_stats=False.*at least 2 values"):
        module(torch.randn(1, 3))
    assert module(torch.randn(2, 3)).shape == (2, 3)


def test_public_things_say_what_they_take_and_raise():
    for name in pytorch.__all__:
        text = inspect.getdoc(getattr(pytorch, name))
        assert text, f"{name} has no docstring"
        if name in ("BatchNorm2d", "BatchNorm3d", "BatchNormReLU", "BatchNormAddReLU"):
            assert "those of :class:`BatchNorm" in text
            continue
        assert "Parameters\n---" in text or "Attributes\n---" in text, name
        assert "Raises\n---" in text or name == "BatchNormCache", name
