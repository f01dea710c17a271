"""What every implementation of batch norm must compute."""

import numpy as np
import pytest

from tests import large_mean, rounding

SHAPES_AND_AXES = [
    ((4, 3), 1),
    ((7, 3), -1),
    ((3, 7), 0),
    ((5, 2, 6), 1),
    ((2, 3, 4, 5), 1),
    ((2, 4, 5, 3), 3),
    ((2, 3, 2, 3, 2), 1),
    ((1, 2, 3, 3), 1),
]


def relative_error(got, expected):
    return float(np.max(np.abs(got.astype(np.longdouble) - expected)) / np.max(np.abs(expected)))


# paper: alg-1, s3-scale-shift, s3-mini-batch-statistics, s32-maps
# paper: eq-backward-x, eq-backward-gamma, eq-backward-beta
@pytest.mark.parametrize(("shape", "axis"), SHAPES_AND_AXES)
def test_agrees_with_the_textbook(bn, truth, rng, shape, axis):
    for dtype in bn.dtypes:
        x = (3 + 2 * rng.standard_normal(shape)).astype(dtype)
        dy = rng.standard_normal(shape).astype(dtype)
        gamma = 1.5 + rng.standard_normal(shape[axis])
        beta = rng.standard_normal(shape[axis])
        if dtype != "float64":  # what half and single precision can hold exactly
            gamma, beta = gamma.astype(np.float32), beta.astype(np.float32)
        got = bn.step(x, dy, gamma, beta, eps=1e-3, axis=axis)
        expected = truth.step(x, dy, gamma, beta, eps=1e-3, axis=axis)
        limit = rounding.of_batch_norm(dtype, x.size // shape[axis])
        for name in ("y", "mean", "var", "dx", "dgamma", "dbeta"):
            error = relative_error(getattr(got, name), getattr(expected, name))
            assert error < limit, f"{name} in {dtype}: relative error {error:.2g}"
        assert got.y.dtype == got.dx.dtype == np.dtype(dtype)
        assert got.y.shape == got.dx.shape == shape
        for name in ("mean", "var", "dgamma", "dbeta"):
            assert getattr(got, name).shape == (shape[axis],)


# paper: alg-1, s3-depends-on-batch, eq-backward-x, eq-backward-gamma, eq-backward-beta
def test_four_numbers_by_hand(bn):
    """x = 1, 2, 3, 6: mean 3, variance 3.5; with dy = (1, 0, 0, 0) the closed form is short."""
    x, dy = np.array([[1.0], [2], [3], [6]]), np.array([[1.0], [0], [0], [0]])
    got = bn.step(x, dy, eps=0.0)
    std = np.sqrt(3.5)
    np.testing.assert_allclose(got.mean, [3.0], rtol=1e-15)
    np.testing.assert_allclose(got.var, [3.5], rtol=1e-15)
    np.testing.assert_allclose(got.y[:, 0], np.array([-2, -1, 0, 3]) / std, rtol=1e-14)
    # dx_j = (dy_j - 1/4 - x_hat_j · x_hat_1 / 4) / std, and x_hat_1 x_hat_j = -2 (x_j - 3) / 3.5
    expected = (np.array([1, 0, 0, 0]) - 0.25 - np.array([4, 2, 0, -6]) / 3.5 / 4) / std
    np.testing.assert_allclose(got.dx[:, 0], expected, rtol=1e-13)
    np.testing.assert_allclose(got.dgamma, [-2 / std], rtol=1e-14)
    np.testing.assert_allclose(got.dbeta, [1.0], rtol=1e-14)


# paper: s3-differentiable, s2-two-jacobians
def test_gradients_against_central_differences(bn, rng, numerical_gradient):
    x, weight = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)

    def loss(y):
        return float(np.sum(weight * y + 0.5 * y**2))

    def forward(x_, g=gamma, b=beta):
        return bn.step(x_, weight, g, b, eps=0.1).y

    got = bn.step(x, weight + forward(x), gamma, beta, eps=0.1)
    for analytic, numeric in (
        (got.dx, numerical_gradient(lambda v: loss(forward(v)), x)),
        (got.dgamma, numerical_gradient(lambda v: loss(forward(x, g=v)), gamma)),
        (got.dbeta, numerical_gradient(lambda v: loss(forward(x, b=v)), beta)),
    ):
        np.testing.assert_allclose(analytic, numeric, rtol=1e-7, atol=1e-8)


def test_default_scale_and_shift_are_one_and_zero(bn, rng):
    x, dy = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    plain, given = bn.step(x, dy), bn.step(x, dy, np.ones(4), np.zeros(4))
    np.testing.assert_array_equal(plain.y, given.y)
    np.testing.assert_array_equal(plain.dx, given.dx)


# paper: eq-normalized
def test_identities_that_hold_at_eps_zero(bn, rng):
    x, dy = 10 + 3 * rng.standard_normal((50, 4)), rng.standard_normal((50, 4))
    got = bn.step(x, dy, eps=0.0)
    error = rounding.of_batch_norm("float64", 50)
    np.testing.assert_allclose(got.y.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose((got.y**2).mean(axis=0), 1, rtol=error)
    np.testing.assert_allclose(got.dx.sum(axis=0), 0, atol=50 * error)
    np.testing.assert_allclose((got.dx * got.y).sum(axis=0), 0, atol=50 * error)


# paper: eq-normalized, s3-epsilon
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_what_eps_leaves_over(bn, rng, eps):
    """With eps the second moment is var/(var+eps), and dx keeps a component along x_hat."""
    x, dy = 0.5 * rng.standard_normal((50, 4)), rng.standard_normal((50, 4))
    got = bn.step(x, dy, eps=eps)
    np.testing.assert_allclose((got.y**2).mean(axis=0), got.var / (got.var + eps), rtol=1e-12)
    residual = (dy * got.y).sum(axis=0) / np.sqrt(got.var + eps) * eps / (got.var + eps)
    np.testing.assert_allclose((got.dx * got.y).sum(axis=0), residual, rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(got.dx.sum(axis=0), 0, atol=1e-12)


# paper: eq-scale-forward
def test_shift_and_scale_of_the_input(bn, rng):
    """BN(ax + b) = BN(x) when eps grows by a²; then dx shrinks by a."""
    x, dy = rng.standard_normal((20, 3)), rng.standard_normal((20, 3))
    a, b, eps = 7.0, -3.0, 1e-2
    one, two = bn.step(x, dy, eps=eps), bn.step(a * x + b, dy, eps=a * a * eps)
    np.testing.assert_allclose(two.y, one.y, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a * two.dx, one.dx, rtol=1e-10, atol=1e-12)


# paper: s3-per-feature
def test_channels_and_order_of_examples_do_not_mix(bn, rng):
    x, dy = rng.standard_normal((9, 4)), rng.standard_normal((9, 4))
    whole = bn.step(x, dy)
    rows, columns = rng.permutation(9), rng.permutation(4)
    shuffled = bn.step(x[rows][:, columns], dy[rows][:, columns])
    np.testing.assert_allclose(shuffled.y, whole.y[rows][:, columns], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(shuffled.dx, whole.dx[rows][:, columns], rtol=1e-12, atol=1e-13)
    x[:, 0] = np.nan
    np.testing.assert_array_equal(bn.step(x, dy).y[:, 1:], whole.y[:, 1:])


@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_large_means_do_not_cancel(bn, truth, rng, mean):
    """Unit variance in float32. torch's error at mean 1e6 is 0.14 and more."""
    x = (mean + rng.standard_normal((256, 8))).astype(np.float32)
    got, expected = bn.step(x, x), truth.step(x, x)
    largest = float(np.abs(expected.y).max())
    assert np.abs(got.y - expected.y).max() < rounding.of_y("float32", 256, largest)
    _, of_var = rounding.of_statistics("float32", 256)
    assert np.abs(got.var / expected.var - 1).max() < of_var


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("shape", large_mean.SHAPES, ids=str)
def test_a_large_mean_of_dy_costs_no_digits(bn, truth, rng, shape, layout):
    """In float32. Bounds and their derivation are in tests/large_mean.py."""
    case = large_mean.drawn(rng, shape, "float32")
    gamma = (1.5 + rng.standard_normal(shape[1])).astype(np.float32)
    x, dy = case.x, case.dy
    if layout == "last":  # the channels, in memory
        x, dy = (np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) for a in (x, dy))
    got, expected = bn.step(x, dy, gamma), truth.step(case.x, case.d, gamma)
    results = [(step.dx, step.dgamma, step.dbeta) for step in (got, expected)]
    large_mean.check(*results, case, gamma)


def test_a_large_mean_of_dy_in_half_precision(bn, truth, rng):
    """Half precision is computed in a wider type: dx is off by its last rounding, and no more."""
    x, d = rng.standard_normal((2, 64, 3)).astype(np.float16)
    d = np.round(4 * d)
    got, expected = bn.step(x, (1536 + d).astype(np.float16)), truth.step(x, d)
    assert (np.abs(got.dx - expected.dx) <= 0.501 * np.spacing(np.abs(got.dx))).all()
    np.testing.assert_allclose(got.dgamma, expected.dgamma.astype(float), rtol=2**-23)


def test_an_outlier_in_the_first_place_costs_the_others_nothing(bn, truth, rng):
    """If it stayed the pivot, x - pivot would be rounded to steps of 1.5e-5.

    With such an outlier all implementations take their sums in float64; in y, nothing but its own
    operations is rounded to float32.
    """
    x = (1e4 + rng.standard_normal((4096, 4))).astype(np.float32)
    x[0] += 200
    got, expected = bn.step(x, x), truth.step(x, x)
    largest = float(np.abs(expected.y[1:]).max())
    limit = rounding.of_y("float64", 4096, largest) + rounding.after("float32", 8) * largest
    assert np.abs(got.y - expected.y)[1:].max() < limit


# paper: s3-epsilon
@pytest.mark.parametrize("value", [0.0, 1.0, 1e9, -3.3e30])
@pytest.mark.parametrize("shape", [(64, 3), (1, 1, 10, 10)])
def test_a_constant_channel_gives_exactly_beta(bn, shape, value):
    x = np.full(shape, value, np.float32)
    beta = np.linspace(0.1, 0.3, shape[1]).astype(np.float32)
    got = bn.step(x, np.ones_like(x), beta=beta)
    expected = np.broadcast_to(beta.reshape(1, -1, *[1] * (len(shape) - 2)), shape)
    np.testing.assert_array_equal(got.y, expected)
    np.testing.assert_array_equal(got.var, 0)


def test_huge_inputs_stay_finite(bn, truth, rng):
    x = (1e30 * rng.standard_normal((40, 3))).astype(np.float32)
    dy = rng.standard_normal((40, 3)).astype(np.float32)
    got, expected = bn.step(x, dy), truth.step(x, dy)
    limit = rounding.of_batch_norm("float32", 40)
    assert relative_error(got.y, expected.y) < limit
    assert relative_error(got.dx, expected.dx) < limit


def test_arguments_are_left_alone_and_may_be_views(bn, rng):
    big, up = rng.standard_normal((12, 5, 8)), rng.standard_normal((12, 5, 8))
    x, dy = big.transpose(0, 2, 1)[::2, ::-1], up.transpose(0, 2, 1)[::2, ::-1]
    before = x.copy(), dy.copy()
    got = bn.step(x, dy)
    packed = bn.step(np.ascontiguousarray(x), np.ascontiguousarray(dy))
    np.testing.assert_allclose(got.y, packed.y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got.dx, packed.dx, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(dy, before[1])


# paper: eq-affine, s31-fixed-statistics, s32-inference
def test_inference_is_a_fixed_affine_map(bn, rng):
    mean, var = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    gamma, beta = rng.standard_normal(3), rng.standard_normal(3)
    x = rng.standard_normal((5, 3, 2))
    y = bn.inference(x, mean, var, gamma, beta, eps=0.25)
    column = (slice(None), None)
    expected = gamma[column] * (x - mean[column]) / np.sqrt(var[column] + 0.25) + beta[column]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)
    one = bn.inference(x[:1], mean, var, gamma, beta, eps=0.25)  # no neighbours needed
    np.testing.assert_allclose(one, y[:1], rtol=1e-12, atol=1e-13)
    assert bn.inference(x.astype(np.float32), mean, var).dtype == np.float32


def test_inference_far_from_zero(bn, rng):
    x = (1e6 + rng.standard_normal((50, 2))).astype(np.float32)
    y = bn.inference(x, [1e6, 1e6], [1.0, 1.0], eps=0.0)
    expected = x.astype(np.float64) - 1e6
    limit = rounding.after("float32", 8) * np.abs(expected).max()  # each operation is rounded
    np.testing.assert_allclose(y, expected, rtol=0, atol=limit)


def test_known_variance_zero_needs_eps(bn):
    x = np.array([[1.0], [2.0]])
    np.testing.assert_allclose(bn.inference(x, [1.0], [0.0], eps=0.25)[:, 0], [0.0, 2.0])
    with pytest.raises(bn.errors, match="eps"):
        bn.inference(x, [1.0], [0.0], eps=0.0)
