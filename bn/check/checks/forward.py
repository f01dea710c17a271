"""y in training, for every layout: small whole numbers, a variance near eps, random numbers."""

from __future__ import annotations

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.start import without_affine
from bn.check.diagnosis import UNIDENTIFIED, Explanation, Seen, error, explain_forward
from bn.check.formula import INFERENCE, TRAINING, Batch
from bn.check.session import Session
from bn.check.showing import most_telling, short, telling_channel


def batches(session: Session, ndim: int, axis: int) -> list[Batch]:
    """Return the batches that are fed in one layout."""
    channels = session.channels
    found = [probes.by_hand(channels, ndim, axis), probes.random(channels, ndim, axis)]
    if session.eps > 0:
        found.insert(1, probes.tiny(channels, ndim, axis, session.eps))
    return found if session.affine else [without_affine(batch) for batch in found]


def forward(session: Session) -> str:
    """Compare y with the formula, and name the mistake."""
    if not session.trains:
        raise NotOffered("no training mode")
    seen = []
    for ndim, axis in session.layouts:
        for batch in batches(session, ndim, axis):
            subject = session.ready(batch)
            y = session.y(subject, batch)
            seen.append(Seen(batch, y, session.running, subject.running()))

    def explain(tolerance: float) -> Explanation | None:
        return explain_forward(seen, session.eps, tolerance, training=True)

    session.forward, tolerance = session.best("forward", explain, rank)
    if session.forward is not None and session.forward.mistake == UNIDENTIFIED:
        seen = _one_layout(session, seen, tolerance)
    return judge(session, "forward", seen, (session.forward and session.forward.mistake) or "")


def rank(explained: Explanation | None) -> int:
    """Return 0 for right, 1 for a known mistake and 2 for an unknown one."""
    if explained is None:
        return 0
    return 2 if explained.mistake == UNIDENTIFIED else 1


def _one_layout(session: Session, seen: list[Seen], tolerance: float) -> list[Seen]:
    """Return what was seen in one layout, the one with most to tell, if that can be named."""
    present = {each.batch.x.ndim for each in seen}
    for ndim in sorted(present, key=lambda ndim: (ndim != session.richest[0], ndim)):
        part = [each for each in seen if each.batch.x.ndim == ndim]
        explained = explain_forward(part, session.eps, tolerance, training=True)
        if explained is not None and explained.mistake != UNIDENTIFIED:
            session.forward = explained
            return part
    return seen


def judge(
    session: Session, check: str, seen: list[Seen], mistake: str, *, training: bool = True
) -> str:
    """Add the finding, if there is a mistake; return the row's text."""
    right = TRAINING if training else INFERENCE
    cases = []
    for each in seen:
        y = right(each.batch, session.eps, each.running)
        assert y is not None
        cases.append((each.batch, each.y, y))
    if not mistake:
        largest = max(error(got, expected) for _, got, expected in cases)
        return f"{len(cases)} batches, off by {largest:.0e} at most"
    index = most_telling(cases, session.tolerance)
    batch, got, expected = cases[index]
    channel = telling_channel(got, expected, batch.axis)
    fed = session.fed(batch, channel)
    running = seen[index].running
    if not training and running is not None:
        fed += (
            f"; running mean = {running.mean[channel]:.6g}, "
            f"running variance = {running.var[channel]:.6g}"
        )
    session.find(check, "wrong", mistake, fed, f"y = {short(got, batch.axis, channel)}",
                 f"y = {short(expected, batch.axis, channel)}", batch)  # fmt: skip
    return mistake
