"""Running statistics: which convention moves them, and what a NaN does to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered, Subject
from bn.check.diagnosis import UNIDENTIFIED, Movement, explain_running
from bn.check.diagnosis.running import Convention, Momentum
from bn.check.formula import Batch, Statistics
from bn.check.session import CandidateError, Session, Skipped
from bn.check.showing import short

#: Lengths of the axes but the channels' of three batches: N and m differ from one to the next.
SIZES: dict[int, list[tuple[int, ...]]] = {
    2: [(4,), (7,), (3,)],
    3: [(2, 2), (4, 5), (3, 2)],
    4: [(2, 1, 2), (4, 2, 5), (3, 2, 2)],
    5: [(2, 1, 1, 2), (3, 2, 1, 4), (3, 2, 2, 1)],
}


def running(session: Session) -> str:
    """Train on three batches of different sizes; find the rule behind what moved."""
    for layout in dict.fromkeys((session.first, session.richest)):
        subject = session.subject(*layout)
        movements = _train(session, subject, *layout)
        declared = subject.momentum
        convention, _ = session.best(
            "running statistics", partial(_explain, session, movements, declared), _rank
        )
        claimed = subject.unbiased
        if convention.mistake is None and claimed not in (None, convention.unbiased):
            convention = replace(convention, mistake="unbiased-ignored")
        if convention.mistake == UNIDENTIFIED and session.forward is not None:
            raise Skipped("the forward pass is wrong: what should come is not known")
        if convention.mistake is not None:
            _report(session, movements, convention, subject.momentum)
            return convention.mistake
    start = movements[0].before
    if not (np.all(start.mean == 0) and np.all(start.var == 1)):
        session.fact("running statistics start at",
                     f"mean {short(start.mean)}, variance {short(start.var)}")  # fmt: skip
    session.convention = convention
    _tell(session, convention, subject)
    _tell_nan(session)
    return f"{len(movements)} steps"


def _explain(
    session: Session, movements: list[Movement], declared: Momentum, tolerance: float
) -> Convention:
    return explain_running(movements, session.eps, declared, tolerance)


def _rank(convention: Convention) -> int:
    return 2 if convention.mistake == UNIDENTIFIED else bool(convention.mistake)


def _train(session: Session, subject: Subject, ndim: int, axis: int) -> list[Movement]:
    if not session.trains or subject.running() is None:
        raise NotOffered("no running statistics")
    movements = []
    for number, lengths in enumerate(SIZES[ndim]):
        if number == 0:
            batch = probes.by_hand(session.channels, ndim, axis)
        else:
            batch = probes.random(session.channels, ndim, axis, lengths=lengths, seed=number)
        before = _read(session, subject)
        session.y(subject, batch)
        formula = None if session.forward is None else session.forward.formula
        own = None if formula is None else formula.statistics(batch)
        movements.append(Movement(batch, before, _read(session, subject), own))
    return movements


def _read(session: Session, subject: Subject) -> Statistics:
    statistics = session.call("reading the running statistics", subject.running)
    assert statistics is not None
    return statistics


def _tell(session: Session, convention: Convention, subject: Subject) -> None:
    """Note what the conventions are, and who shares them."""
    weight, declared = convention.weight, subject.momentum
    if weight is None:
        text = "all batches count alike (the cumulative average, momentum=None in PyTorch)"
    elif isinstance(declared, str) or declared is None:
        text = f"not declared; the new value has the weight {weight:.4g}"
    elif abs(weight - declared) <= 1e-3:
        text = f"{declared:g} is the weight of the new value, as in PyTorch"
        if declared == 0.5:
            text = "0.5, of the old and of the new value"
    else:
        text = f"{declared:g} is the weight of the old value, as in Keras and Flax"
        if weight > 0.5 and not subject.given:
            text += f"; the new batch weighs {weight:g}, so there is hardly an average"
    session.fact("momentum", text)
    kind = (
        "unbiased, m/(m-1)·var, as in PyTorch and the paper"
        if convention.unbiased
        else "biased, var, as in Keras, Flax and ONNX"
    )
    session.fact("running variance", kind)


def _report(
    session: Session, movements: list[Movement], convention: Convention, declared: Momentum
) -> None:
    """Say what one step did, and what the two conventions would have done."""
    first = movements[0]
    batch, before, after = first.batch, first.before, first.after
    weight = declared if isinstance(declared, float | int) else convention.weight or 0.1
    var, m = batch.var, batch.m

    def moved(old: np.ndarray, new: np.ndarray) -> float:
        return float(old[0] + weight * (new[0] - old[0]))

    by_rule = (
        f"mean {moved(before.mean, batch.mean):.6g}, "
        f"variance {moved(before.var, var * m / (m - 1)):.6g} (unbiased) or "
        f"{moved(before.var, var):.6g} (biased), if the new value weighs {weight:g}"
    )
    fed = (
        f"{_batch_in_words(session, batch)}; running mean {before.mean[0]:.6g}, "
        f"running variance {before.var[0]:.6g} before"
    )
    came = f"running mean {after.mean[0]:.6g}, running variance {after.var[0]:.6g} after"
    assert convention.mistake is not None
    session.find("running statistics", "wrong", convention.mistake, fed, came, by_rule, batch)


def _batch_in_words(session: Session, batch: Batch) -> str:
    return (
        f"{session.fed(batch)}; its mean {batch.mean[0]:.6g}, variance {batch.var[0]:.6g}, "
        f"m = {batch.m}, N = {batch.x.shape[0]}"
    )


def _tell_nan(session: Session) -> None:
    """Feed one NaN in training; note what the running statistics make of it."""
    ndim, axis = session.first
    subject = session.subject(ndim, axis)
    batch = probes.by_hand(session.channels, ndim, axis)
    poisoned = batch.x.copy()
    poisoned[(0,) * ndim] = np.nan
    before = _read(session, subject)
    try:
        session.call("forward of a NaN", lambda: subject.forward(poisoned, training=True))
    except CandidateError as refused:
        session.fact("NaN in a batch", f"refused: {type(refused.error).__name__}")
        return
    after = _read(session, subject)
    if not (np.isfinite(after.mean).all() and np.isfinite(after.var).all()):
        text = "stays in the running statistics for ever, as in torch.nn, Keras and Flax"
    elif np.array_equal(before.mean, after.mean) and np.array_equal(before.var, after.var):
        text = "leaves the running statistics alone"
    else:
        text = "leaves the running statistics finite"
    session.fact("NaN in a batch", text)
