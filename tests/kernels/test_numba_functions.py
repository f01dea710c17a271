"""What the kernels for the CPU can do beyond the contract: ReLU, residual, given outputs."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")

from bn import reference
from bn.kernels import numba_cpu
from bn.kernels.numba_cpu import batch_norm_backward, batch_norm_forward, batch_norm_inference, plan
from bn.kernels.numba_cpu.gates import gate_words
from tests import rounding

#: Planes, rows, rows of which several are taken for one, and several lanes for a channel.
SHAPES = [(64, 5), (37, 600), (6, 5, 3), (6, 5, 130), (5, 3, 9, 9), (3, 70, 2, 2), (2, 3, 4, 5, 4)]


def drawn(shape, dtype="float64", seed=0):
    """x, dy, residual, gamma, beta."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for _ in range(3)]
    return *arrays, rng.uniform(0.5, 1.5, shape[1]), rng.uniform(-0.5, 0.5, shape[1])


def channels_last(array):
    """The same numbers with the channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def expected(x, dy, residual, gamma, beta, relu):
    """y and the gradients, by the reference in float64, one step after the other."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    y, cache = reference.batch_norm_forward(x, gamma, beta)
    y = y if residual is None else y + residual
    if relu:
        dy, y = np.where(y > 0, dy, 0), np.maximum(y, 0)
    gradients = reference.batch_norm_backward(dy, cache)
    return [y, *gradients, *([] if residual is None else [dy])]


#: Type, ReLU, residual: all of them in float32 only, since each is compiled for itself.
KINDS = [("float32", relu, added) for relu in (False, True) for added in (False, True)]
KINDS += [("float64", True, True), ("float16", True, True)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "relu", "added"), KINDS)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_like_one_after_the_other(shape, dtype, relu, added, layout):
    x, dy, residual, gamma, beta = drawn(shape, dtype)
    z = residual if added else None
    wanted = expected(x, dy, z, gamma, beta, relu)
    x, dy, z = layout(x), layout(dy), None if z is None else layout(z)
    y, cache = batch_norm_forward(x, gamma, beta, relu=relu, residual=z)
    made = [y, *batch_norm_backward(dy, cache)]
    assert len(made) == len(wanted)
    limit = rounding.of_batch_norm(dtype, x.size // shape[1])
    for got, right in zip(made, wanted, strict=True):
        scale = max(1.0, np.abs(right).max())
        if relu:  # an element within rounding of 0 may be open in one and closed in the other
            near = np.abs(got - right) > limit * scale
            assert near.mean() < 0.01
        else:
            assert np.abs(got - right).max() < limit * scale
    for got in (y, made[1]):
        assert got.dtype == x.dtype
        assert got.strides == x.strides


#: Words of 64 gates end within rows and planes here, and in the last two, several threads write
#: them. The last is large enough to be written past the caches.
GATED = [(64, 5), (4, 3, 9, 9), (997, 101), (41, 7, 43, 43), (50, 3, 61, 1000)]


@pytest.mark.parametrize("shape", GATED, ids=str)
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_forward_and_backward_agree_about_the_gate(shape, added, layout):
    """Where y is exactly 0 nothing comes back, and elsewhere all of dy does, to the bit."""
    x, dy, residual, gamma, beta = drawn(shape, "float32")
    z = layout(np.round(residual, 1) if added else np.zeros_like(x))
    beta[:] = 0.0
    x.flat[x.size // 2] = np.nan  # its channel is open everywhere: NaN is not below 0
    y, cache = batch_norm_forward(layout(x), gamma, beta, relu=True, residual=z)
    *_, dz = batch_norm_backward(layout(dy), cache)
    assert np.array_equal(dz, np.where(y <= 0, 0, dy))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_gates_of_other_types_past_the_caches(dtype):
    x, dy, residual, gamma, beta = drawn((90, 3, 61, 1100), dtype)
    y, cache = batch_norm_forward(x, gamma, beta, relu=True, residual=residual)
    assert x.nbytes > plan.PAST_CACHES
    *_, dz = batch_norm_backward(dy, cache)
    assert np.array_equal(dz, np.where(y > 0, dy, 0))


def test_gates_are_bits_in_the_order_of_memory():
    """So they are what others can make and read; and no bit behind the last element is set."""
    x, _, residual, *_ = drawn((5, 3, 9, 9), "float32")
    for layout in (np.ascontiguousarray, channels_last):
        y, cache = batch_norm_forward(layout(x), relu=True, residual=residual)
        in_memory = y if layout is np.ascontiguousarray else np.moveaxis(y, 1, -1)
        is_open = np.zeros(gate_words(x.size) * 64, bool)
        is_open[: x.size] = in_memory.ravel() > 0
        expected = np.packbits(is_open, bitorder="little").view("<u8")
        assert cache.gates.tolist() == expected.tolist()


def test_gates_are_kept_only_where_they_are_needed():
    x, dy, residual, *_ = drawn((64, 5))
    for relu, added in [(False, False), (True, False), (False, True)]:
        _, cache = batch_norm_forward(x, relu=relu, residual=residual if added else None)
        assert cache.gates is None
        assert len(batch_norm_backward(dy, cache)) == 3 + added


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("shape", [(64, 5), (4, 3, 9, 9), (300, 33, 32, 32)], ids=str)
def test_outputs_that_are_given(shape, layout):
    """The last shape is large enough to be written past the caches."""
    x, dy, residual, gamma, beta = map(np.float32, drawn(shape))
    x, dy, residual = layout(x), layout(dy), layout(residual)
    y, cache = batch_norm_forward(x, gamma, beta, relu=True, residual=residual)
    dx, dgamma, dbeta, dz = batch_norm_backward(dy, cache)
    out, out_dx, out_dz = (np.full_like(x, np.nan) for _ in range(3))
    got, _ = batch_norm_forward(x, gamma, beta, relu=True, residual=residual, out=out)
    assert got is out
    assert np.array_equal(out, y)
    made = batch_norm_backward(dy, cache, out=out_dx, residual_out=out_dz)
    assert made[0] is out_dx
    assert made[3] is out_dz
    for got, right in zip(made, (dx, dgamma, dbeta, dz), strict=True):
        assert np.array_equal(got, right)
    over = dy.copy(order="K")
    made = batch_norm_backward(over, cache, out=over)  # dx over dy
    assert made[0] is over
    assert np.array_equal(over, dx)
    assert np.array_equal(made[3], dz)


@pytest.mark.parametrize("shift", [4, 8, 60])
@pytest.mark.parametrize("added", [False, True])
def test_an_output_that_begins_anywhere(shift, added):
    x, dy, residual, gamma, beta = drawn((300, 33, 32, 32), "float32")
    kind = {"relu": True, "residual": residual} if added else {}
    y, cache = batch_norm_forward(x, gamma, beta, **kind)
    block = np.zeros(x.nbytes + 64, np.uint8)
    out = block[shift : shift + x.nbytes].view(np.float32).reshape(x.shape)
    _, again = batch_norm_forward(x, gamma, beta, out=out, **kind)
    assert np.array_equal(out, y)
    assert not added or np.array_equal(again.gates, cache.gates)
    assert not block[:shift].any()
    assert not block[shift + x.nbytes :].any()
    batch_norm_backward(dy, cache, out=out)
    assert np.array_equal(out, batch_norm_backward(dy, cache)[0])


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (lambda x: x[:2], "shape"),
        (lambda x: x.astype(np.float64), "float64"),
        (channels_last, "contiguous"),
        (lambda x: x.tolist(), "list"),
        (lambda x: np.lib.stride_tricks.as_strided(x, writeable=False), "written"),
    ],
)
def test_outputs_that_do_not_fit(view, says):
    x, *_ = drawn((4, 3, 9, 9), "float32")
    out = view(x.copy())
    with pytest.raises((TypeError, ValueError), match=says):
        batch_norm_forward(x, out=out)


def test_outputs_that_would_destroy_an_input():
    x, dy, residual, *_ = drawn((4, 3, 9, 9), "float32")
    with pytest.raises(ValueError, match="out overlaps with x"):
        batch_norm_forward(x, out=x)
    with pytest.raises(ValueError, match="out overlaps with residual"):
        batch_norm_forward(x, residual=residual, out=residual)
    _, cache = batch_norm_forward(x, residual=residual, relu=True)
    with pytest.raises(ValueError, match="share memory"):
        batch_norm_backward(dy, cache, out=dy, residual_out=dy)
    shifted = np.empty(x.size + 1, np.float32)
    inside = shifted[: x.size].reshape(x.shape)
    inside[:] = dy
    with pytest.raises(ValueError, match="overlaps with dy"):
        batch_norm_backward(inside, cache, out=shifted[1:].reshape(x.shape))


@pytest.mark.parametrize(
    ("residual", "says"),
    [(np.zeros((4, 3)), "shape"), (np.zeros((8, 3), np.float32), "dtype"), ("z", "residual")],
)
def test_residuals_that_do_not_fit(residual, says):
    with pytest.raises((TypeError, ValueError), match=says):
        batch_norm_forward(np.ones((8, 3)) * np.arange(8)[:, None], residual=residual)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inference_with_everything(shape):
    x, _, residual, gamma, beta = drawn(shape)
    mean, var = np.arange(shape[1]) / 7, 1 + np.arange(shape[1]) / 3
    y = batch_norm_inference(x, mean, var, gamma, beta, relu=True, residual=residual)
    right = reference.batch_norm_inference(x, mean, var, gamma, beta)
    assert np.abs(y - np.maximum(right + residual, 0)).max() < 1e-12
    assert batch_norm_inference(x, mean, var, out=x) is x  # here it may overwrite


def test_views_of_any_kind():
    x = np.random.default_rng(0).standard_normal((8, 6, 20))
    for view in (x[::2, :, ::3], x[:, ::-1], x.transpose(2, 1, 0), x[:, :, :1], x.astype(">f8")):
        y, cache = batch_norm_forward(view)
        right, _ = reference.batch_norm_forward(np.array(view, float))
        assert np.abs(y - right).max() < 1e-12
        (dx, *_), dy = batch_norm_backward(np.cos(right)[:], cache), np.cos(right)
        _, exact = reference.batch_norm_forward(np.array(view, float))
        assert np.abs(dx - reference.batch_norm_backward(dy, exact)[0]).max() < 1e-12


def test_nan_spoils_its_own_channel_only():
    for shape in ((64, 600), (4, 3, 9, 9)):
        x, dy, _, gamma, beta = drawn(shape)
        clean, cache = batch_norm_forward(x, gamma, beta)
        dx, *_ = batch_norm_backward(dy, cache)
        for bad in (np.nan, np.inf, -np.inf):
            spoiled = x.copy()
            spoiled[1, 2] = bad
            y, cache = batch_norm_forward(spoiled, gamma, beta)
            others = np.arange(shape[1]) != 2
            assert np.array_equal(y[:, others], clean[:, others])
            assert np.isnan(y[1, 2]).all()
            assert np.array_equal(batch_norm_backward(dy, cache)[0][:, others], dx[:, others])


@pytest.mark.parametrize("shape", [(400, 600), (40, 3, 10, 10)], ids=str)
@pytest.mark.parametrize("first", [0.1, 0.3])
def test_a_pivot_that_is_far_from_the_mean(shape, first):
    """The first examples are unlike the others: the pivot is theirs, and the mean elsewhere.

    Of two values, of which a share p is the first, the mean lies sqrt((1 - p) / p) standard
    deviations from the first: 3.0, and then the sums have to be taken again, in float64; or 1.5,
    and then those in float32 have to do, of at most as many terms as there are values.
    """
    x = 1e4 + np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[: int(first * shape[0])] = -3e6
    distance, m = np.sqrt((1 - first) / first), x.size // shape[1]
    y, cache = batch_norm_forward(x)
    right, exact = reference.batch_norm_forward(x.astype(np.float64))
    summed = "float64" if distance > rounding.FAR else "float32"
    of_mean, of_var = rounding.of_statistics(summed, m)
    assert (np.abs(cache.mean - exact.mean) / np.sqrt(exact.var)).max() < of_mean
    assert np.abs(cache.var / exact.var - 1).max() < of_var
    largest = np.abs(right).max()
    of_y = rounding.of_y(summed, m, largest) + rounding.after("float32", 8) * largest
    assert np.abs(y - right).max() < of_y


def test_gates_that_are_missing_are_said():
    x, dy, residual, *_ = drawn((64, 5))
    _, cache = batch_norm_forward(x, relu=True, residual=residual)
    for gates, says in ((None, "they are None"), (cache.gates[:-1], "they are 4")):
        with pytest.raises(ValueError, match=f"the 5 words that forward has written; {says}"):
            batch_norm_backward(dy, dataclasses.replace(cache, gates=gates))


def test_what_the_module_offers():
    for name in numba_cpu.__all__:
        assert getattr(numba_cpu, name).__doc__
