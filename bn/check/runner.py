"""Check one candidate: a function, a layer, or a class of layers."""

from __future__ import annotations

from typing import Any

from bn.check.adapters import recognise
from bn.check.checks import CHECKS
from bn.check.execution import make_checks
from bn.check.report import Report
from bn.check.session import Session

TIMEOUT = 60.0


def batch_norm(
    candidate: Any,
    *,
    strict: bool = False,
    timeout: float = TIMEOUT,
    framework: str | None = None,
    name: str | None = None,
) -> Report:
    """Check anybody's batch norm, and report like a reviewer.

    Parameters
    ----------
    candidate : object
        A function ``f(x, gamma, beta, eps)`` on NumPy arrays or torch tensors that returns y, or
        (y, cache); a tuple (forward, backward) or (forward, backward, double_backward) of such
        functions, where ``backward(dy, cache)`` returns dx, dgamma, dbeta; a class or an
        instance with ``forward`` and ``backward`` on NumPy arrays; a ``torch.nn.Module``, a Keras
        layer or a Flax module, as class or instance; or a function without arguments that makes
        one. Parameters and attributes may have the usual names (``weight`` or ``scale`` for
        gamma, ``moving_mean`` for running_mean, and so on); functions may also take
        ``running_mean, running_var, momentum, training, axis, mask``, or all settings in a
        dictionary ``bn_param`` with the keys mode ("train" or "test"), eps, momentum,
        running_mean and running_var.
    strict : bool
        Whether warnings fail too.
    timeout : float
        Seconds for all checks together.
    framework : {"numpy", "torch"}, optional
        What the arrays of a function are, where its code does not show it.
    name : str, optional
        What the report calls it.

    Returns
    -------
    Report
        ``report.passed``, ``report.findings`` and ``report.conventions``; printing it shows all.

    Raises
    ------
    UsageError
        A TypeError: if `candidate` is none of these, or cannot be called without knowing more.
    """
    title = name or getattr(candidate, "__qualname__", None) or _name(candidate)
    session = Session(Report(candidate=str(title), kind="unknown", strict=strict))

    def start(session: Session) -> None:
        session.candidate = recognise(candidate, framework)
        session.report.kind = session.candidate.kind.name

    return make_checks(session, start, CHECKS, timeout)


def assert_batch_norm(candidate: Any, **options: Any) -> Report:
    """Raise AssertionError, with the report as its text, unless the candidate passes.

    For tests of one's own. Takes what :func:`batch_norm` takes, and returns its report.
    """
    report = batch_norm(candidate, **options)
    if not report.passed:
        raise AssertionError(f"\n{report}")
    return report


def _name(candidate: Any) -> str:
    if isinstance(candidate, (tuple, list)):
        return ", ".join(getattr(each, "__qualname__", "?") for each in candidate)
    return type(candidate).__qualname__
