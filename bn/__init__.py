"""Batch normalization: a reference implementation beside the book that derives it.

``import bn`` loads nothing but :func:`tune_allocator`; each part loads what it needs, and
bn.reference NumPy alone:

``bn.reference``
    Algorithm 1 and 2 of the paper, forward and backward, in NumPy.
``bn.layers``
    The other layers that a small network needs, in NumPy.
``bn.pytorch``
    The same for PyTorch: a custom operator, and modules that take the place of torch.nn's.
``bn.kernels``
    The two functions fast: compiled by Numba on the CPU, by Triton on a GPU.
``bn.check``
    Checks anybody's batch norm, whatever it is made with, and names the mistake.
``bn.data``
    MNIST and CIFAR-10, complete and verified.
``bn.experiments``
    The paper's experiments, and the records that they leave.
``bn.bench``
    How fast all of it is, beside what else there is, on the machine at hand.
``bn.style``
    One plotting style.

Paper: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift", 2015, arXiv:1502.03167.
"""

from bn.allocator import tune_allocator

__version__ = "0.1.0"

__all__ = ["tune_allocator"]
