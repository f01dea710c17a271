"""The two functions of the paper, fast: compiled kernels that compute what bn.reference does.

``bn.kernels.numba_cpu``
    For arrays in the memory of the computer, compiled by Numba. ``pip install numba``, or this
    package with its extra ``fast``.
``bn.kernels.triton_gpu``
    For tensors on a GPU, compiled by Triton, which comes with PyTorch for CUDA.

A kernel's module is imported by name, because each needs a package of its own; nothing here
does. :func:`available` tells whether one can be used.
"""

import importlib

#: The kernels that there are.
KERNELS = ("numba_cpu", "triton_gpu")


def problem(name: str) -> str | None:
    """Return why a kernel cannot be used here, and what to do about it; None if it can.

    Raises
    ------
    ValueError
        If there is no kernel of that name.
    """
    if name not in KERNELS:
        raise ValueError(f"there is no kernel {name!r}; there are: {', '.join(KERNELS)}")
    try:
        importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        return str(error)
    return None


def available(name: str) -> bool:
    """Tell whether a kernel can be used here; the first time this imports it."""
    return problem(name) is None


__all__ = ["KERNELS", "available", "problem"]
