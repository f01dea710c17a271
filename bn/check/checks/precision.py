"""Numbers that cost digits: means far larger than the spread, and half precision."""

from __future__ import annotations

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered, Subject, WrongReturn
from bn.check.checks.start import without_affine
from bn.check.formula import TRAINING, Array, Batch, Statistics
from bn.check.report import Severity
from bn.check.session import CandidateError, Session, Skipped

#: Type of the input, mean (the spread is 1), and the largest error that passes without a word.
FAR = (("float32", 1e4, 1e-4), ("float32", 1e6, 1e-4), ("float64", 1e8, 1e-6))
#: In units of the last place: how far a result that is rounded once may be off, and how much of
#: an absolute error is float32's own.
ONE_ROUNDING, SLACK = 0.75, 1e-4


def _column(session: Session, values: Array, shape_axis: tuple[int, int]) -> Batch:
    """Return (C, m) values as a batch along its first axis, with gamma 1 and beta 0."""
    ndim, axis = shape_axis
    channels, m = values.shape
    x = np.moveaxis(values.reshape(channels, m, *[1] * (ndim - 2)), 0, axis)
    ones = np.ones(channels)
    return without_affine(Batch(np.ascontiguousarray(x), ones, 0 * ones, np.ones_like(x), axis))


def large_means(session: Session) -> str:
    """Feed unit variance around large means; measure what is lost, and how.

    Lost digits are a warning: torch.nn loses them too. NaN or infinity is a mistake.
    """
    if not session.trains:
        raise NotOffered("no training mode")
    if session.forward is not None:
        raise Skipped("the forward pass is wrong at small means already")
    told, losses = [], []
    rng = np.random.default_rng(probes.SEED)
    noise = rng.normal(size=(session.channels, 256))
    for dtype, mean, allowed in FAR:
        if dtype not in session.candidate.kind.dtypes:
            continue
        values = (noise + mean).astype(dtype).astype(np.float64)
        batch = _column(session, values, session.first)
        subject = session.subject(*session.first, batch=batch, dtype=dtype)
        try:
            y = session.y(subject, batch)
        except CandidateError as refused:
            session.find_once("large means", "weak", "raises", _fed(batch, dtype, mean),
                              refused.came, "y")  # fmt: skip
            continue
        if dtype == "float64" and (session.coarse or subject.returned != "float64"):
            continue  # rounded to float32 before anything was computed
        expected = TRAINING(batch, session.eps)
        assert expected is not None
        off = float(np.nan_to_num(np.abs(y - expected), nan=np.inf).max())
        told.append(f"{mean:.0e} in {dtype}: {_how_far(off)}")
        if off > allowed:
            losses.append((off / allowed, off, allowed, y, expected, batch, dtype, mean))
    if losses:
        _, off, allowed, y, expected, batch, dtype, mean = max(losses, key=lambda loss: loss[0])
        severity: Severity = "weak" if np.isfinite(off) else "wrong"
        session.find(
            "large means", severity, _cause(y, expected, batch), _fed(batch, dtype, mean),
            f"y {_how_far(off)}",
            f"y right to {allowed:.0e}: numbers near each other subtract without rounding",
        )  # fmt: skip
    return ", ".join(told)


def _how_far(off: float) -> str:
    return f"off by {off:.1g}" if np.isfinite(off) else "NaN or infinity"


def _fed(batch: Batch, dtype: str, mean: float) -> str:
    return f"normal numbers of mean {mean:.0e} and variance 1, {dtype}, shape {batch.x.shape}"


def _cause(y: Array, expected: Array, batch: Batch) -> str:
    """Tell a wrong variance from a wrong mean: y = a·expected + b, channel by channel."""
    if not np.isfinite(y).all():
        return "one-pass-variance"
    got, right = (
        np.moveaxis(values, batch.axis, 0).reshape(batch.x.shape[batch.axis], -1)
        for values in (y, expected)
    )
    scales, offsets = [], []
    for one, other in zip(got, right, strict=True):
        scale, offset = np.polyfit(other, one, 1)
        scales.append(abs(scale - 1))
        offsets.append(abs(offset))
    if max(scales) > 0.05:
        return "one-pass-variance"
    if max(scales) < max(offsets) ** 2 + 1e-5:  # a mean off by d adds d² to the variance
        return "rounded-mean"
    return "loses-digits"


def half_precision(session: Session) -> str:
    """Feed whole numbers, exact in half precision, whose mean is not."""
    if not session.trains:
        raise NotOffered("no training mode")
    if session.forward is not None:
        raise Skipped("the forward pass is wrong in full precision already")
    told = []
    for dtype in session.candidate.kind.halves:
        told.append(f"{dtype} {_half(session, dtype)}")
    if all(text.endswith("refused") for text in told):
        raise NotOffered(f"{', '.join(told)}")
    session.fact("half precision", ", ".join(told))
    return ", ".join(told)


def _half(session: Session, dtype: str) -> str:
    base, bits = {"float16": (1000.0, 10), "bfloat16": (200.0, 7)}[dtype]
    rng = np.random.default_rng(probes.SEED)
    whole = base + rng.integers(-6, 7, (session.channels, 256)).astype(np.float64)
    batch = _column(session, whole, session.first)
    expected = TRAINING(batch, session.eps)
    assert expected is not None

    def errors(kind: str) -> tuple[float, float, Subject]:
        """Return the largest error, also counted in last places of half precision."""
        subject = session.subject(*session.first, batch=batch, dtype=kind)
        off = np.nan_to_num(np.abs(session.y(subject, batch) - expected), nan=np.inf)
        with np.errstate(divide="ignore"):
            places = 2.0 ** (np.floor(np.log2(np.abs(expected))) - bits)
        beyond = off > SLACK
        return float(off.max()), float((off[beyond] / places[beyond]).max(initial=0)), subject

    try:
        off, units, subject = errors(dtype)
    except (CandidateError, WrongReturn):
        return "refused"
    fed = f"whole numbers around {base:g}, {dtype}, shape {batch.x.shape}"
    if units <= ONE_ROUNDING:
        _running_in_half(session, subject.running(), batch, fed)
        return f"returns {subject.returned}"
    if off <= 2 * errors("float32")[0]:
        return f"{_how_far(off)}, as in float32"
    came = f"y {_how_far(off)}"
    session.find_once("half precision", "weak", "half-precision-statistics", fed, came,
                      "y to half a unit in its last place: one rounding")  # fmt: skip
    return _how_far(off)


def _running_in_half(session: Session, running: Statistics | None, batch: Batch, fed: str) -> None:
    """See that the running mean has more digits than half precision."""
    if running is None:
        return
    weight = running.mean / batch.mean
    spread = float(np.abs(weight - weight.mean()).max())
    if spread > 2e-5 * float(np.abs(weight.mean())):
        means = ", ".join(f"{value:.8g}" for value in running.mean[:4])
        session.find_once("half precision", "weak", "half-precision-statistics", fed,
                          f"running mean ({means}), rounded", "the same weight of each mean, "
                          "to the digits of float32")  # fmt: skip
