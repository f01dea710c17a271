"""Masks: what takes one and is right passes, in whatever form, and each mistake is named."""

import pytest
import torch

from bn import check, reference

TWIN = """
import numpy as np

def forward(x, gamma, beta, eps, mask=None):
    x = np.asarray(x, np.float64)
    kept = np.ones(x.shape, bool) if mask is None else np.broadcast_to(mask, x.shape)
    axes, one = tuple(a for a in range(x.ndim) if a != 1), (1, -1, *[1] * (x.ndim - 2))
    n = kept.sum(axis=axes).reshape(one)
    if n.min() < 2:
        raise ValueError("one value per channel has no variance")
    mean = np.sum(x * kept, axis=axes, keepdims=True) / n
    var = np.sum((x - mean) ** 2 * kept, axis=axes, keepdims=True) / n
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = (x - mean) * inv_std
    y = gamma.reshape(one) * x_hat + beta.reshape(one)
    return y, (x_hat, gamma.reshape(one) * inv_std, kept, n, axes)

def backward(dy, cache):
    x_hat, scale, kept, n, axes = cache
    dgamma, dbeta = (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)
    of_dbeta, of_dgamma = (v.reshape(n.shape) / n for v in (dbeta, dgamma))
    dx = scale * (dy - kept * (of_dbeta + x_hat * of_dgamma))
    return dx, dgamma, dbeta
"""
COUNT = "n = kept.sum(axis=axes).reshape(one)"
MEAN = "mean = np.sum(x * kept, axis=axes, keepdims=True) / n"
VAR = "var = np.sum((x - mean) ** 2 * kept, axis=axes, keepdims=True) / n"
ALL = "np.full(n.shape, x.size // x.shape[1])"
DX = "dx = scale * (dy - kept * (of_dbeta + x_hat * of_dgamma))"
PLAIN_DX = DX.replace("kept * ", "")

WRONG = {
    "nothing is left out": ("mask-ignored", "np.broadcast_to(mask, x.shape)",
                            "np.ones(x.shape, bool)"),
    "the mean ignores it": ("mask-ignored", MEAN, "mean = x.mean(axis=axes, keepdims=True)"),
    "the variance ignores it": (
        "mask-ignored", VAR, "var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)"),
    "all are counted": ("mask-not-counted", COUNT, f"n = kept.sum(axis=axes).reshape(one)\n    "
                        f"n = {ALL}"),
    "all are counted in the variance": ("mask-not-counted", VAR, VAR.replace("/ n", f"/ {ALL}")),
    "padding is 0, and counted": (
        "mask-not-counted", f"{MEAN}\n    {VAR}",
        "x = x * kept\n    mean = x.mean(axis=axes, keepdims=True)\n    "
        "var = x.var(axis=axes, keepdims=True)"),
    "all are counted in dx": (
        "mask-not-counted", "v.reshape(n.shape) / n", "v.reshape(n.shape) * n.size / dy.size"),
    "padding in the gradient": ("padding-in-the-gradient", DX, PLAIN_DX),
    "the backward pass knows nothing of it": (
        "mask-not-counted+padding-in-the-gradient", DX,
        PLAIN_DX.replace("(of_dbeta", "n * n.size / dy.size * (of_dbeta")),
    "something else": ("unidentified", VAR, f"{VAR} + 0.1 * (not kept.all())"),
}  # fmt: skip


def row(report):
    return next(row for row in report.rows if row.check == "masks")


def pair(as_module, code):
    module = as_module(code)
    return module.forward, module.backward


def test_the_right_twin_passes(as_module):
    report = check.batch_norm(pair(as_module, TWIN))
    assert report.passed, report
    assert (row(report).status, row(report).detail) == ("right", "y, gradients")
    assert report.conventions["mask"].startswith("bool of shape (N, 1, L), True for what counts")


@pytest.mark.parametrize("name", WRONG)
def test_the_mistake_is_named(name, as_module):
    mistake, old, new = WRONG[name]
    assert TWIN.count(old) == 1
    report = check.batch_norm(pair(as_module, TWIN.replace(old, new)))
    (finding,) = report.wrong
    assert (finding.check, finding.mistake) == ("masks", mistake), report
    assert "mask = (1, 1, 1, 0), 1 for what counts" in finding.fed


FORMS = {
    "(N, L)": ("mask = np.expand_dims(mask, 1)", "bool of shape (N, L), True for what counts"),
    "all axes": ("assert mask.shape == x.shape", "bool of shape (N, C, L), True for what counts"),
    "numbers": ("assert mask.dtype != bool", "float64 of shape (N, 1, L), 1 for what counts"),
    "the opposite": ("mask = ~mask", "bool of shape (N, 1, L), True for what is left out"),
}
READ = "    axes, one"
Y = "    y = gamma.reshape(one) * x_hat + beta.reshape(one)\n"
PADDING = {
    "normalized too": "",
    "0": "    y = y * kept\n",
    "x": "    y = np.where(kept, y, x)\n",
    "beta": "    y = np.where(kept, y, beta.reshape(one))\n",
    "something else": "    y = np.where(kept, y, 7)\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form, as_module):
    line, said = FORMS[form]
    code = TWIN.replace("    kept =", f"    if mask is not None:\n        {line}\n    kept =")
    report = check.batch_norm(pair(as_module, code))
    assert report.passed, report
    assert report.conventions["mask"].startswith(said)


@pytest.mark.parametrize("padding", PADDING)
def test_y_of_what_is_left_out_is_a_convention(padding, as_module):
    report = check.batch_norm(pair(as_module, TWIN.replace(Y, Y + PADDING[padding])))
    assert report.passed, report
    assert report.conventions["mask"].endswith(f"y of what is left out is {padding}")


def test_a_mask_that_is_required(as_module):
    report = check.batch_norm(pair(as_module, TWIN.replace("mask=None", "mask")))
    assert report.passed, report
    assert row(report).status == "right"


def test_a_mask_that_is_always_refused_is_told(as_module):
    code = TWIN.replace("    kept =", "    assert mask is None, 'not yet'\n    kept =")
    report = check.batch_norm(pair(as_module, code))
    assert report.passed
    assert row(report).status == "not checked"
    assert row(report).detail.startswith("no form of mask was taken: AssertionError: not yet")


class TestRunningStatistics:
    def test_right(self):
        for options in ({}, {"unbiased": False}, {"momentum": None}, {"affine": False}):
            report = check.batch_norm(lambda o=options: reference.BatchNorm(3, **o))
            assert row(report).detail == "y, gradients, running statistics", report

    @pytest.mark.parametrize(
        ("mistake", "mask"), [("mask-ignored", "None"), ("mask-not-counted", "mask")]
    )
    def test_wrong(self, mistake, mask, as_module):
        code = "from bn.reference import BatchNorm, batch_norm_forward\n"
        code += "class Mine(BatchNorm):\n    def forward(self, x, mask=None):\n"
        code += "        y = super().forward(x, mask=mask)\n"
        code += f"        self.x, self.of_statistics = x, {mask}\n        return y\n"
        code += "    def _update(self, cache):\n"
        if mistake == "mask-ignored":
            code += "        if cache.mask is not None:\n"
            code += "            whole = cache.x_hat / cache.inv_std.reshape(1, -1, 1)\n"
            code += "            whole = whole + cache.mean.reshape(1, -1, 1)\n"
            code += "            cache = batch_norm_forward(whole)[1]\n"
        else:
            code += "        if cache.mask is not None:\n"
            code += "            cache.count[:] = cache.x_hat.size // len(cache.mean)\n"
        code += "        super()._update(cache)\n"
        report = check.batch_norm(as_module(code).Mine)
        named = {each.mistake for each in report.wrong}
        assert named == {mistake}, report


class Masked(torch.nn.BatchNorm1d):
    """torch's own, of the values that count; what is left out comes back as it is."""

    def forward(self, x, mask=None):
        if mask is None:
            return super().forward(x)
        kept = mask.expand(len(x), 1, *x.shape[2:]).movedim(1, -1).squeeze(-1)
        y = x.movedim(1, -1).clone()
        y[kept] = super().forward(y[kept])
        return y.movedim(-1, 1)


def test_a_torch_module():
    report = check.batch_norm(Masked)
    assert report.passed, report
    assert row(report).detail == "y, gradients, running statistics"
    assert report.conventions["mask"].endswith("y of what is left out is x")


@pytest.mark.parametrize(("options", "shape"), [({}, "(N, L)"), ({"axis": 1}, "(N)")])
def test_keras(keras, options, shape):
    """Its mask has no axis of the channels; with axis=1 it takes one for (N, C) alone."""
    report = check.batch_norm(keras.layers.BatchNormalization(**options))
    assert row(report).detail == "y, gradients, running statistics", report
    assert report.conventions["mask"] == (
        f"bool of shape {shape}, True for what counts; y of what is left out is normalized too"
    )


def test_flax():
    linen = pytest.importorskip("flax.linen")
    report = check.batch_norm(linen.BatchNorm)
    assert row(report).detail == "y, gradients, running statistics", report


def test_what_takes_no_mask_is_told_and_no_fault():
    report = check.batch_norm(torch.nn.BatchNorm1d)
    assert (row(report).status, row(report).detail) == ("not offered", "takes no mask")
