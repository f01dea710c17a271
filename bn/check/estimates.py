"""Check what estimates the population's statistics from mini-batches, or merges shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bn.check.adapters.arrays import Arrays, NumpyArrays
from bn.check.adapters.estimators import FORMS, Estimator, Form
from bn.check.adapters.recognise import framework_of
from bn.check.candidate import NotOffered, WrongReturn
from bn.check.diagnosis import UNIDENTIFIED
from bn.check.diagnosis.population import Estimate, Shards, Task, expected, explain_population
from bn.check.execution import make_checks
from bn.check.formula import Statistics
from bn.check.names import UsageError
from bn.check.report import Report, Severity
from bn.check.runner import TIMEOUT
from bn.check.session import CandidateError, Session, Skipped
from bn.check.showing import short

#: Three mini-batches with two channels. One of them alone, all of one size, and of different sizes.
MEANS = np.array([[1.0, 4], [2, -1], [6, 0]])
VARIANCES = np.array([[2.0, 1], [1, 5], [3, 0.5]])
ALONE = Shards(MEANS[:1], VARIANCES[:1], np.array([4]))
EQUAL = Shards(MEANS, VARIANCES, np.array([4, 4, 4]))
DIFFERENT = Shards(MEANS, VARIANCES, np.array([2, 4, 10]))
FAR = Shards(1e8 + MEANS, VARIANCES, np.array([4, 4, 4]))
DIGITS = 1e-6  # how far the variance may be off, relative, when the means are far from zero

Seen = list[tuple[Shards, Statistics]]


def population(
    candidate: Callable[..., Any],
    *,
    task: Task | None = None,
    strict: bool = False,
    timeout: float = TIMEOUT,
    framework: str | None = None,
    name: str | None = None,
) -> Report:
    """Check a function that makes one mean and variance of those of many mini-batches.

    Parameters
    ----------
    candidate : function
        ``f(means, variances, counts) -> mean, var`` or ``mean, var, count``, on NumPy arrays or
        torch tensors: means and biased variances of shape (B, C), counts of shape (B,) or (B, 1),
        or one number. Or ``f(mean_a, var_a, n_a, mean_b, var_b, n_b)`` for two shards.
    task : {"population", "merge"}, optional
        What it is for. "population": to estimate the statistics of the population, as Algorithm 2
        of the paper does (section 3.1); moving and pooled estimates are conventions. "merge": to
        merge the statistics of shards into those of all their values, exactly. Default:
        "merge" if its name says so, or if it takes two shards.
    strict, timeout, framework, name
        As in :func:`batch_norm`.

    Returns
    -------
    Report
        ``report.conventions["estimate"]`` says which one it is.

    Raises
    ------
    UsageError
        A TypeError: if `candidate` is no such function.
    """
    if not callable(candidate) or isinstance(candidate, type):
        raise UsageError(
            f"the candidate is of type {type(candidate).__name__}, expected a function"
        )
    title = name or getattr(getattr(candidate, "func", candidate), "__qualname__", "a function")
    session = Estimates(Report(candidate=str(title), kind="unknown", strict=strict))

    def start(session: Estimates) -> None:
        library = framework or framework_of(candidate)
        session.estimator = Estimator(candidate, _arrays(library), task)
        kind = {"numpy": "NumPy"}.get(library, library)
        session.report.kind = f"{kind} function, {session.estimator.task}"

    return make_checks(session, start, CHECKS, timeout)


def _arrays(library: str) -> Arrays:
    if library != "torch":
        return NumpyArrays()
    from bn.check.adapters.torch_arrays import TorchArrays

    return TorchArrays()


class Estimates(Session):
    """A function of statistics under check."""

    estimator: Estimator
    found = Estimate(UNIDENTIFIED)  # until it is known
    stopped = False

    def ask(self, shards: Shards) -> Statistics:
        """Return what the function makes of shards; see that it counts them right."""
        sizes = ", ".join(map(str, shards.counts.tolist()))
        came, count = self.call(f"sizes {sizes}", lambda: self.estimator(shards))
        shape = shards.means[0].shape
        if not came.mean.shape == came.var.shape == shape:
            told = f"shapes {came.mean.shape} and {came.var.shape}"
            raise WrongReturn("returns-wrong-shape", told, f"shape {shape} twice")
        if count is not None and not np.all(count == shards.total):
            told = f"count {short(count)}"
            self.find_once("estimate", "wrong", UNIDENTIFIED, _words(shards), told,
                           f"count {shards.total:g}")  # fmt: skip
        return came


def _words(shards: Shards) -> str:
    """Return what is fed: the first channel."""
    return (
        f"means {short(shards.means[:, 0])}, biased variances {short(shards.variances[:, 0])}, "
        f"sizes {short(shards.counts)}"
    )


def estimate(session: Estimates) -> str:
    """Find the convention, or the mistake, behind mini-batches of one size and of several."""
    attempts, problems = [], []
    for form in FORMS:
        session.estimator.form = form
        try:
            attempts.append((*_attempt(session), form))
        except (CandidateError, WrongReturn) as problem:
            problems.append(problem)
    if not attempts:
        raise problems[0]

    def rank(attempt: tuple[Seen, Estimate, str, Form]) -> tuple[bool, bool, bool]:
        _, found, refused, _ = attempt
        return found.mistake == UNIDENTIFIED, bool(refused), bool(found.mistake)

    seen, session.found, refused, session.estimator.form = min(attempts, key=rank)
    task, mistake = session.estimator.task, session.found.mistake
    if refused and task == "merge":
        session.find("estimate", "wrong", "raises", _words(DIFFERENT), refused, "mean, var")
    elif refused:
        session.fact("sizes that differ", f"refused: {refused}")
    if not mistake:
        session.fact("estimate", session.found.convention)
        return session.found.convention
    shards, came = seen[-1]
    should = [
        f"mean {right.mean[0]:.6g}, variance {right.var[0]:.6g}: {convention}"
        for convention, right in expected(shards, task).items()
    ]
    told = f"mean {came.mean[0]:.6g}, variance {came.var[0]:.6g}"
    session.find("estimate", "wrong", mistake, _words(shards), told, "\n".join(should))
    return mistake


def _attempt(session: Estimates) -> tuple[Seen, Estimate, str]:
    """Return what came, what explains it, and why sizes that differ were refused."""
    seen = [(shards, session.ask(shards)) for shards in (ALONE, EQUAL)]
    refused = ""
    try:
        seen.append((DIFFERENT, session.ask(DIFFERENT)))
    except NotOffered as reason:
        refused = str(reason)
    except CandidateError as reason:
        refused = reason.came
    return seen, explain_population(seen, session.estimator.task, 1e-9), refused


def large_means(session: Estimates) -> str:
    """Move the means far from zero; the variance must stay as it is."""
    if session.found.mistake:
        raise Skipped("the estimate is wrong at small means already")
    near, far = (session.ask(shards).var for shards in (EQUAL, FAR))
    off = float(np.nan_to_num(np.abs(far / near - 1), nan=np.inf).max())
    if off > DIGITS:
        severity: Severity = "weak" if np.isfinite(off) else "wrong"
        told = f"variance {short(far)}, off by {off:.0e}"
        session.find("large means", severity, "one-pass-variance", _words(FAR), told, short(near))
        return "one-pass-variance"
    return f"1e+08: off by {off:.0e}"


CHECKS: dict[str, Callable[[Estimates], str]] = {"estimate": estimate, "large means": large_means}
