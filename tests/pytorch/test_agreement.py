"""Values, gradients, second gradients and running statistics are those of torch.nn."""

import pytest
import torch
from torch import nn

from bn import pytorch

KINDS = {1: "BatchNorm1d", 2: "BatchNorm2d", 3: "BatchNorm3d"}
SHAPES = {  # name: (kind, shape)
    "rows": (1, (6, 3)),
    "two": (1, (2, 5)),
    "signals": (1, (4, 3, 7)),
    "one signal": (1, (1, 3, 9)),
    "images": (2, (4, 3, 5, 6)),
    "one image": (2, (1, 2, 4, 4)),
    "pixels": (2, (8, 4, 1, 1)),
    "wide": (2, (2, 33, 3, 2)),
    "volumes": (3, (2, 3, 3, 4, 2)),
}
FORMATS = ("contiguous", "channels_last", "channels first in memory", "every other")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative to the largest entry


def laid_out(x, layout):
    """The same values in another place in memory."""
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "channels first in memory":
        return x.movedim(1, 0).contiguous().movedim(0, 1)
    if layout == "every other":
        return x.repeat_interleave(2, dim=-1)[..., ::2]
    return x


def pair(kind, channels, dtype, **options):
    """Their module and ours, with the same random weights."""
    theirs = getattr(nn, KINDS[kind])(channels, dtype=dtype, **options)
    ours = getattr(pytorch, KINDS[kind])(channels, dtype=dtype, **options)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, mean=0.5)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def everything(module, x, training):
    """y, gradients, and gradients of a function of the gradients, by name."""
    module.train(training)
    x = x.detach().requires_grad_()
    inputs = {"x": x, **dict(module.named_parameters())}
    y = module(x)
    numbers = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    loss = (numbers * y).sum() + y.pow(3).mean()
    first = torch.autograd.grad(loss, inputs.values(), create_graph=True)
    scalar = sum((g * torch.linspace(1, 2, g.numel()).to(g).view_as(g)).sum() for g in first)
    scalar = scalar + sum(g.square().sum() for g in first)
    second = torch.autograd.grad(scalar, inputs.values(), allow_unused=True)
    results = {"y": y}
    results |= {f"d {name}": g for name, g in zip(inputs, first, strict=True)}
    results |= {f"dd {name}": g for name, g in zip(inputs, second, strict=True) if g is not None}
    return results


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_values_gradients_and_second_gradients(name, dtype, layout, training, relative_error):
    kind, shape = SHAPES[name]
    theirs, ours = pair(kind, shape[1], dtype, eps=1e-2)
    x = laid_out(2 + 3 * torch.randn(shape, dtype=dtype), layout)
    for module in (theirs, ours):
        module(x)  # so that evaluation has something to use
    got, expected = everything(ours, x, training), everything(theirs, x, training)
    zero = {"dd bias"} | (set() if training else {"dd x"})  # some are 0, or absent, in one
    assert got.keys() | zero == expected.keys() | zero
    for key in got.keys() & expected.keys():
        if expected[key].abs().max() < 1e-9:
            assert got[key].abs().max() < 1e-9, key
            continue
        error = relative_error(got[key], expected[key])
        limit = TOLERANCE[dtype] * (100 if key.startswith("dd") else 1)
        assert error < limit, f"{key}: relative error {error:.2g}"


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0, 0.0, None])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_running_statistics(name, dtype, momentum):
    kind, shape = SHAPES[name]
    theirs, ours = pair(kind, shape[1], dtype, momentum=momentum)
    for _ in range(4):
        x = 2 + 3 * torch.randn(shape, dtype=dtype)
        theirs(x)
        ours(x)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(
            value, theirs.state_dict()[key], rtol=TOLERANCE[dtype], atol=0 if momentum else 1e-6
        )


@pytest.mark.parametrize(
    "options",
    [
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False},
        {"affine": False, "track_running_stats": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_what_may_be_left_out(options, training, relative_error):
    try:
        theirs, ours = pair(2, 3, torch.float64, **options)
    except TypeError:
        pytest.skip("this torch has no argument bias")
    x = 1 + torch.randn(4, 3, 2, 2, dtype=torch.float64)
    got, expected = everything(ours, x, training), everything(theirs, x, training)
    for key in ("y", "d x"):
        assert relative_error(got[key], expected[key]) < 1e-12
    assert set(dict(ours.named_parameters())) == set(dict(theirs.named_parameters()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_network_trains_as_with_torch_nn(dtype):
    """Step by step the same losses, weights and statistics, to rounding."""

    def network():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(),
            nn.Linear(5 * 16, 8), nn.BatchNorm1d(8, momentum=None), nn.Tanh(), nn.Linear(8, 3),
        ).to(dtype)  # fmt: skip

    theirs, ours = network(), pytorch.convert(network())
    assert isinstance(ours[1], pytorch.BatchNorm2d)
    losses = {}
    for name, model in (("theirs", theirs), ("ours", ours)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(2)
        for _ in range(15):
            x = torch.randn(16, 2, 6, 6, dtype=dtype)
            labels = (x.mean((1, 2, 3)) > 0).long()
            loss = nn.functional.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.setdefault(name, []).append(loss.item())
    limit = 1e-11 if dtype == torch.float64 else 1e-3
    assert losses["ours"] == pytest.approx(losses["theirs"], rel=limit)
    assert losses["ours"][-1] != pytest.approx(losses["ours"][0], rel=0.05)
    # the bias before a batch norm has no gradient but rounding noise: compare what is defined
    for (key, got), expected in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        if key not in ("0.bias", "4.bias", "1.running_mean", "5.running_mean"):
            torch.testing.assert_close(got, expected, rtol=limit, atol=limit)


@pytest.mark.parametrize(("shape", "axis"), [((7, 3), 1), ((3, 5, 2), 0), ((2, 3, 4, 2), -1)])
@pytest.mark.parametrize("affine", [True, False])
def test_second_gradients_against_autograd_of_the_textbook(
    shape, axis, affine, textbook, relative_error
):
    """Each input of the double backward by itself: dx, dgamma and dbeta from above."""
    x, dy = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs = [x]
    if affine:
        channels = shape[axis]
        inputs += [torch.randn(channels, dtype=torch.float64, requires_grad=True) for _ in "gb"]
    results = []
    for function in (pytorch.batch_norm, textbook):
        y = function(*inputs, eps=0.3, axis=axis)
        first = torch.autograd.grad(y, inputs, dy, create_graph=True)
        torch.manual_seed(3)
        row = []
        for gradient in first:
            above = torch.randn_like(gradient)
            row += torch.autograd.grad(
                gradient, [x, dy, *inputs[1:2]], above, retain_graph=True, materialize_grads=True
            )
        results.append(row)
    for got, expected in zip(*results, strict=True):
        if expected.abs().max() == 0:
            assert got.abs().max() == 0
        else:
            assert relative_error(got, expected) < 1e-12
