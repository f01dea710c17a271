"""Batch normalization on the CPU, compiled by Numba: forward and backward, ReLU and residual.

``batch_norm_forward``, ``batch_norm_backward``, ``batch_norm_inference``
    As in :mod:`bn.reference`, with the options ``relu``, ``residual`` and ``out``.
``arrays``
    The same for callers that have checked their arguments, such as bn.pytorch.

Batch norm does almost no arithmetic; it moves memory. So these kernels read each value from
memory as few times as possible, write past the caches what will not fit in them, and get from
the operating system what is cheap to write to. ``planes`` and ``rows`` say how; ``threads``
says whose threads do it.

The first call with a new type or option compiles, which takes some seconds; later processes
find the machine code on disk. Results do not depend on the number of threads.
"""

try:
    import numba as _numba  # noqa: F401
except ImportError as error:  # not there, or not made for this NumPy
    raise ImportError(
        f"bn.kernels.numba_cpu needs Numba, which cannot be imported here ({error}). Get it with "
        "`pip install --upgrade numba`; bn.reference does the same without it, more slowly",
        name="numba",
    ) from error

from bn.kernels.numba_cpu.arrays import Gradients, Statistics
from bn.kernels.numba_cpu.functions import (
    KernelCache,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)

__all__ = [
    "Gradients",
    "KernelCache",
    "Statistics",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
]
