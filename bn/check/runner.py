"""Run the checks on one candidate, within a time limit."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
import warnings
from typing import Any

from bn.check.adapters import recognise
from bn.check.candidate import NotOffered, WrongReturn
from bn.check.checks import CHECKS
from bn.check.names import UsageError
from bn.check.report import Finding, Report, Row, Status
from bn.check.session import CandidateError, Repeated, Session, Skipped, TimeUp

TIMEOUT = 60.0
SEVERITIES: tuple[Status, ...] = ("wrong", "weak")


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
        ``running_mean, running_var, momentum, training, axis``, or all settings in a dictionary
        ``bn_param`` with the keys mode ("train" or "test"), eps, momentum, running_mean and
        running_var.
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
    started = time.monotonic()
    title = name or getattr(candidate, "__qualname__", None) or _name(candidate)
    report = Report(candidate=str(title), kind="unknown", strict=strict)
    session = Session(report)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            _check(session, candidate, framework)
        except TimeUp:
            pass  # reported below
        except BaseException as error:  # of this package, or UsageError: for the caller
            problems.append(error)

    with warnings.catch_warnings():  # here and not in the thread, which may never come back
        warnings.simplefilter("ignore")
        context = contextvars.copy_context()  # the caller's settings hold in the thread too
        thread = threading.Thread(target=context.run, args=(work,), daemon=True, name="bn.check")
        thread.start()
        try:
            thread.join(timeout)
        except BaseException:
            _stop(thread)
            raise
    if thread.is_alive():
        activity = session.activity
        _stop(thread)
        report = _unfinished(report, activity, timeout)
    elif problems:
        raise problems[0]
    report.seconds = time.monotonic() - started
    return report


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


def _check(session: Session, candidate: Any, framework: str | None) -> None:
    """Make every check, whatever the earlier ones found."""
    report = session.report
    try:
        session.candidate = session.call(
            "making an instance", lambda: recognise(candidate, framework)
        )
    except CandidateError as error:
        session.find("layouts", "wrong", "raises", "its own class", error.came, "an instance")
        report.rows.append(Row("layouts", "wrong", "raises"))
        return
    report.kind = session.candidate.kind.name
    stopped = False
    for name, check in CHECKS.items():
        if stopped:
            report.rows.append(Row(name, "not checked"))
            continue
        report.rows.append(_row(session, name, check))
        stopped = not session.layouts  # nothing came through


def _row(session: Session, name: str, check: Any) -> Row:
    status: Status = "right"
    try:
        detail = check(session)
    except NotOffered as reason:
        status, detail = "not offered", str(reason)
    except Skipped as reason:
        status, detail = "not checked", str(reason)
    except Repeated as reason:
        status, detail = "wrong", str(reason)
    except WrongReturn as wrong:
        detail = wrong.mistake
        session.find(name, "wrong", wrong.mistake, session.activity, wrong.came, wrong.expected)
    except CandidateError as error:
        detail = error.came
        known = {each.came for each in session.report.findings}
        if error.came not in known:
            session.find(name, "wrong", "raises", session.activity, error.came, "no error")
        status = "wrong"
    found = {each.severity for each in session.report.findings if each.check == name}
    for severity in SEVERITIES:
        if severity in found:
            status = severity
            break
    return Row(name, status, detail)


def _unfinished(report: Report, activity: str, timeout: float) -> Report:
    """Return a copy of the report as it stood when time was up, so that nothing adds to it."""
    done = [row.check for row in report.rows]
    rows = list(report.rows)
    left = [name for name in CHECKS if name not in done]
    check = left[0] if left else "layouts"
    finding = Finding(
        check, "wrong", "hangs", activity, f"no answer within {timeout:.3g} s", "an answer"
    )
    rows += [Row(name, "wrong" if name == check else "not checked") for name in left]
    return Report(
        report.candidate, report.kind, rows, dict(report.conventions),
        [*report.findings, finding], report.strict,
    )  # fmt: skip


def _stop(thread: threading.Thread) -> None:
    """Ask a thread to end: an endless loop in Python does, code that waits in C goes on.

    It is a daemon, so it does not keep the process alive.
    """
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp)
        )
        thread.join(1.0)


__all__ = ["UsageError", "assert_batch_norm", "batch_norm"]
