"""PyTorch's own samples for its batch-norm operators, run on bn.reference and on bn.pytorch.

`torch.testing._internal` holds them for nn.functional.batch_norm, native_batch_norm and two
younger operators. What is right is what torch's operator returns for the sample, and what its
autograd returns, once and twice. Each sample is a case of each test that applies to it.

For half precision it is what the operator returns for the same values in float64, and ours may
be off by one rounding. Torch itself, given gamma and beta in half precision, rounds the
statistics too, and is off by up to 20 units of the last place on its own samples.

Where ours differs on purpose, the sample has a test of its own here that says so: input of one
axis (torch: a batch of no channels), and a momentum outside 0 to 1 (torch: extrapolates).
"""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing._internal.common_utils import noncontiguous_like

from bn import pytorch
from tests.conformance.torch_cases import (
    HALF,
    IMPLEMENTATIONS,
    TOLERANCE,
    WIDE,
    WITH_ERROR_INPUTS,
    cases,
    second_by_autograd,
)

ALL = cases(HALF + WIDE)
SOUND = [case for case in ALL if not case.flat]
FLAT = [case for case in ALL if case.flat and case.x.dtype == torch.float32]
IN_WIDE = [case for case in SOUND if case.x.dtype in WIDE]
IN_FLOAT64 = [case for case in SOUND if case.x.dtype == torch.float64]
MOVING = [case for case in SOUND if case.training and case.running_mean is not None]


def in_range(case):
    return 0 <= case.momentum <= 1


def each(chosen):
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.id)


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.name)
def ours(request):
    return request.param


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20150211)


def truth_of(case):
    """The case that torch is to be asked: half precision is asked in float64."""
    return case.fresh(torch.Tensor.double if case.x.dtype in HALF else torch.clone)


def close(got, expected):
    """Compare what both sides computed in the same type, or what was rounded once."""
    if got.dtype in HALF:
        unit = torch.finfo(got.dtype).eps * torch.exp2(expected.abs().log2().floor())
        unit.clamp_(min=torch.finfo(got.dtype).smallest_normal * torch.finfo(got.dtype).eps)
        assert ((got.double() - expected).abs() <= 0.51 * unit).all()
    else:
        rtol, atol = TOLERANCE[got.dtype]
        torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


@each(SOUND)
def test_forward(ours, case):
    """y, and the batch's statistics where the operator returns them."""
    expected = truth_of(case).theirs()
    for got, wanted in zip(ours.forward(case.fresh()), expected, strict=True):
        if wanted is not None:
            close(got, wanted)


@each([case for case in MOVING if in_range(case)])
def test_running_statistics(ours, case):
    theirs = truth_of(case)
    theirs.theirs()
    got = ours.running(case.fresh())
    for new, wanted in zip(got, (theirs.running_mean, theirs.running_var), strict=True):
        close(new, wanted)


@each([case for case in MOVING if not in_range(case)])
def test_a_momentum_outside_0_to_1_is_refused(ours, case):
    mine = case.fresh()
    with pytest.raises(ValueError, match=f"momentum is {case.momentum}"):
        ours.running(mine)
    assert torch.equal(mine.running_mean, case.running_mean)
    assert torch.equal(mine.running_var, case.running_var)


@each(FLAT)
def test_input_of_one_axis_is_refused(ours, case):
    assert case.fresh().theirs()[0].shape == (0,)
    with pytest.raises(ValueError, match=r"x has shape \(0,\), expected at least two axes"):
        ours.forward(case.fresh())


@each(IN_WIDE)
def test_backward(ours, case):
    theirs, dy = case.fresh(), torch.randn_like(case.x)
    expected = torch.autograd.grad(theirs.theirs()[0], theirs.learned, dy)
    for got, wanted in zip(ours.gradients(case.fresh(), dy), expected, strict=True):
        close(got, wanted)


@each([case for case in IN_FLOAT64 if case.training])
def test_double_backward(ours, case):
    theirs, mine = case.fresh(), case.fresh()
    dy = torch.randn_like(case.x, requires_grad=True)
    upstream = [torch.randn_like(t) for t in case.learned]
    expected = second_by_autograd(theirs.theirs()[0], theirs, dy, upstream)
    for got, wanted in zip(ours.second_gradients(mine, dy, upstream), expected, strict=True):
        close(got, wanted)


@each(IN_WIDE)
def test_non_contiguous_twin(ours, case):
    """The same values with gaps between them in memory: forward and backward."""
    theirs, twin = case.fresh(), case.fresh(noncontiguous_like)
    dy = torch.randn_like(case.x)
    assert case.x.numel() < 2 or not twin.x.is_contiguous()
    y = theirs.theirs()[0]
    close(ours.forward(twin)[0], y)
    expected = torch.autograd.grad(y, theirs.learned, dy)
    for got, wanted in zip(ours.gradients(twin, noncontiguous_like(dy)), expected, strict=True):
        close(got, wanted)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@each([case for case in IN_FLOAT64 if case.op == "nn.functional.batch_norm"])
def test_by_differences_pytorch(check, case):
    """Torch's gradcheck and gradgradcheck; the other operators have the same samples."""
    mine = case.fresh()
    position = iter(range(1, 3))
    places = [next(position) if t is not None else None for t in (mine.gamma, mine.beta)]

    def function(*tensors):
        gamma, beta = (None if place is None else tensors[place] for place in places)
        statistics = None, None
        if not case.training:
            statistics = mine.running_mean, mine.running_var
        return pytorch.batch_norm(
            tensors[0], gamma, beta, *statistics, training=case.training, eps=case.eps
        )

    assert check(function, mine.learned)


def test_torch_has_no_error_inputs_for_these_operators():
    """If it gets some, they belong here; those for the modules are in test_torch_modules."""
    assert not WITH_ERROR_INPUTS
