"""What every batch-norm layer must keep in its books."""

import numpy as np
import pytest

from bn.reference import NonFiniteError


# paper: s31-moving-averages
@pytest.mark.parametrize("unbiased", [True, False])
def test_running_statistics_give_momentum_to_the_new_value(bn, rng, unbiased):
    layer = bn.layer(3, momentum=0.25, unbiased=unbiased)
    x = 5 + 3 * rng.standard_normal((8, 3))
    layer.forward(x)
    var = x.var(axis=0, ddof=1 if unbiased else 0)
    np.testing.assert_allclose(layer.running_mean, 0.25 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * var, rtol=1e-12)
    assert layer.num_batches == 1


def test_no_momentum_means_the_plain_average(bn, rng):
    layer = bn.layer(2, momentum=None)
    batches = [rng.standard_normal((5, 2)) + i for i in range(4)]
    for x in batches:
        layer.forward(x)
    np.testing.assert_allclose(layer.running_mean, np.mean(batches, axis=(0, 1)), rtol=1e-12)
    expected = np.mean([x.var(axis=0, ddof=1) for x in batches], axis=0)
    np.testing.assert_allclose(layer.running_var, expected, rtol=1e-12)
    assert layer.num_batches == 4


# paper: s31-fixed-statistics
def test_inference_uses_the_running_statistics_and_leaves_them(bn, rng):
    layer = bn.layer(3, eps=0.1)
    layer.forward(2 + rng.standard_normal((10, 3)))
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    layer.training = False
    for size in (5, 1):  # several examples, which have statistics of their own, and a single one
        x, dy = rng.standard_normal((size, 3)), rng.standard_normal((size, 3))
        expected = (x - mean) / np.sqrt(var + 0.1)
        np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-12)
        np.testing.assert_allclose(layer.backward(dy), dy / np.sqrt(var + 0.1), rtol=1e-12)
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)
        assert layer.num_batches == 1


def test_training_matches_the_function(bn, rng):
    x, dy = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 2))
    layer = bn.layer(3)
    step = bn.step(x, dy)
    np.testing.assert_allclose(layer.forward(x), step.y, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), step.dx, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_an_error_where_that_is_asked_for(bn, rng, bad):
    layer = bn.layer(3, nonfinite="raise")
    x = rng.standard_normal((5, 3))
    layer.forward(x)
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    x[2, 1] = bad
    with pytest.raises(NonFiniteError, match=r"channel 1; .*not updated.*nonfinite='keep'"):
        layer.forward(x)
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_var, var)
    assert layer.num_batches == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_by_default_nan_is_seen_in_y_and_kept_out_of_the_statistics(bn, rng, bad):
    layer = bn.layer(3)
    x = rng.standard_normal((5, 3))
    layer.forward(x)
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    x[2, 1] = bad
    with np.errstate(invalid="ignore"):
        assert np.isnan(layer.forward(x)[:, 1]).all()
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_var, var)
    assert layer.num_batches == 1


def test_by_the_last_policy_nan_enters_and_stays(bn, rng):
    layer = bn.layer(3, nonfinite="propagate")
    x = rng.standard_normal((5, 3))
    spoilt = x.copy()
    spoilt[2, 1] = np.inf
    with np.errstate(invalid="ignore"):
        layer.forward(spoilt)
        layer.forward(x)
    np.testing.assert_array_equal(np.isfinite(layer.running_mean), [True, False, True])
    assert layer.num_batches == 2
    with pytest.raises(bn.errors, match="nonfinite is 'ignore'"):
        bn.layer(3, nonfinite="ignore")


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)])
def test_an_empty_batch_leaves_statistics_and_counter(bn, rng, shape):
    layer = bn.layer(3, momentum=None)
    layer.forward(rng.standard_normal((5, 3)))
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    for training in (True, False):
        layer.training = training
        assert layer.forward(np.zeros(shape)).shape == shape
        assert layer.backward(np.zeros(shape)).shape == shape
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)
        assert layer.num_batches == 1


@pytest.mark.parametrize("affine", [True, False])
def test_a_wrong_number_of_channels_leaves_the_statistics(bn, rng, affine):
    layer = bn.layer(3, affine=affine)
    with pytest.raises(bn.errors, match="expected"):
        layer.forward(rng.standard_normal((5, 4)))
    assert layer.num_batches == 0
    np.testing.assert_array_equal(layer.running_mean, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": -0.1},
        {"momentum": 1.5},
        {"momentum": "0.9"},
        {"eps": -1.0},
        {"num_features": 0},
    ],
)
def test_bad_options(bn, options):
    options = dict(options)  # the next implementation gets the same ones
    num_features = options.pop("num_features", 3)
    with pytest.raises(bn.errors, match=next(iter(options), "num_features")):
        bn.layer(num_features, **options)
