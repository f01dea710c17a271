"""Batch normalization on a GPU, as kernels in Triton: forward and backward, ReLU and residual.

``forward``, ``backward``, ``inference``
    For tensors, without a look at the arguments; bn.pytorch has the functions that check.
``problem``, ``can_run``
    Whether the kernels can run here, and if not, why.

``tile`` has what every kernel does, ``forward_kernels`` and ``backward_kernels`` the kernels,
``grid`` how x is cut into tiles, and ``tensors`` launches.

Triton compiles a kernel when it is first called with a new combination of types and options,
which takes some seconds, and keeps the machine code in ``~/.triton``. With the environment
variable ``TRITON_INTERPRET=1``, set before Triton is first imported, nothing is compiled: NumPy
executes the programs one after the other, on tensors of the CPU. That takes milliseconds for each
program, so it is for reading and for small tests.
"""

try:
    import torch
    import triton
except ImportError as error:
    raise ImportError(
        f"bn.kernels.triton_gpu needs PyTorch and Triton, and one cannot be imported ({error}). "
        "On Linux, PyTorch for CUDA (pytorch.org) brings its Triton along; beside another "
        "PyTorch, `pip install triton`. bn.pytorch works without it",
        name=error.name,
    ) from error

from bn.kernels.triton_gpu.forward_kernels import normalize as _some_kernel
from bn.kernels.triton_gpu.tensors import Gradients, Statistics, backward, forward, inference

#: The oldest GPUs that Triton compiles for, by their compute capability.
OLDEST = (7, 0)


def interpreted() -> bool:
    """Tell whether Triton interprets the kernels: whether TRITON_INTERPRET was 1 at its import."""
    return not isinstance(_some_kernel, triton.JITFunction)


def problem() -> str | None:
    """Return why the kernels cannot run here, and what to do about it; None if they can."""
    if interpreted():
        return None
    if not torch.cuda.is_available():
        return (
            "PyTorch sees no GPU here that Triton compiles for. Use a machine with one and PyTorch "
            "for CUDA; or set TRITON_INTERPRET=1 before Python starts, to try the kernels on the "
            "CPU, slowly"
        )
    if torch.version.hip is None and torch.cuda.get_device_capability() < OLDEST:
        name = torch.cuda.get_device_name()
        return f"Triton compiles for GPUs of compute capability 7.0 or later; {name} is older"
    return None


def can_run() -> bool:
    """Tell whether the kernels can run here: on a GPU, or in Triton's interpreter."""
    return problem() is None


__all__ = [
    "Gradients",
    "Statistics",
    "backward",
    "can_run",
    "forward",
    "inference",
    "interpreted",
    "problem",
]
