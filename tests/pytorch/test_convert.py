"""``convert``: the same model with other batch norms."""

import copy

import pytest
import torch
from torch import nn

from bn import pytorch


class Shared(nn.Module):
    """One batch norm, used twice under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.block = nn.Sequential(nn.Linear(4, 4), self.first)

    def forward(self, x):
        return self.block(self.first(x))


def network():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3),
        nn.BatchNorm1d(4, eps=1e-3, momentum=None),
        nn.Unflatten(2, (2, 2)),
        nn.ModuleDict({"inner": nn.BatchNorm2d(4, affine=False)})["inner"],
        nn.Unflatten(3, (2, 1)),
        nn.BatchNorm3d(4, track_running_stats=False),
    )


def kinds(model):
    return [type(m) for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_there_and_back():
    model = network()
    original = copy.deepcopy(model)
    parameters, x = list(model.parameters()), torch.randn(6, 2, 6)
    assert pytorch.convert(model) is model
    assert kinds(model) == [pytorch.BatchNorm1d, pytorch.BatchNorm2d, pytorch.BatchNorm3d]
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(x), original(x))
    assert pytorch.convert(model) is model  # a second time changes nothing
    assert pytorch.convert(model, to="torch") is model
    assert kinds(model) == [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]
    assert repr(model) == repr(original)
    for module, twin in zip(model.modules(), original.modules(), strict=True):
        assert module.__dict__.keys() == twin.__dict__.keys()
    torch.testing.assert_close(model(x), original(x))
    for got, expected in zip(model.buffers(), original.buffers(), strict=True):
        torch.testing.assert_close(got, expected)


def test_everything_about_a_module_stays():
    model = nn.Sequential(nn.BatchNorm1d(3, dtype=torch.float64), nn.BatchNorm1d(3, device="meta"))
    model[0].weight.requires_grad_(False)
    model[0].eval()
    model[0].note = "mine"
    calls = []
    model[0].register_forward_hook(lambda module, args, y: calls.append(type(module)))
    kept = model[0]
    pytorch.convert(model)
    assert model[0] is kept
    assert not model[0].weight.requires_grad
    assert model[0].bias.requires_grad
    assert not model[0].training
    assert model[1].training
    assert model[0].note == "mine"
    assert model[0].weight.dtype == torch.float64
    assert model[1].weight.device.type == "meta"
    model[0](torch.randn(4, 3, dtype=torch.float64))
    assert calls == [pytorch.BatchNorm1d]


def test_an_optimizer_goes_on():
    model = nn.Sequential(nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    pytorch.convert(model)
    (model(torch.randn(4, 3)) * torch.arange(4.0)[:, None]).sum().backward()
    optimizer.step()
    assert (model[0].weight != 1).all()


def test_a_shared_module_stays_one():
    model = pytorch.convert(Shared())
    assert model.first is model.block[1]
    model(torch.randn(8, 4))
    assert model.first.num_batches_tracked == 2


def test_the_model_itself():
    module = nn.BatchNorm2d(3)
    assert pytorch.convert(module) is module
    assert type(module) is pytorch.BatchNorm2d
    assert repr(module) == repr(pytorch.BatchNorm2d(3))  # with our defaults
    assert type(pytorch.convert(module, to="torch")) is nn.BatchNorm2d


def test_subclasses_are_left_and_named():
    class Mine(nn.BatchNorm1d):
        pass

    model = nn.ModuleDict(
        {"sync": nn.SyncBatchNorm(3), "lazy": nn.LazyBatchNorm2d(), "mine": Mine(3),
         "plain": nn.BatchNorm1d(3)}
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"sync \(SyncB.*lazy \(LazyB.*mine \(Mine\)$"):
        pytorch.convert(model)
    expected = [nn.SyncBatchNorm, nn.LazyBatchNorm2d, Mine, pytorch.BatchNorm1d]
    assert kinds(model) == expected
    with pytest.warns(UserWarning, match=r"^left as they are: the model itself \(Mine\)$"):
        pytorch.convert(Mine(3))


def test_options_that_are_lost_are_named():
    model = nn.Sequential(
        pytorch.BatchNorm1d(3, nonfinite="raise"), pytorch.BatchNorm1d(3, backend="torch")
    )
    lost = r"no such options: 0 had nonfinite='raise', 1 had backend='torch'$"
    with pytest.warns(UserWarning, match=lost):
        pytorch.convert(model, to="torch")


def test_what_the_other_side_cannot_do_is_refused_as_a_whole():
    model = nn.Sequential(pytorch.BatchNorm1d(3), pytorch.BatchNorm1d(3, unbiased=False))
    with pytest.raises(ValueError, match=r"^1 has unbiased=False"):
        pytorch.convert(model, to="torch")
    assert kinds(model) == [pytorch.BatchNorm1d] * 2
    with pytest.raises(ValueError, match=r"^block\.1 cannot.*momentum is 1\.5"):
        pytorch.convert(
            nn.ModuleDict({"block": nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3, momentum=1.5))})
        )
    with pytest.raises(TypeError, match="list"):
        pytorch.convert([nn.BatchNorm1d(3)])
    with pytest.raises(ValueError, match="'keras'"):
        pytorch.convert(model, to="keras")
