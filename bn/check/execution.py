"""Makes checks one after the other within a time limit, whatever the candidate does."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

from bn.check.candidate import NotOffered, WrongReturn
from bn.check.report import Finding, Report, Row, Status
from bn.check.session import CandidateError, Repeated, Session, Skipped, TimeUp

S = TypeVar("S", bound=Session)
Checks = Mapping[str, Callable[[S], str]]
SEVERITIES: tuple[Status, ...] = ("wrong", "weak")


def make_checks(
    session: S, recognise: Callable[[S], None], checks: Checks[S], timeout: float
) -> Report:
    """Recognise the candidate, make every check, and return the report.

    What is wrong with the call, and not with the candidate, is raised (UsageError).
    """
    started = time.monotonic()
    report = session.report
    problems: list[BaseException] = []

    def work() -> None:
        try:
            _check(session, recognise, checks)
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
        report = _unfinished(report, list(checks), activity, timeout)
    elif problems:
        raise problems[0]
    report.seconds = time.monotonic() - started
    return report


def _check(session: S, recognise: Callable[[S], None], checks: Checks[S]) -> None:
    """Make every check, whatever the earlier ones found."""
    report = session.report
    try:
        session.call("making an instance", lambda: recognise(session))
    except CandidateError as error:
        first = next(iter(checks))
        session.find(first, "wrong", "raises", "its own class", error.came, "an instance")
        report.rows.append(Row(first, "wrong", "raises"))
        return
    stopped = False
    for name, check in checks.items():
        if stopped:
            report.rows.append(Row(name, "not checked"))
            continue
        report.rows.append(_row(session, name, check))
        stopped = session.stopped


def _row(session: S, name: str, check: Callable[[S], str]) -> Row:
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


def _unfinished(report: Report, checks: list[str], activity: str, timeout: float) -> Report:
    """Return a copy of the report as it stood when time was up, so that nothing adds to it."""
    done = [row.check for row in report.rows]
    rows = list(report.rows)
    left = [name for name in checks if name not in done]
    check = left[0] if left else checks[0]
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
