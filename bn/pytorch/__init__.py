"""Batch normalization in PyTorch: our own forward and backward, on the CPU, CUDA and MPS.

``batch_norm_forward`` and ``batch_norm_backward``
    The pair of :mod:`bn.reference`, on tensors.
``batch_norm``
    The same with running statistics, for use inside a network.
``BatchNorm1d``, ``BatchNorm2d``, ``BatchNorm3d``
    Drop-ins for the modules of torch.nn.
``BatchNormReLU``, ``BatchNormAddReLU``
    Batch norm and what follows it in a residual network, in one operator.
``convert``
    Swap the batch norms of a whole model.
``fuse``
    Let each batch norm of a model and the ReLU after it run as one.

Forward and backward are operators of torch in closed form, and so is the gradient of the
gradient. Therefore they work with autograd (twice), ``torch.compile``, ``torch.export``, autocast
and every memory format. (Whoever loads an exported program needs the operators, too: ``import
bn.pytorch`` before.) For torch.func and forward-mode derivatives, of any order, the formula is
computed in plain operations of torch (``bn/pytorch/formula.py``), whatever the backend.

Which code computes is chosen by ``backend``:

``"auto"``
    ``"numba"`` on the CPU where Numba is installed (``pip install numba``), whatever the shape;
    ``"reference"`` everywhere else.
``"reference"``
    Plain operations of torch, on every device. Several passes over the data, so slow.
``"numba"``
    The kernels of :mod:`bn.kernels.numba_cpu`: as right as the reference, and on most shapes
    faster than torch.nn. The first call with a new type of input compiles for some seconds;
    the machine code is kept on disk. A tensor of some hundred thousand values or fewer takes
    longer than in torch.nn: what Python does around a kernel takes some tenths of a millisecond.
``"triton"``
    The kernels of :mod:`bn.kernels.triton_gpu`, for CUDA. Half precision is computed in float32
    there. Not chosen by "auto" yet: so far they have been run in Triton's interpreter only.
``"torch"``
    torch's own kernels, with their speed and their accuracy: none of the first rows below holds.

The first rows below are why one would use this package, the last are its limits:

============================  ================================  ================================
case                          torch.nn                          here
============================  ================================  ================================
mean 1e6, std 1, float32      y wrong by 0.01 and more          y right to 1e-6
constant channel              y may be far from beta            y is exactly beta
values near 1e30, float32     y is 0                            y is right
half precision                y off by more than a unit of its  computed in float64 and rounded
                              last place where beta nearly      once; on a GPU in float32, which
                              cancels gamma x_hat (float16)     is not always enough
variance beyond float64       y is 0                            OverflowError; on a GPU y is right
differences beyond float32    y is NaN                          OverflowError; on a GPU y is NaN
NaN or infinity in a batch    running statistics spoilt for     statistics and counter stay; y
                              ever                              shows it; or an error (option
                                                                ``nonfinite``)
negative running variance     y is NaN                          ValueError; on a GPU y is NaN
(N, C, L, 1), dy transposed   dx wrong by its own size, on the  right
                              CPU (torch 2.6 to 2.14)
evaluation, step, backward    dx of the evaluation is made      right
                              with the moved statistics: wrong
activation checkpointing      running statistics move twice     once (twice if the module is
                                                                compiled by itself)
training in a backward hook   running statistics move           they stay: taken for the above
buffers moved, then backward  RuntimeError (two forwards)       allowed
empty batch in training       counted                           not counted
eps = 0 in training           refused                           allowed; a constant channel is an
                                                                error, on a GPU NaN
running variance              m/(m-1) var                       the same, or var (option
                                                                ``unbiased=False``)
options out of range          accepted                          ValueError
wrong number of channels      RuntimeError, or accepted if      ValueError
                              nothing is learned or tracked
float64 input, float32        RuntimeError                      computed in float64
module
third derivative              wrong in training                 NotImplementedError; torch.func
                                                                gives it
momentum = None, compiled     a break in the graph              compiled as a whole
torch.jit.script              works                             refused: ``convert`` to torch.nn
                                                                before; so too for ONNX
torch.ao.quantization         folds it into the convolution     refused, or (FX) left by itself:
                                                                ``convert`` to torch.nn before
============================  ================================  ================================

Under torch.func and in forward mode no value is looked at, as on a GPU: NaN where the table has an
error. Everything is computed in float64 there, so differences beyond float32 are right.

``torch.vmap`` takes the statistics of each slice by itself. A module that is training needs
running statistics for each slice, as ``torch.func.stack_module_state`` makes them; with one set
for all it is a RuntimeError, as in torch.nn.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "bn.pytorch needs PyTorch, which is not installed here. Get it with `pip install torch`, "
        "or choose the build for your machine on https://pytorch.org/get-started/locally",
        name="torch",
    ) from error

from bn.pytorch.convert import convert
from bn.pytorch.functional import (
    BatchNormCache,
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)
from bn.pytorch.fuse import fuse
from bn.pytorch.fused import BatchNormAddReLU, BatchNormReLU
from bn.pytorch.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d
from bn.pytorch.running import update_running

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormAddReLU",
    "BatchNormCache",
    "BatchNormReLU",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "convert",
    "fuse",
    "update_running",
]
