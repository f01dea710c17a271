"""Inference: y by the running statistics, which stay as they are, and its gradient."""

from __future__ import annotations

import numpy as np

from bn.check.candidate import NotOffered
from bn.check.checks import backward as training
from bn.check.checks.forward import batches, judge, rank
from bn.check.diagnosis import Seen, SeenGradients, explain_forward, explain_inference_gradients
from bn.check.formula import Batch, Statistics
from bn.check.gradients import inference_gradients
from bn.check.session import TOLERANCE, CandidateError, Repeated, Session
from bn.check.showing import short


def inference(session: Session) -> str:
    """Set running statistics; compare y and the gradients in inference."""
    if "inference" not in session.modes:
        raise NotOffered("no inference mode")
    running = session.running
    if running is None:
        raise NotOffered("no running statistics, or none that can be set")
    seen = [
        Seen(batch, _y(session, batch, running, graph=True), running)
        for ndim, axis in session.layouts
        for batch in batches(session, ndim, axis)
    ]
    explained, _ = session.best(
        "inference",
        lambda tolerance: explain_forward(seen, session.eps, tolerance, training=False),
        rank,
    )
    if explained is not None and _follows_grad_mode(session, seen):
        return "mode-from-grad-mode"
    mistake = "" if explained is None else explained.mistake
    if mistake == "batch-statistics-in-inference":
        _forget(session, "statistics-updated-in-inference")  # the same mistake
    if mistake and session.forward and mistake == session.forward.mistake:
        raise Repeated(f"{mistake}, as in training")
    text = judge(session, "inference", seen, mistake, training=False)
    if mistake:
        return text
    gradients = _gradients(session, running)
    return f"{text}; {gradients}" if gradients else text


def _y(session: Session, batch: Batch, running: Statistics, *, graph: bool) -> np.ndarray:
    """Return y in inference; see that the running statistics stay."""
    subject = session.subject(batch.x.ndim, batch.axis, batch=batch, running=running)
    before = subject.running()
    y = session.y(subject, batch, training=False, graph=graph)
    after = subject.running()
    assert before is not None
    assert after is not None
    for name in ("mean", "var") if graph else ():
        old, new = getattr(before, name), getattr(after, name)
        if not np.array_equal(old, new):
            session.find_once(
                "inference", "wrong", "statistics-updated-in-inference", session.fed(batch),
                f"running {name} {short(old)} became {short(new)}", "the same as before",
            )  # fmt: skip
    return y


def _follows_grad_mode(session: Session, seen: list[Seen]) -> bool:
    """Tell whether inference is right when no gradient is wanted, and say so."""
    again = [
        Seen(each.batch, _y(session, each.batch, each.running, graph=False), each.running)
        for each in seen
        if each.running is not None
    ]
    loose = TOLERANCE["float32"]  # it decides which mode it is, not how many digits there are
    if explain_forward(again, session.eps, loose, training=False) is not None:
        return False
    _forget(session, "statistics-updated-in-inference")
    batch = seen[0].batch
    session.find(
        "inference", "weak", "mode-from-grad-mode", session.fed(batch),
        f"with gradients y = {short(seen[0].y, batch.axis, 0)}, "
        f"in torch.no_grad() y = {short(again[0].y, batch.axis, 0)}",
        "the latter in both", batch,
    )  # fmt: skip
    return True


def _forget(session: Session, mistake: str) -> None:
    """Take a finding back that another one explains."""
    findings = session.report.findings
    findings[:] = [each for each in findings if each.mistake != mistake]


def _gradients(session: Session, running: Statistics) -> str:
    """Compare the gradients in inference; return what the row says."""
    try:
        seen = [
            SeenGradients(batch, training.backward(session, batch, training=False))
            for ndim, axis in session.layouts
            for batch in batches(session, ndim, axis)
        ]
    except NotOffered:
        return ""
    except CandidateError as refused:  # few NumPy layers have one, and none needs it to predict
        return f"no gradients: {refused.came}"
    found, _ = session.best(
        "inference",
        lambda tolerance: explain_inference_gradients(seen, session.eps, tolerance, running),
        training.rank,
    )
    if not found:
        return "gradients too"
    right = [inference_gradients(each.batch, session.eps, running) for each in seen]
    training.judge(session, "inference", seen, right, found)
    return ", ".join(found.values())
