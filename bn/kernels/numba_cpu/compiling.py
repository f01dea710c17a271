"""How the kernels are compiled, and that they are compiled once."""

import zlib
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from llvmlite import binding as llvm
from numba import cfunc, extending, njit, types
from numba.core.registry import cpu_target

Function = TypeVar("Function", bound=Callable[..., Any])

#: ``_nrt``: nothing here allocates or owns an array. So Numba need not count references to
#: arrays, which it would do by an atomic operation for each row and array: on short rows that
#: took ten times as long as batch norm. The price: a function cannot return an array.
OPTIONS = {"forceinline": True, "error_model": "numpy", "_nrt": False}


def inlined(function: Function) -> Function:
    """Compile a function as a part of those that call it."""
    made: Function = njit(**OPTIONS)(function)
    return made


def reordered(function: Function) -> Function:
    """Do the same, and let the compiler change the order of additions."""
    made: Function = njit(fastmath={"reassoc"}, **OPTIONS)(function)
    return made


def called(function: Function) -> Function:
    """Compile a function that may return arrays."""
    made: Function = njit(function)
    return made


def instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function for compiled code of one that writes LLVM's instructions."""
    made: Callable[..., Any] = extending.intrinsic(prefer_literal=True)(function)
    return made


def by_type(name: Callable[..., Any]) -> Callable[[Function], Function]:
    """Say what a function is in compiled code, by what is chosen for the types it gets."""
    made: Callable[[Function], Function] = extending.overload(name, jit_options=OPTIONS)
    return made


#: float32 to float16 and back, in LLVM's language.
_FLOAT16 = """
define float @there_and_back(float %x) {
  %half = fptrunc float %x to half
  %y = fpext half %half to float
  ret float %y
}
"""


@cache
def converts_float16() -> bool:
    """Tell whether the processor that Numba compiles for has instructions for float16.

    Where it has none (x86 without F16C) LLVM writes calls of functions that no library here
    contains, and ends the process when it does not find them. Which processor it is can be set
    by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES; Numba's machine code on disk is kept for each.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_FLOAT16))
    return not any(called in assembly for called in ("hfsf2", "sfhf2", "h2f_ieee", "f2h_ieee"))


def kernel(make: Callable[..., Callable[[Any], None]]) -> Callable[..., int]:
    """Return a function that compiles what `make` makes of its arguments, and gives its address.

    It compiles at the first call, or finds the machine code on disk, in ``__pycache__`` or in
    the folder that Numba uses where that cannot be written to. The first argument of `make` is
    a number that stands for the source of all these modules: Numba by itself would look for
    changes only in the file of the function that it compiles.
    """
    made: dict[tuple[Any, ...], Any] = {}  # the machine code lives as long as what is in here

    @wraps(make)
    def address(*options: Any) -> int:
        if options not in made:
            # if another thread was faster, its is taken, and this one is dropped unused
            made.setdefault(options, _compiled(make(STAMP, *options)))
        return int(made[options].address)

    return address


def _compiled(function: Callable[[Any], None]) -> Any:
    signature = types.void(types.voidptr)
    try:
        return cfunc(signature, cache=True)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return cfunc(signature)(function)  # there is nowhere to keep it


def _source_stamp() -> int:
    """Return a number that changes when any module of this package does."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return zlib.crc32(b"".join(source.read_bytes() for source in sources))


STAMP = _source_stamp()
