"""Small batches: two values, one value, a constant channel, a single example in inference."""

from __future__ import annotations

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.start import without_affine
from bn.check.diagnosis import error
from bn.check.formula import TRAINING, Array, Batch
from bn.check.session import CandidateError, Session
from bn.check.showing import short


def small_batches(session: Session) -> str:
    """Feed them, one after the other."""
    told = []
    if session.trains:
        told += [_two_values(session), _constant(session), _one_value(session)]
    told.append(_single_example(session))
    told = [text for text in told if text]
    if not told:
        raise NotOffered("nothing to feed them to")
    return ", ".join(told)


def _batch(session: Session, values: list[float]) -> Batch:
    """Return these values in every channel, along the batch, at the first layout."""
    ndim, axis = session.first
    rows = np.tile(np.asarray(values), (session.channels, 1))
    x = np.moveaxis(rows.reshape(session.channels, len(values), *[1] * (ndim - 2)), 0, axis)
    like = probes.by_hand(session.channels, 2, 1)
    batch = Batch(np.ascontiguousarray(x), like.gamma, like.beta, np.ones_like(x), axis)
    return batch if session.affine else without_affine(batch)


def _train(session: Session, batch: Batch) -> Array:
    ndim, axis = session.first
    return session.y(session.subject(ndim, axis, batch=batch), batch)


def _two_values(session: Session) -> str:
    batch = _batch(session, [1.0, 3.0])
    try:
        y = _train(session, batch)
    except CandidateError as refused:
        session.find("small batches", "wrong", "raises", session.fed(batch), refused.came,
                     "y: two values have a variance", batch)  # fmt: skip
        return ""
    expected = TRAINING(batch, session.eps)
    assert expected is not None
    if session.forward is None and error(y, expected) > session.tolerance:
        session.find("small batches", "wrong", "unidentified", session.fed(batch),
                     f"y = {short(y, batch.axis, 0)}", f"y = {short(expected, batch.axis, 0)}",
                     batch)  # fmt: skip
    return "two values"


def _constant(session: Session) -> str:
    if session.eps == 0:
        return ""
    batch = _batch(session, [5.0, 5.0, 5.0, 5.0])
    try:
        y = _train(session, batch)
        came = f"y = {short(y, batch.axis, 0)}"
    except CandidateError as refused:
        y, came = np.full_like(batch.x, np.nan), refused.came
    expected = batch.along(batch.beta) + 0 * batch.x
    if error(y, expected, scale=1.0) > 1e-3 and session.forward is None:
        session.find("small batches", "wrong", "constant-channel", session.fed(batch), came,
                     f"y = beta = {short(expected, batch.axis, 0)}", batch)  # fmt: skip
    return "a constant channel"


def _one_value(session: Session) -> str:
    """One value per channel: refused, or beta; not NaN, and not an accident."""
    batch = _batch(session, [5.0])
    ndim, axis = session.first
    subject = session.subject(ndim, axis, batch=batch)
    fed = session.fed(batch)
    expected = "a ValueError that says that one value per channel has no variance"
    try:
        y = session.y(subject, batch)
    except CandidateError as refused:
        if not refused.is_clear:
            session.find("small batches", "wrong", "unclear-error-for-batch-of-one", fed,
                         refused.came, expected, batch)  # fmt: skip
            return ""
        session.fact("one value per channel", "refused in training, as in PyTorch")
        return "one value refused"
    running = subject.running()
    statistics = [] if running is None else [running.mean, running.var]
    if not all(np.isfinite(values).all() for values in (y, *statistics)):
        came = f"y = {short(y, batch.axis, 0)}"
        if running is not None:
            came += f", running variance {short(running.var)}"
        session.find("small batches", "wrong", "nan-for-batch-of-one", fed, came, expected,
                     batch)  # fmt: skip
        return ""
    beta = batch.along(batch.beta) + 0 * batch.x
    if error(y, beta, scale=1.0) > 1e-3:
        if session.forward is None:
            session.find("small batches", "wrong", "constant-channel", fed,
                         f"y = {short(y, batch.axis, 0)}", expected, batch)  # fmt: skip
        return ""
    session.fact("one value per channel", "accepted in training: y is beta, as in Keras and Flax")
    return "one value gives beta"


def _single_example(session: Session) -> str:
    """One example in inference: nothing to refuse."""
    ndim, axis = session.first
    if "inference" not in session.modes or session.subject(ndim, axis).running() is None:
        return ""
    batch = _batch(session, [5.0])
    try:
        running = probes.statistics(session.channels)
        subject = session.subject(ndim, axis, batch=batch, running=running)
        session.y(subject, batch, training=False, graph=False)
    except CandidateError as refused:
        session.find("small batches", "wrong", "batch-of-one-refused-in-inference",
                     session.fed(batch), refused.came, "y", batch)  # fmt: skip
        return ""
    return "one example in inference"
