"""State: what is saved has to hold all that inference needs."""

from __future__ import annotations

import numpy as np

from bn.check import probes
from bn.check.candidate import NotOffered
from bn.check.checks.forward import batches
from bn.check.diagnosis import error
from bn.check.session import Session
from bn.check.showing import short


def state(session: Session) -> str:
    """Train, save, restore in a new instance, and compare inference."""
    ndim, axis = session.first
    batch = batches(session, ndim, axis)[0]
    subject = session.subject(ndim, axis, batch=batch)
    if subject.running() is None or not session.trains:
        raise NotOffered("no running statistics to save")
    for seed in range(3):
        session.y(subject, probes.random(session.channels, ndim, axis, seed=seed))
    new, how = session.call("saving and restoring", subject.reloaded)
    before, after = (session.y(each, batch, training=False, graph=False) for each in (subject, new))
    if error(after, before) > session.tolerance:
        old, restored = subject.running(), new.running()
        lost = restored is None or old is None or not np.allclose(old.mean, restored.mean)
        session.find(
            "state", "wrong", "state-not-saved" if lost else "parameters-not-saved",
            f"three steps of training, then inference of {session.fed(batch)}; and again after "
            f"{how}, in a new instance",
            f"y = {short(before, batch.axis, 0)}, then {short(after, batch.axis, 0)}",
            "the same twice", batch,
        )  # fmt: skip
    return f"by {how}"
