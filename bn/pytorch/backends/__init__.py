"""Who computes: four implementations of the same two functions, and the choice among them.

``reference``
    Plain operations of torch. They are the truth here, and run on every device.
``numba``
    The kernels of :mod:`bn.kernels.numba_cpu`, for tensors in the memory of the computer.
``triton``
    The kernels of :mod:`bn.kernels.triton_gpu`, for CUDA.
``torch``
    torch's own batch norm, with its accuracy: to compare with, or where its speed is wanted.
``auto``
    numba on the CPU where Numba is installed, reference everywhere else.

The choice is made inside the operators, when there are values: the compiler sees of it only
whether gates are going to be kept.
"""

import importlib
from functools import cache
from typing import Any, Literal, get_args

from torch import Tensor

Backend = Literal["auto", "reference", "numba", "torch", "triton"]
BACKENDS = get_args(Backend)

#: Module of each, in this package.
MODULES = {
    "reference": "reference",
    "numba": "numba_cpu",
    "torch": "native",
    "triton": "triton_gpu",
}


def check_backend(backend: Any) -> None:
    """Raise ValueError unless `backend` names one."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {BACKENDS}")


def choose(backend: str, x: Tensor) -> Any:
    """Return the module that computes on `x`.

    Raises
    ------
    ImportError
        If it needs a package that is missing.
    ValueError
        If it cannot compute where `x` is.
    """
    if x.numel() == 0:
        return module_of("reference")  # where there is nothing to do, nothing else is needed
    if backend == "auto":
        numba = module_of("numba")
        return numba if numba.problem(x) is None else module_of("reference")
    module = module_of(backend)
    problem = module.problem(x)
    if problem is not None:
        raise problem
    return module


def keeps_gates(backend: str, x: Tensor) -> bool:
    """Tell whether the forward pass on `x` keeps gates, see :mod:`bn.pytorch.gates`.

    Told of tensors without values, too, and then of what will be, so nothing is an error here.
    """
    if x.device.type != "cpu" or backend not in ("auto", "numba") or x.numel() == 0:
        return False
    return module_of("numba").problem(x) is None


@cache
def module_of(backend: str) -> Any:
    """Return the module of a backend; it is imported when it is first asked for."""
    return importlib.import_module(f"{__name__}.{MODULES[backend]}")
