"""The batch norms of the layer table, and why some of them cannot be had here."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bn.bench import textbook
from bn.bench.cases import Case
from bn.bench.prepared import (
    Prepared,
    compiled,
    our_function,
    torch_function,
    with_jax,
    with_numba,
    with_numpy,
    with_torch,
)


@dataclass(frozen=True)
class Contender:
    """A batch norm to be timed.

    Attributes
    ----------
    name : str
        In records.
    title : str
        In tables.
    make : function
        Takes a :class:`~bn.bench.cases.Case`.
    problem : function
        Returns why it cannot be had here, or None.
    images : bool
        Only for shapes (N, C, H, W).
    ours : bool
    """

    name: str
    title: str
    make: Callable[[Case], Prepared]
    problem: Callable[[], str | None] = lambda: None
    images: bool = False
    ours: bool = False


# --- why not ---------------------------------------------------------------------------------


@functools.cache
def no_numba() -> str | None:
    """Return why there are no compiled kernels."""
    from bn.kernels import problem

    return problem("numba_cpu")


@functools.cache
def no_compiler() -> str | None:
    """Return why torch.compile has nothing to compile with."""
    names = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    if any(name and shutil.which(name.split()[0]) for name in names):
        return None
    return "torch.compile needs a C++ compiler, and there is none here"


def no_jax() -> str | None:
    """Return why there is no JAX."""
    return None if importlib.util.find_spec("jax") else "jax is not installed"


# --- the table -------------------------------------------------------------------------------


def _reference(case: Case) -> Prepared:
    from bn.reference import batch_norm_backward, batch_norm_forward

    return with_numpy(batch_norm_forward, batch_norm_backward, case)


def _steps(case: Case) -> Prepared:
    return with_numpy(textbook.forward_steps, textbook.backward_steps, case)


def _closed(case: Case) -> Prepared:
    return with_numpy(textbook.forward_closed, textbook.backward_closed, case)


def _torch(last: bool) -> Callable[[Case], Prepared]:
    return lambda case: with_torch(torch_function(), last, case)


def _ours(backend: str, last: bool) -> Callable[[Case], Prepared]:
    return lambda case: with_torch(our_function(backend), last, case)


def _numba(last: bool, mapped: bool) -> Callable[[Case], Prepared]:
    return functools.partial(with_numba, last, mapped)


LAST = "channels_last"
#: Whose first call compiles, so that it is worth telling how long it took.
COMPILE = ("compile", "jax")
CONTENDERS = (
    Contender("numpy-steps", "textbook NumPy, step by step", _steps),
    Contender("numpy-closed", "textbook NumPy, closed form", _closed),
    Contender("reference", "bn.reference", _reference),
    Contender("torch", "torch", _torch(False)),
    Contender("torch-last", f"torch, {LAST}", _torch(True), images=True),
    Contender(
        "compile",
        "torch.compile",
        lambda case: with_torch(compiled(torch_function()), False, case),
        no_compiler,
    ),
    Contender("jax", "jax.jit", with_jax, no_jax),
    Contender("numba", "kernels", _numba(False, False), no_numba, ours=True),
    Contender("numba-out", "kernels, into mapped memory", _numba(False, True), no_numba, ours=True),
    Contender("numba-last", f"kernels, {LAST}", _numba(True, False), no_numba, True, True),
    Contender(
        "numba-last-out", f"kernels, {LAST}, mapped", _numba(True, True), no_numba, True, True
    ),
    Contender("bn-auto", "bn.pytorch", _ours("auto", False), ours=True),
    Contender("bn-auto-last", f"bn.pytorch, {LAST}", _ours("auto", True), images=True, ours=True),
    Contender("bn-numba", "bn.pytorch, numba", _ours("numba", False), no_numba, ours=True),
    Contender("bn-reference", "bn.pytorch, reference", _ours("reference", False), ours=True),
)
BY_NAME = {each.name: each for each in CONTENDERS}


def fitting(shape: tuple[int, ...], quick: bool = False) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders for a shape that can be had here, and why the others cannot."""
    chosen = [each for each in CONTENDERS if len(shape) == 4 or not each.images]
    missing = {each.name: why for each in chosen if (why := each.problem()) is not None}
    if quick:
        missing |= {name: "compiling takes too long for a quick run" for name in COMPILE}
    return [each for each in chosen if each.name not in missing], missing
