"""The gradients in training, and the gradients of those gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.forward import batches
from bn.check.diagnosis import UNIDENTIFIED, SeenGradients, explain_gradients, explain_second
from bn.check.diagnosis import close as agree
from bn.check.formula import Array, Batch
from bn.check.gradients import Gradients, Upstream
from bn.check.gradients import gradients as closed_form
from bn.check.gradients import second_gradients as closed_form_of_second
from bn.check.session import CandidateError, Session, Skipped
from bn.check.showing import most_telling, short, telling_channel


def gradients(session: Session) -> str:
    """Compare dx, dgamma and dbeta with the closed form, and name the mistake in each."""
    if not session.trains:
        raise NotOffered("no training mode")
    seen = [
        SeenGradients(batch, backward(session, batch, training=True))
        for ndim, axis in session.layouts
        for batch in batches(session, ndim, axis)
    ]

    def explain(tolerance: float) -> dict[str, str]:
        return explain_gradients(seen, session.eps, tolerance)

    found, _ = session.best("gradients", explain, rank)
    if not found:
        return f"{len(seen)} batches, dx{', dgamma and dbeta' if session.affine else ''}"
    if session.forward is not None:
        return _beside_a_wrong_forward(session, seen)
    right = [closed_form(each.batch, session.eps) for each in seen]
    judge(session, "gradients", seen, right, found)
    return ", ".join(dict.fromkeys(found.values()))


def rank(found: dict[str, str]) -> int:
    """Return 0 for right, 1 for known mistakes and 2 for an unknown one."""
    return 2 if UNIDENTIFIED in found.values() else bool(found)


def backward(session: Session, batch: Batch, *, training: bool) -> Gradients:
    """Return the gradients of a fresh instance."""
    subject = session.ready(batch)
    mode = "training" if training else "inference"
    came = session.call(
        f"backward in {mode}, x of shape {batch.x.shape}",
        lambda: subject.backward(batch.x, batch.dy, training=training),
    )
    return came if session.affine else Gradients(came.dx)


def judge(
    session: Session,
    check: str,
    seen: list[SeenGradients],
    right: list[Gradients],
    found: dict[str, str],
) -> None:
    """Add one finding for each gradient that is off."""
    for name, mistake in found.items():
        pairs = [
            (each.batch, np.asarray(getattr(each.came, name)), getattr(good, name))
            for each, good in zip(seen, right, strict=True)
        ]
        sizes = [(got.shape, np.shape(expected)) for _, got, expected in pairs]
        wrong = [i for i, (_, got, expected) in enumerate(pairs) if got.size != expected.size]
        if wrong:
            batch, got, expected = pairs[wrong[0]]
            if mistake == UNIDENTIFIED:
                mistake = "returns-wrong-shape"
            session.find(check, "wrong", mistake, session.fed(batch, dy=True),
                         f"{name} of shape {sizes[wrong[0]][0]}",
                         f"{name} of shape {sizes[wrong[0]][1]}", batch)  # fmt: skip
            continue
        pairs = [(b, got.reshape(np.shape(exp)), exp) for b, got, exp in pairs]
        batch, got, expected = pairs[most_telling(pairs, session.tolerance)]
        axis = batch.axis if name == "dx" else 0
        channel = telling_channel(got, expected, axis)
        if name == "dx":
            came, should = (short(values, batch.axis, channel) for values in (got, expected))
        else:
            came, should = (f"{values[channel]:.6g}" for values in (got, expected))
        session.find(check, "wrong", mistake, session.fed(batch, channel, dy=True),
                     f"{name} = {came}", f"{name} = {should}", batch)  # fmt: skip


def _beside_a_wrong_forward(session: Session, seen: list[SeenGradients]) -> str:
    """Judge a backward pass by its own forward pass, which is wrong and was reported.

    It is no second mistake if it is the derivative of that, or the closed form on the x_hat of
    that. Other mistakes are named if they are known; more cannot be expected of it.
    """
    assert session.forward is not None
    if _is_derivative(session, seen):
        return "the derivative of its forward pass, which is wrong"
    formula = session.forward.formula
    parts = [
        None if formula is None else formula.normalize(each.batch, session.eps, session.running)
        for each in seen
    ]
    caches = [each for each in parts if each is not None]
    if len(caches) == len(seen):
        found = explain_gradients(seen, session.eps, session.tolerance, caches)
        if not found:
            return "the closed form, on the x_hat of its forward pass"
        if UNIDENTIFIED not in found.values():
            right = [closed_form(each.batch, session.eps) for each in seen]
            judge(session, "gradients", seen, right, found)
            return ", ".join(found.values())
    raise Skipped("the forward pass is wrong: what should come is not known")


def _is_derivative(session: Session, seen: list[SeenGradients]) -> bool:
    """Compare dx with differences of the candidate's own y, along random directions."""
    if session.returned != "float64":
        return False
    each = min(seen, key=lambda one: (not one.batch.by_hand, one.batch.x.size))
    rng = np.random.default_rng(probes.SEED)
    for _ in range(3):
        direction = rng.normal(size=each.batch.x.shape)
        slope = _slope(session, each.batch, direction)
        own = float((np.asarray(each.came.dx) * direction).sum())
        scale = max(abs(slope), float(np.abs(each.came.dx).max()), 1e-3)
        if not abs(slope - own) <= 1e-5 * scale:
            return False
    return True


def _slope(session: Session, batch: Batch, direction: Array, h: float = 1e-6) -> float:
    """Return the derivative of sum(dy·y) along a direction of x, by central differences."""
    ends = []
    for step in (h, -h):
        moved = replace(batch, x=batch.x + step * direction)
        y = session.y(session.ready(moved), moved)
        ends.append(float((batch.dy * y).sum()))
    return (ends[0] - ends[1]) / (2 * h)


def _second_of(session: Session, batch: Batch) -> str:
    """Compare the second gradients of one batch; return the mistake, "" if there is none."""
    upstream = probes.upstream(batch)
    if not session.affine:
        nothing = 0 * upstream.ddgamma
        upstream = Upstream(upstream.ddx, nothing, nothing)
    subject = session.ready(batch)
    fed = (
        f"{session.fed(batch, dy=True)}; from above ddx = "
        f"{short(upstream.ddx, batch.axis, 0)}, ddgamma = {upstream.ddgamma[0]:g}, "
        f"ddbeta = {upstream.ddbeta[0]:g}"
    )
    try:
        came = session.call("second backward", lambda: subject.second(batch.x, batch.dy, upstream))
    except CandidateError as refused:
        session.find("second gradients", "weak", "once-differentiable", fed, refused.came,
                     "gradients for dy, x and gamma", batch)  # fmt: skip
        return "once-differentiable"
    mistake, tolerance = session.best(
        "second gradients",
        lambda tolerance: explain_second(batch, session.eps, upstream, came, 10 * tolerance),
        lambda mistake: 2 if mistake == UNIDENTIFIED else bool(mistake),
    )
    if mistake is None:
        return ""
    right = closed_form_of_second(batch, session.eps, upstream)
    for name in ("for_x", "for_dy", "for_gamma"):
        if getattr(came, name) is None:
            continue
        got, expected = np.asarray(getattr(came, name)), getattr(right, name)
        scale = float(np.abs(expected).max()) or 1.0
        if agree(got, expected, 10 * tolerance, scale):
            continue
        title = name.replace("_", " ")
        if got.size != expected.size:
            session.find("second gradients", "wrong", "returns-wrong-shape", fed,
                         f"{title}: shape {got.shape}", f"shape {expected.shape}")  # fmt: skip
        elif name == "for_gamma":
            session.find("second gradients", "wrong", mistake, fed,
                         f"{title}: {short(got)}", short(expected), batch)  # fmt: skip
        else:
            got = got.reshape(expected.shape)
            channel = telling_channel(got, expected, batch.axis)
            session.find("second gradients", "wrong", mistake, fed,
                         f"{title}, channel {channel}: {short(got, batch.axis, channel)}",
                         short(expected, batch.axis, channel), batch)  # fmt: skip
        break
    return mistake


def second_gradients(session: Session) -> str:
    """Compare the gradients of the gradients with their closed form."""
    if not session.trains:
        raise NotOffered("no training mode")
    earlier = {each.check for each in session.report.wrong}
    for check, reason in (("forward", "forward pass is"), ("gradients", "first gradients are")):
        if check in earlier:
            raise Skipped(f"the {reason} wrong already")
    for ndim, axis in dict.fromkeys((session.first, session.richest)):
        batch = batches(session, ndim, axis)[0]
        mistake = _second_of(session, batch)
        if mistake:
            return mistake
    return "for dy, x and gamma"
