"""Memory: the same numbers in other layouts of memory, and an input that is left alone."""

from __future__ import annotations

from functools import partial

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.forward import batches
from bn.check.diagnosis import error
from bn.check.session import CandidateError, Session
from bn.check.showing import short


def memory(session: Session) -> str:
    """Feed transposed and strided inputs; y must be that of the contiguous one."""
    if not session.trains:
        raise NotOffered("no training mode")
    told: list[str] = []
    for ndim, axis in dict.fromkeys((session.first, session.richest)):
        batch = batches(session, ndim, axis)[-1]
        subject = session.subject(ndim, axis, batch=batch)
        plain = session.y(subject, batch)
        where = probes.layout(ndim, axis)
        try:
            found = session.call(
                f"forward of {where} in other memory layouts", partial(subject.relaid, batch.x)
            )
        except CandidateError as refused:
            session.find_once("memory", "weak", "memory-layout-refused",
                              f"{where}, not contiguous", refused.came, "y")  # fmt: skip
            continue
        for name, y in found.items():
            told.append(name)
            if y.shape != plain.shape or error(y, plain) > session.tolerance:
                session.find_once("memory", "wrong", "memory-layout", f"{where}, {name}",
                                  f"y = {short(y)}", f"y = {short(plain)}")  # fmt: skip
    if not told and not session.report.findings:
        raise NotOffered("arrays have one layout only")
    return ", ".join(dict.fromkeys(told))
