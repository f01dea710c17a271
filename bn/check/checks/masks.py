"""Masks: what they leave out is wild, and must have no share in statistics and gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered, Subject, WrongReturn
from bn.check.checks.start import without_affine
from bn.check.diagnosis import UNIDENTIFIED, close
from bn.check.diagnosis.masks import (
    Masked,
    explain_masked,
    explain_masked_gradients,
    explain_masked_running,
    masked_gradients,
    masked_running,
)
from bn.check.formula import Array, Batch
from bn.check.gradients import Gradients
from bn.check.session import CandidateError, Session, Skipped
from bn.check.showing import short

WILD = 99.0  # what is left out is about as far away as this


@dataclass(frozen=True)
class Form:
    """How a candidate wants its mask."""

    dtype: str
    opposite: bool  # True marks what is left out
    channels: str  # what stands where x has its channels: "1", "C", or no axis at all

    def of(self, masked: Masked) -> Array:
        """Return the mask in this form."""
        mask = masked.mask != self.opposite
        if self.channels:
            mask = np.expand_dims(mask, masked.whole.axis)
        if self.channels == "C":
            mask = np.broadcast_to(mask, masked.whole.x.shape)
        return np.asarray(mask, self.dtype)

    def text(self, batch: Batch) -> str:
        """Return it in words."""
        layout = probes.layout(batch.x.ndim, batch.axis)
        shape = layout.replace("C", self.channels) if self.channels else layout.replace(", C", "")
        marks = "what is left out" if self.opposite else "what counts"
        return f"{self.dtype} of shape {shape}, {'True' if self.dtype == 'bool' else 1} for {marks}"


def masks(session: Session) -> str:
    """Feed a mask, where one is taken; compare with the values that count, taken alone."""
    if not session.trains:
        raise NotOffered("no training mode")
    if not session.subject(*session.first).masked:
        raise NotOffered("takes no mask")
    if session.forward is not None:
        raise Skipped("the forward pass is wrong without a mask already")
    preferred = min(session.layouts, key=lambda layout: (layout[0] != 3, layout[0]))
    refusals: list[str] = []
    for ndim, axis in dict.fromkeys((preferred, session.first)):
        cases = [
            _leave_out(session, make(session.channels, ndim, axis))
            for make in (probes.by_hand, probes.random)
        ]
        attempts = _attempts(session, cases, refusals)
        if attempts:
            break
    else:
        raise Skipped(f"no form of mask was taken: {refusals[0]}")
    form, mistake, ys = min(attempts, key=lambda each: (each[1] == UNIDENTIFIED, bool(each[1])))
    if mistake:
        pair = ys[0], cases[0].normalized(session.eps)
        came, expected = (f"y = {short(cases[0].take(y), 1, 0)} where it counts" for y in pair)
        session.find("masks", "wrong", mistake, _fed(session, cases[0]), came, expected)
        return mistake
    session.fact("mask", f"{form.text(cases[0].whole)}; {_padding(session, form, cases[-1])}")
    told = ["y", _gradients(session, form, cases), _running(session, form, cases[-1])]
    return ", ".join(each for each in told if each)


def _leave_out(session: Session, batch: Batch) -> Masked:
    """Leave out some of the values; make them wild, and their dy 0."""
    batch = batch if session.affine else without_affine(batch)
    lengths = tuple(batch.x.shape[a] for a in batch.others)
    kept = np.random.default_rng(probes.SEED).random(lengths) < 0.6
    kept.flat[:3], kept.flat[-1] = True, False
    gap = np.expand_dims(~kept, batch.axis)
    x, dy = np.where(gap, WILD + batch.x, batch.x), np.where(gap, 0, batch.dy)
    return Masked(replace(batch, x=x, dy=dy), kept)


def _ready(session: Session, form: Form, masked: Masked) -> Subject:
    subject = session.ready(masked.whole)
    subject.mask = form.of(masked)
    return subject


def _attempts(
    session: Session, cases: list[Masked], refusals: list[str]
) -> list[tuple[Form, str, list[Array]]]:
    """Try every form of mask; return those that were taken, with the mistake, and y."""
    attempts = []
    for choices in product(("bool", session.dtype), (False, True), ("1", "C", "")):
        form = Form(*choices)
        try:
            ys = [session.y(_ready(session, form, each), each.whole) for each in cases]
        except (CandidateError, WrongReturn) as refused:
            refusals.append(refused.came)
            continue
        mistake = explain_masked(zip(cases, ys, strict=True), session.eps, session.tolerance)
        attempts.append((form, mistake, ys))
        if not mistake:
            break
    return attempts


def _fed(session: Session, masked: Masked, *, dy: bool = False) -> str:
    marks = ", ".join("1" if each else "0" for each in masked.mask.flat)
    return f"{session.fed(masked.whole, dy=dy)}; mask = ({marks}), 1 for what counts"


def _padding(session: Session, form: Form, masked: Masked) -> str:
    """Say what y is where the mask leaves something out."""
    y = session.y(_ready(session, form, masked), masked.whole)
    batch, left_out = masked.whole, masked.opposite
    known = {
        "normalized too": masked.normalized(session.eps),
        "0": np.zeros_like(y),
        "x": batch.x,
        "beta": batch.along(batch.beta) + 0 * y,
    }
    for words, values in known.items():
        if close(left_out.take(y), left_out.take(values), session.tolerance, WILD):
            return f"y of what is left out is {words}"
    return "y of what is left out is something else"


def _gradients(session: Session, form: Form, cases: list[Masked]) -> str:
    """Compare dx, dgamma and dbeta, with dy = 0 for what is left out."""
    if any(each.check == "gradients" for each in session.report.wrong):
        return ""
    seen: list[tuple[Masked, Gradients]] = []
    try:
        for masked in cases:
            subject, batch = _ready(session, form, masked), masked.whole
            backward = partial(subject.backward, batch.x, batch.dy)
            came = session.call("backward with a mask", backward)
            seen.append((masked, came if session.affine else Gradients(came.dx)))
    except NotOffered:
        return ""
    found = explain_masked_gradients(seen, session.eps, session.tolerance)
    masked, gradients = seen[0]
    right = masked_gradients(masked, session.eps)
    for name, mistake in found.items():
        pair = np.asarray(getattr(gradients, name)), np.asarray(getattr(right, name))
        axis = masked.whole.axis if name == "dx" else None
        got, expected = (f"{name} = {short(values, axis)}" for values in pair)
        session.find("masks", "wrong", mistake, _fed(session, masked, dy=True), got, expected)
    return ", ".join(dict.fromkeys(found.values())) or "gradients"


def _running(session: Session, form: Form, masked: Masked) -> str:
    """Compare what one step makes of the running statistics, by the rule that was found."""
    if session.convention is None:
        return ""
    batch = masked.whole
    subject = session.subject(batch.x.ndim, batch.axis, batch=batch)
    subject.mask = form.of(masked)
    before = subject.running()
    session.y(subject, batch)
    after = subject.running()
    assert before is not None
    assert after is not None
    mistake = explain_masked_running(masked, before, after, session.convention, session.tolerance)
    if not mistake:
        return "running statistics"
    right = masked_running(masked, before, session.convention)
    session.find("masks", "wrong", mistake, _fed(session, masked),
                 f"running mean {short(after.mean)}, variance {short(after.var)} after",
                 f"running mean {short(right.mean)}, variance {short(right.var)}")  # fmt: skip
    return mistake
