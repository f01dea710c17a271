"""``fuse``: the same model, with each batch norm and the ReLU after it run as one."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bn import pytorch
from bn.pytorch import fused
from bn.pytorch.fused import FusedSequential


class Named(nn.Sequential):
    """A subclass without a forward method of its own, as torchvision has them."""


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        Named(pytorch.BatchNorm2d(4, unbiased=False), nn.ReLU()),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
    )


@pytest.fixture
def together(monkeypatch):
    """How many times a batch norm and a ReLU ran as one."""
    calls = []
    normalize = pytorch.BatchNorm2d.normalize

    def counted(self, input, relu=False, residual=None):
        if relu:
            calls.append(self)
        return normalize(self, input, relu, residual)

    monkeypatch.setattr(fused.BatchNorm2d, "normalize", counted)
    return calls


def test_the_same_function_in_one_operator(together):
    model, x = network(), torch.randn(4, 3, 8, 8)
    original = copy.deepcopy(model)
    modules, parameters = list(model.modules()), list(model.parameters())
    names = list(model.state_dict())
    assert pytorch.fuse(model) is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert [type(m) for m in (model[1], model[4])] == [pytorch.BatchNorm2d, nn.BatchNorm2d]
    assert [isinstance(m, FusedSequential) for m in (model, model[3])] == [True, True]
    assert isinstance(model[3], Named)
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(x), original.train(mode)(x))
    assert len(together) == 4
    for got, wanted in zip(model.buffers(), original.buffers(), strict=True):
        torch.testing.assert_close(got, wanted)
    assert repr(pytorch.fuse(model)) == repr(model)  # a second time changes nothing


def test_there_and_back():
    model = network()
    del model[3]  # its option is one that torch.nn does not have
    model.add_module("last", Named(nn.BatchNorm2d(4), nn.ReLU()))
    before = repr(model)
    pytorch.convert(pytorch.fuse(model), to="torch")
    assert repr(model) == before
    assert type(model) is nn.Sequential
    assert type(model[-1]) is Named


def test_copies_and_pickles(together):
    x = torch.randn(4, 3, 8, 8)
    model = pytorch.fuse(network())
    model[3].note = "mine"
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other[3]) is type(model[3])
        assert other[3].note == "mine"
        assert other[3][0].weight is not model[3][0].weight
        together.clear()
        torch.testing.assert_close(other.eval()(x), model.eval()(x))
        assert len(together) == 4
    assert type(model[1:3]) is FusedSequential  # a slice, as of any nn.Sequential


def frozen(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
    return model


def test_batch_norms_are_still_found():
    model = frozen(pytorch.fuse(network()))
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(4, 3, 8, 8))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def synchronized(model):
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def folded(model):
    model[0] = nn.utils.fusion.fuse_conv_bn_eval(model[0], model[1])
    model[1] = nn.Identity()
    return model


def parametrized(model):
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Identity())
    return model


@pytest.mark.parametrize("tool", [synchronized, folded, parametrized])
def test_what_other_tools_make_of_it_is_the_same_function(tool, together):
    """The ReLU stays, whatever becomes of the batch norm before it."""
    model, x = pytorch.fuse(network()), torch.randn(4, 3, 8, 8)
    model(x)
    y = model.eval()(x)
    together.clear()
    torch.testing.assert_close(tool(model)(x), y)
    assert len(together) < 2


HOOKS = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("watched", [1, 2], ids=["batch norm", "ReLU"])
def test_hooks_see_what_they_saw(hook, watched, together):
    """Whenever they are registered; and when they are gone, the two run as one again."""
    seen = []

    def note(module, *args):
        seen.append(args[-1][0] if isinstance(args[-1], tuple) else args[-1])

    results = []
    model = network()
    model[2].inplace = False  # as such hooks want it
    for prepare in (nn.Identity(), pytorch.fuse):
        prepare(model)
        handle = getattr(model[watched], f"register_{hook}")(note)
        model(torch.ones(4, 3, 8, 8).cumsum(2).cumsum(0)).sum().backward()
        handle.remove()
        results.append(seen.pop())
        assert not seen
    torch.testing.assert_close(*results)
    together.clear()
    model(torch.randn(4, 3, 8, 8))
    assert len(together) == 2


def test_hooks_on_all_modules(together):
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.append(type(m)))
    try:
        pytorch.fuse(network())(torch.randn(4, 3, 8, 8))
    finally:
        handle.remove()
    assert seen.count(nn.ReLU) == 2
    assert not together


def test_shared_modules(together):
    shared, relu, x = nn.BatchNorm2d(3), nn.ReLU(), torch.randn(8, 3, 2, 2)
    inner = nn.Sequential(shared, relu)
    model = nn.Sequential(shared, relu, nn.BatchNorm2d(3), relu, inner, shared)
    expected = copy.deepcopy(model)(x)
    torch.testing.assert_close(pytorch.fuse(model)(x), expected)
    assert shared.num_batches_tracked == 3
    assert len(together) == 3


def test_neighbours_are_those_that_are_called_one_after_the_other():
    conv, norm, relu = nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3), nn.ReLU()
    model = nn.Sequential(conv, norm, conv, relu)
    assert type(pytorch.fuse(model)) is nn.Sequential


def test_what_is_appended_later_is_fused_the_next_time(together):
    model = pytorch.fuse(network()).append(nn.BatchNorm2d(4)).append(nn.ReLU())
    pytorch.fuse(model)(torch.randn(4, 3, 8, 8))
    assert len(together) == 3


def test_a_forward_function_of_its_own(together):
    """As some tools put it on an instance."""
    model = pytorch.fuse(network())
    model[1].forward = lambda x: torch.full_like(x, 7)
    assert (model[:2](torch.randn(4, 3, 8, 8)) == 7).all()
    assert (model[:3](torch.randn(4, 3, 8, 8)) == 7).all()
    assert not together


def test_the_number_of_axes_is_still_checked():
    x = torch.randn(4, 8, 8)  # an image without its batch
    model = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())
    for change in (nn.Identity(), pytorch.fuse):
        with pytest.raises(ValueError, match="expected 4D input"):
            change(model)(x)


def test_checkpointed():
    """Trained and compared, with what is computed again in the backward pass."""
    x, results = torch.randn(4, 3, 8, 8), []
    model = pytorch.fuse(network())
    for call in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        model[1].reset_running_stats()
        gradients = torch.autograd.grad(call(x).square().sum(), list(model.parameters()))
        results.append([*gradients, model[1].running_mean.clone()])
        assert model[1].num_batches_tracked == 1
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


class Locked(nn.Sequential):
    """Says itself what of it is kept."""

    def __init__(self, *modules):
        super().__init__(*modules)
        self.lock = threading.Lock()

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}


def test_pickled_as_it_would_be_by_itself():
    model = pytorch.fuse(Locked(nn.BatchNorm1d(3), nn.ReLU()))
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model)
    assert not hasattr(again, "lock")


def test_what_is_left_alone():
    class Mine(nn.Sequential):
        def forward(self, x):
            return self[0](x) + self[1](x)

    model = nn.Sequential(
        Mine(nn.BatchNorm1d(3), nn.ReLU()),
        nn.Sequential(nn.BatchNorm1d(3), nn.LeakyReLU()),
        nn.Sequential(nn.SyncBatchNorm(3), nn.ReLU()),
    )
    kinds = [type(m) for m in model.modules()]
    pytorch.fuse(model)
    assert [type(m) for m in model.modules()] == kinds


def test_what_it_refuses():
    with pytest.raises(TypeError, match="list"):
        pytorch.fuse([nn.BatchNorm1d(3), nn.ReLU()])
    with pytest.raises(ValueError, match="backend"):
        pytorch.fuse(network(), backend="fast")
    model = nn.Sequential(network(), nn.Sequential(nn.BatchNorm1d(3, momentum=2.0), nn.ReLU()))
    before = repr(model)
    with pytest.raises(ValueError, match=r"^1\.0 cannot be converted: momentum is 2\.0"):
        pytorch.fuse(model)
    assert repr(model) == before


def test_compiled_as_a_whole():
    torch.compiler.reset()
    model, x = pytorch.fuse(network()), torch.randn(4, 3, 8, 8)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_traced_by_fx():
    model, x = pytorch.fuse(network()), torch.randn(4, 3, 8, 8)
    traced = torch.fx.symbolic_trace(model.eval())
    assert [node.op for node in traced.graph.nodes].count("call_module") == 7
    torch.testing.assert_close(traced(x), model(x))
