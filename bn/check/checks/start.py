"""Which shapes it takes, where it has the channels, and which eps it uses."""

from __future__ import annotations

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered, WrongReturn
from bn.check.diagnosis import UNIDENTIFIED, Seen, explain_forward
from bn.check.formula import Array, Batch, Statistics
from bn.check.session import CandidateError, Session, Skipped

WrongShapes = list[tuple[str, WrongReturn]]
LOOSE = 5e-3  # tells the axes apart before eps is known


def layouts(session: Session) -> str:
    """Feed every layout; keep those that come back as batch norm along one axis."""
    kind = session.candidate.kind
    session.channels = kind.channels or 3
    errors: dict[str, str] = {}
    shapes: WrongShapes = []
    for dtype in kind.dtypes:
        session.dtype = dtype
        ranked = [
            found
            for ndim in probes.LAYOUTS
            for axis in _distinct(ndim, kind.axes)
            if (found := _try(session, ndim, axis, errors, shapes))
        ]
        if ranked:
            break
    else:
        if shapes:
            raise shapes[0][1]
        _nothing_works(session, errors)
    chosen = _choose(session, ranked, several=len(kind.axes) > 1)
    session.layouts = [(ndim, axis) for ndim, axis, _ in chosen]
    _tell_shapes(session, shapes)
    subject = session.subject(*session.first)
    session.modes, session.affine = subject.modes, subject.affine
    _look_at_types(session)
    _find_eps(session)
    session.running = _settable(session)
    names = [probes.layout(ndim, axis) for ndim, axis in session.layouts]
    return ", ".join(names)


def _distinct(ndim: int, axes: tuple[int, ...]) -> list[int]:
    """Return the axes as numbers from 1, once each; the batch is never the channels."""
    return [axis for axis in dict.fromkeys(axis % ndim for axis in axes) if axis > 0]


def _try(
    session: Session, ndim: int, axis: int, errors: dict[str, str], shapes: WrongShapes
) -> tuple[int, int, str | None] | None:
    """Return the layout and what is wrong with it ("unidentified" for anything)."""
    batch = probes.random(session.channels, ndim, axis)
    try:
        subject = session.subject(ndim, axis)
        session.modes, session.affine = subject.modes, subject.affine
        subject.set_affine(batch.gamma, batch.beta)
        training = session.trains
        running = None
        if not training:
            running = probes.statistics(session.channels)
            subject.set_running(running)
        y = session.y(subject, batch, training=training)
    except CandidateError as error:
        errors[probes.layout(ndim, axis)] = error.came
        return None
    except WrongReturn as wrong:
        if wrong.mistake != "returns-wrong-shape":
            raise
        shapes.append((probes.layout(ndim, axis), wrong))  # broadcast, perhaps: made for others
        return None
    session.returned = subject.returned
    seen = [Seen(_as_given(batch, session), y, running)]
    eps = session.eps if subject.eps is None else subject.eps
    explained = explain_forward(seen, eps, LOOSE, training=training)
    return ndim, axis, None if explained is None else explained.mistake


def _as_given(batch: Batch, session: Session) -> Batch:
    return batch if session.affine else without_affine(batch)


def without_affine(batch: Batch) -> Batch:
    """Return the batch with gamma 1 and beta 0, for a candidate that has neither."""
    ones = np.ones_like(batch.gamma)
    return Batch(batch.x, ones, 0 * ones, batch.dy, batch.axis, batch.by_hand)


def _nothing_works(session: Session, errors: dict[str, str]) -> None:
    """Say that no input came through."""
    tried = "; ".join(errors)
    distinct = list(dict.fromkeys(errors.values()))
    came = "\n".join(distinct[:3]) or "nothing"
    session.find("layouts", "wrong", "raises", f"normal numbers of shapes {tried}", came,
                 "y, of the shape of x, for at least one of them")  # fmt: skip
    raise Skipped("no input came through")


def _choose(
    session: Session, ranked: list[tuple[int, int, str | None]], *, several: bool
) -> list[tuple[int, int, str | None]]:
    """Keep one axis for each number of axes: the one that is right, or nearest to it."""

    def rank(found: tuple[int, int, str | None]) -> int:
        mistake = found[2]
        if mistake is None:
            return 0
        of_another_axis = (UNIDENTIFIED, "wrong-channel-axis", "gamma-along-last-axis")
        return 2 if mistake in of_another_axis else 1

    chosen = []
    knows_two = any(found[0] == 2 and found[2] != UNIDENTIFIED for found in ranked)
    for ndim in dict.fromkeys(found[0] for found in ranked):
        best = min((found for found in ranked if found[0] == ndim), key=rank)
        # gamma, of shape (C,), acts along the last axis; without it any axis would do
        last = ndim > 2 and (best[1] == ndim - 1 or not session.affine)
        mistakes = (best[2] or "").split("+")
        if several and knows_two and last and "statistics-over-batch-only" in mistakes:
            _leave_out(session, ndim, best[1], "only-two-axes", "each position by itself")
            continue
        if several and knows_two and last and "gamma-along-last-axis" in mistakes:
            _leave_out(session, ndim, best[1], "gamma-along-last-axis", "axis 1, scaled by another")
            continue
        chosen.append(best)
    return chosen


def _tell_shapes(session: Session, shapes: WrongShapes) -> None:
    """Say which inputs come back in another shape, unless it takes that many axes otherwise."""
    taken = {ndim for ndim, _ in session.layouts}
    for name, wrong in shapes:
        if len(name.split(",")) not in taken:
            session.find_once("layouts", "weak", "returns-wrong-shape",
                              f"normal numbers of shape {name}", wrong.came,
                              "an error, or y of the shape of x")  # fmt: skip


def _leave_out(session: Session, ndim: int, axis: int, mistake: str, came: str) -> None:
    """Say that a layout is accepted, but that the candidate hardly means it."""
    session.find_once(
        "layouts", "weak", mistake, f"normal numbers of shape {probes.layout(ndim, axis)}",
        f"y normalized along {came}" if "axis" in came else f"y with {came} normalized",
        "an error, or statistics over all axes but the channels'",
    )  # fmt: skip


def _look_at_types(session: Session) -> None:
    """See that each input type comes back as itself."""
    narrow: list[str] = []
    for dtype in session.candidate.kind.dtypes:
        ndim, axis = session.first
        batch = probes.by_hand(session.channels, ndim, axis)
        try:
            subject = session.subject(ndim, axis, batch=batch, dtype=dtype)
            session.y(subject, batch, training=session.trains)
        except (CandidateError, WrongReturn):
            continue
        if dtype == session.dtype:
            session.returned = subject.returned
        if subject.returned == dtype:
            continue
        bits = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}
        if bits.get(subject.returned, 64) > bits[dtype]:
            session.find_once("layouts", "note", "returns-other-type", f"x of {dtype}",
                              f"y of {subject.returned}", f"y of {dtype}")  # fmt: skip
        else:
            narrow.append(f"{subject.returned} for {dtype}")
    if narrow:
        half = any("16" in each.split()[0] for each in narrow)
        session.find("layouts", "wrong" if half else "weak", "returns-narrower-type",
                     "x of 64 or 32 bits", f"y of {', '.join(narrow)}",
                     "y of the type of x")  # fmt: skip


def _settable(session: Session) -> Statistics | None:
    """Return running statistics to set before a call, so that their use, or not, shows."""
    subject = session.subject(*session.first)
    if session.call("reading the running statistics", subject.running) is None:
        return None
    chosen = probes.statistics(session.channels)
    try:
        session.call("setting the running statistics", lambda: subject.set_running(chosen))
    except NotOffered:
        return None
    return chosen


def _find_eps(session: Session) -> None:
    """Take the declared eps, or measure it."""
    ndim, axis = session.first
    subject = session.subject(ndim, axis)
    if subject.eps is not None:
        session.eps = subject.eps
        session.fact("eps", f"{subject.eps:g}, as {'given' if subject.given else 'declared'}")
        return
    if not session.trains:
        return
    try:
        measured = _measure(session)
    except CandidateError:
        measured = None
    if measured is not None:
        session.eps = measured
        session.fact("eps", f"{measured:.3g}, measured")


def _measure(session: Session) -> float | None:
    """Return the eps that acts: from y for x = (-a, a, -a, a), as a goes down.

    Inside the root, y = a / sqrt(a² + eps); outside, y = a / (a + eps).
    """

    def amplitude(a: float) -> float:
        ndim, axis = session.first
        shape = probes.by_hand(session.channels, ndim, axis)
        signs: Array = np.where(np.arange(4) % 2, a, -a)
        rows = np.tile(signs, (session.channels, 1))
        x = np.moveaxis(rows.reshape(-1, *probes.BY_HAND[ndim]), 0, axis)
        batch = without_affine(Batch(x, shape.gamma, shape.beta, shape.dy, axis))
        y = session.y(session.subject(ndim, axis, batch=batch), batch)
        return float(np.abs(y).max())

    for a in (10.0**-exponent for exponent in range(9)):
        t = amplitude(a)
        if not np.isfinite(t):
            return None
        if t < 0.7:
            smaller = amplitude(a / 2)
            inside = [b**2 * (1 / s**2 - 1) for b, s in ((a, t), (a / 2, smaller))]
            outside = [b * (1 / s - 1) for b, s in ((a, t), (a / 2, smaller))]
            for one, two in (inside, outside):
                if abs(one - two) < 2e-3 * abs(one):
                    rounded = float(f"{one:.2g}")
                    return rounded if abs(rounded - one) < 1e-2 * one else one
            return None
    return None
