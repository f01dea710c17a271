"""Every contender computes batch norm: else its time would mean nothing."""

import numpy as np
import pytest

from bn.bench import fusions
from bn.bench.cases import channels_last, draw, truth
from bn.bench.contenders import BY_NAME, COMPILE, CONTENDERS
from bn.bench.prepared import kept_bytes
from bn.bench.sections.accuracy import as_array, errors

SHAPES = [(16, 6), (4, 6, 5, 5)]


CASES = [
    pytest.param(each, shape, id=f"{each.name}-{len(shape)}d")
    for each in CONTENDERS
    if each.name not in COMPILE
    for shape in SHAPES
    if len(shape) == 4 or not each.images
]


@pytest.mark.parametrize(("contender", "shape"), CASES)
def test_it_is_batch_norm(contender, shape):
    if why := contender.problem():
        pytest.skip(why)
    case = draw(shape, mean=3.0)
    prepared = contender.make(case)
    y, dx, dgamma, dbeta = (as_array(made) for made in prepared.both())
    assert max(errors(y, dx, truth(case))) < 1e-5
    y_of_forward = as_array(prepared.forward())
    np.testing.assert_allclose(y_of_forward, y, atol=1e-6)
    others = tuple(axis for axis in range(len(shape)) if axis != 1)
    np.testing.assert_allclose(dbeta, case.dy.sum(axis=others), rtol=1e-4, atol=1e-4)
    across = (-1, *[1] * (len(shape) - 2))
    x_hat = (truth(case)[0] - case.beta.reshape(across)) / case.gamma.reshape(across)
    np.testing.assert_allclose(dgamma, (case.dy * x_hat).sum(axis=others), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [each.name for each in CONTENDERS if each.images])
def test_channels_last_stays_so(name):
    if why := BY_NAME[name].problem():
        pytest.skip(why)
    y, dx, *_ = BY_NAME[name].make(draw(SHAPES[1])).both()
    for made in (y, dx):
        assert as_array(made).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_for_the_way_back(shape):
    case = draw(shape)
    saved = {
        name: each.make(case).saved() / case.nbytes
        for name, each in BY_NAME.items()
        if name in ("numpy-steps", "numpy-closed", "torch", "bn-reference")
    }
    vectors = 10 * 8 * shape[1] / case.nbytes
    assert saved["numpy-steps"] == pytest.approx(2, abs=vectors)  # x_hat and x - mean
    for name in ("numpy-closed", "torch", "bn-reference"):
        assert saved[name] == pytest.approx(1, abs=vectors), name


def test_memory_that_is_shared_counts_once():
    array = np.zeros(10)
    assert kept_bytes((array, [array[2:], array.reshape(5, 2)])) == 80
    assert kept_bytes((array, array.copy())) == 160


def test_channels_last_of_an_array():
    x = draw(SHAPES[1]).x
    assert np.array_equal(channels_last(x), x)
    assert channels_last(x).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("kind", fusions.KINDS)
@pytest.mark.parametrize("name", [name for name, form in fusions.FORMS.items() if not form.compile])
def test_forms_of_a_fusion_agree(kind, name):
    case = draw(SHAPES[1])
    y, dx, _, _, *dresidual = fusions.make(kind, fusions.FORMS[name], case).both()
    z = truth(case)[0] + (case.residual if kind == "bn_add_relu" else 0)
    np.testing.assert_allclose(as_array(y), np.maximum(z, 0), atol=1e-5)
    gated = case._replace(dy=np.where(z > 0, case.dy, 0).astype(np.float32))
    np.testing.assert_allclose(as_array(dx), truth(gated)[1], atol=1e-5)
    assert len(dresidual) == (kind == "bn_add_relu")
    for made in dresidual:
        np.testing.assert_array_equal(as_array(made), gated.dy)


def test_the_best_eager_form_is_neither_ours_nor_compiled():
    ms = {"eager": 3.0, "eager-last": 2.0, "compile": 1.0, "ours": 0.5}
    assert fusions.best_eager(ms) == "eager-last"
