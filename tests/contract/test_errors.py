"""Bad arguments get an error that names the argument, what came and what was expected."""

import numpy as np
import pytest

X = np.arange(12.0).reshape(4, 3) ** 2


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        (np.arange(12).reshape(4, 3), {}, r"x.*int64.*float32"),
        (X * 1j, {}, r"x.*complex128"),
        (X[:, 0], {}, r"x.*\(4,\).*two axes"),
        (X, {"axis": 2}, r"axis is 2.*\(4, 3\)"),
        (X, {"axis": 0.5}, r"axis is 0.5"),
        (X, {"eps": -1e-5}, r"eps is -1e-05"),
        (X, {"eps": float("nan")}, r"eps is nan"),
        (X, {"eps": "small"}, r"eps is 'small'"),
        (X, {"gamma": np.ones(4)}, r"gamma.*\(4,\).*\(3,\)"),
        (X, {"beta": np.ones((3, 1))}, r"beta.*\(3, 1\).*\(3,\)"),
        (X, {"gamma": np.array(["a", "b", "c"])}, r"gamma"),
        (X[:1], {}, r"\(1, 3\).*at least 2"),
        (X[:0], {}, r"\(0, 3\).*at least 2"),
        (X.reshape(1, 12, 1, 1), {}, r"\(1, 12, 1, 1\).*at least 2"),
        (np.ones((4, 3)), {"eps": 0.0}, r"eps is 0.*channel 0"),
    ],
)
def test_forward(bn, x, options, says):
    options = dict(options)  # the next implementation gets the same ones
    gamma, beta = options.pop("gamma", None), options.pop("beta", None)
    with pytest.raises(bn.errors, match=says):
        bn.step(x, np.ones_like(x), gamma, beta, **options)


@pytest.mark.parametrize(
    ("dy", "says"),
    [(np.ones((3, 4)), r"dy.*\(3, 4\).*\(4, 3\)"), (np.ones((4, 3), int), r"dy.*int64")],
)
def test_backward(bn, dy, says):
    with pytest.raises(bn.errors, match=says):
        bn.step(X, dy)


@pytest.mark.parametrize(
    ("mean", "var", "says"),
    [
        (np.zeros(2), np.ones(3), r"mean.*\(2,\).*\(3,\)"),
        (np.zeros(3), np.ones((1, 3)), r"var.*\(1, 3\).*\(3,\)"),
        (np.zeros(3), np.array([1.0, -1.0, 1.0]), r"var is -1.0 in channel 1"),
        (None, np.ones(3), r"mean is None.*statistics of the population.*batch_norm_forward"),
        (np.zeros(3), None, r"var is None.*statistics of the population.*batch_norm_forward"),
    ],
)
def test_inference(bn, mean, var, says):
    with pytest.raises(bn.errors, match=says):
        bn.inference(X, mean, var)


def test_a_variance_that_does_not_fit_is_said(bn):
    x = np.array([[1e200], [-1e200]])
    with pytest.raises(OverflowError, match="channel 0"):
        bn.step(x, np.ones_like(x))
