"""Fixtures of the PyTorch tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20150211)


def textbook(x, gamma=None, beta=None, *, eps=1e-5, axis=1):
    """Batch norm as anyone would write it, for autograd to differentiate as often as it likes."""
    others = [a for a in range(x.dim()) if a != axis % x.dim()]
    shape = [-1 if a == axis % x.dim() else 1 for a in range(x.dim())]
    centred = x - x.mean(others, keepdim=True)
    y = centred / (centred.square().mean(others, keepdim=True) + eps).sqrt()
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def relative_error(got, expected):
    """Largest error in units of the largest entry, in float64 on the CPU."""
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(name="textbook")
def _textbook():
    return textbook


@pytest.fixture(name="relative_error")
def _relative_error():
    return relative_error
