"""Sums of many float32 numbers: who adds one after the other is told, and nobody else."""

import numpy as np
import pytest

from bn import check

TWIN = """
import numpy as np

def forward(x, gamma, beta, eps):
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}, expected (N, C)")
    wide = x.astype(np.float64)
    inv_std = 1 / np.sqrt(wide.var(axis=0) + eps)
    x_hat = (wide - wide.mean(axis=0)) * inv_std
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, gamma * inv_std)

def backward(dy, cache):
    x_hat, scale = cache
    dgamma, dbeta = (dy * x_hat).sum(axis=0), SUM
    return scale * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy)), dgamma, dbeta
"""
SUMS = {
    "in float64": ("dy.sum(axis=0, dtype=np.float64)", None),
    "pairwise": ("np.ascontiguousarray(dy.T).sum(axis=1)", None),
    "row after row": ("dy.sum(axis=0)", ("weak", "sums-in-float32")),
    "one number after the other": ("np.cumsum(dy, axis=0)[-1]", ("weak", "sums-in-float32")),
    "with an overflow": ("dy.sum(axis=0) + len(dy) // 8000", ("wrong", "unidentified")),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums(name, as_module):
    how, expected = SUMS[name]
    module = as_module(TWIN.replace("SUM", how))
    report = check.batch_norm((module.forward, module.backward))
    said = [(each.severity, each.mistake) for each in report.findings if each.check == "long sums"]
    assert said == ([expected] if expected else []), report


def test_what_is_said_is_true():
    tenths = np.full((8192, 2), 0.1, np.float32)
    right = tenths.sum(dtype=np.float64)
    assert 1e-5 < abs(2 * tenths.sum(axis=0)[0] / right - 1) < 1e-4  # along the first axis
    assert abs(tenths.sum() / right - 1) < 1e-6  # contiguous, and so pairwise


def test_without_beta_there_is_nothing_to_sum():
    report = check.batch_norm(lambda x: (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5))
    assert {row.check: row.status for row in report.rows}["long sums"] == "not offered"
