"""Sums of many numbers: in float32 each addition rounds to seven digits of the sum so far.

What is summed is dbeta, of equal numbers, so that the roundings do not cancel. Sums in float64, and
pairwise ones (torch's, and NumPy's along contiguous memory), are right to the last digits. One
number after the other, as NumPy adds along the first axis, and torch.nn for (N, C) on the CPU, they
lose 65 millionths of 8192 times 0.1; of more numbers more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.start import without_affine
from bn.check.report import Severity
from bn.check.session import Session, Skipped

#: Axes but the channels', 8192 values each. Not more: a backward pass by its Jacobian, m by m, has
#: to fit in memory.
MANY = {2: (8192,), 3: (128, 64), 4: (128, 8, 8), 5: (128, 4, 4, 4)}
#: Largest error of dbeta, relative: pairwise sums are off by 1e-6 at most.
ALLOWED = 1e-5
#: What 8192 roundings can do at most; beyond it, something else is wrong.
WORST = 8192 * 2.0**-24


def long_sums(session: Session) -> str:
    """Sum 8192 times 0.1 in float32."""
    if not session.trains:
        raise NotOffered("no training mode")
    if not session.affine:
        raise NotOffered("no beta")
    if any(each.check in {"forward", "gradients"} for each in session.report.wrong):
        raise Skipped("short sums are wrong already")
    ndim, axis = session.first
    batch = probes.random(session.channels, ndim, axis, lengths=MANY[ndim])
    batch = without_affine(replace(batch, dy=np.full_like(batch.x, 0.1)))
    tenth = float(np.float32(0.1))
    subject = session.subject(ndim, axis, batch=batch, dtype="float32")
    came = session.call("backward of 8192 values", lambda: subject.backward(batch.x, batch.dy))
    if came.dbeta is None or came.dbeta.size != session.channels:
        raise NotOffered("no gradient for beta")
    right = batch.m * tenth
    off = float(np.abs(came.dbeta / right - 1).max())
    if not off <= ALLOWED:
        fed = f"dy = 0.1 everywhere, float32, shape {batch.x.shape}"
        told = f"dbeta = {came.dbeta.flat[0]:.8g}, off by {off:.0e}"
        mistake = "sums-in-float32" if off <= WORST else "unidentified"
        severity: Severity = "weak" if off <= WORST else "wrong"
        session.find("long sums", severity, mistake, fed, told, f"dbeta = {right:.8g}")
        return mistake
    return f"dbeta of {batch.m} values off by {off:.0e}"
