"""Batch normalization as functions of tensors: the pair of the reference, and one for daily use.

``batch_norm_forward`` and ``batch_norm_backward`` are the pair of :mod:`bn.reference`, with an
explicit cache. ``batch_norm`` is the function behind the modules: autograd calls the backward
pass, and running statistics are kept. Both use the same operators, so both are differentiable
twice, and both run wherever the tensors are.
"""

from typing import NamedTuple

from torch import Tensor

from bn.pytorch import formula
from bn.pytorch.backends import Backend, check_backend
from bn.pytorch.checks import check_channels, check_input, check_residual, check_upstream
from bn.pytorch.eager import in_backward_pass, is_transformed, unseen_copies
from bn.pytorch.inference import batch_norm_inference_op
from bn.pytorch.running import NonFinite, update_from
from bn.pytorch.training import batch_norm_backward_op, train
from bn.reference.checks import as_axis, check_batch, check_eps, check_known


class BatchNormCache(NamedTuple):
    """What the backward pass needs to know of the forward pass.

    Attributes
    ----------
    x : tensor
        The mini-batch itself, not x_hat: it is kept anyway, and x_hat is quickly had again.
    gamma : tensor, shape (C,), or None
    statistics : tensor, shape (4, C)
        In float64 where the device has it: pivot and offset, whose sum is the mean, with more
        digits where there is no float64; the biased variance; ``1 / sqrt(var + eps)``.
    axis : int
        The axis of the channels.
    backend : str
        Which code computes, see :mod:`bn.pytorch`.
    """

    x: Tensor
    gamma: Tensor | None
    statistics: Tensor
    axis: int
    backend: Backend

    @property
    def mean(self) -> Tensor:
        """Mean of the mini-batch, shape (C,)."""
        return self.statistics[0] + self.statistics[1]

    @property
    def var(self) -> Tensor:
        """Biased variance of the mini-batch, shape (C,)."""
        return self.statistics[2]

    @property
    def inv_std(self) -> Tensor:
        """``1 / sqrt(var + eps)``, shape (C,)."""
        return self.statistics[3]


def batch_norm_forward(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    backend: Backend = "auto",
) -> tuple[Tensor, BatchNormCache]:
    """Normalize each channel of a mini-batch, then scale and shift it: Algorithm 1 of the paper.

    Parameters
    ----------
    x : tensor of float16, bfloat16, float32 or float64
        The mini-batch, for example (N, C) or (N, C, H, W), on any device, in any memory format.
        Statistics are taken over every axis but `axis`.
    gamma, beta : tensor, shape (C,), optional
        Scale and shift. Default: ones and zeros.
    eps : float
        Added to the variance, in the squared unit of x. 0 is allowed.
    axis : int
        The axis of the channels.
    backend : {"auto", "reference", "numba", "torch", "triton"}
        Which code computes, see :mod:`bn.pytorch`.

    Returns
    -------
    y : tensor, the shape, type and memory format of x
        Differentiable twice for x, gamma and beta. A third time is refused.
    cache : BatchNormCache
        For :func:`batch_norm_backward`, and to read the statistics from. To autograd they are
        constants.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if there is only one value per channel; on the CPU, if
        `eps` is 0 and a channel is constant.
    OverflowError
        On the CPU, if the variance of finite values does not fit in float64, or their differences
        not in the type they are computed in.
    ImportError
        If the backend needs a package that is missing.

    Notes
    -----
    Half precision is computed in float64 on the CPU, so that y is rounded once, and in float32 on
    CUDA and MPS; anything else in its own type. On a GPU no value is looked at, because that
    would make it wait: dividing 0 by 0 gives NaN there.
    """
    return _forward(x, gamma, beta, None, eps, axis, False, backend)


def _forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
    backend: Backend,
) -> tuple[Tensor, BatchNormCache]:
    check_input("x", x)
    axis = as_axis(axis, tuple(x.shape))
    check_channels("gamma", gamma, x, axis)
    check_channels("beta", beta, x, axis)
    check_residual(residual, x)
    check_eps(eps)
    check_batch(tuple(x.shape), x.shape[axis])
    check_backend(backend)
    y, statistics = train(x, gamma, beta, residual, float(eps), axis, relu, backend)
    return y, BatchNormCache(x, gamma, statistics, axis, backend)


def batch_norm_backward(dy: Tensor, cache: BatchNormCache) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the loss for x, gamma and beta, as autograd would call for them.

    Parameters
    ----------
    dy : tensor, the shape of y
        The gradient of the loss for y.
    cache : BatchNormCache
        From :func:`batch_norm_forward`.

    Returns
    -------
    dx : tensor, the shape, type and memory format of x
        Differentiable, like the next two, for dy, x and gamma.
    dgamma, dbeta : tensor, shape (C,), float32 or float64

    Raises
    ------
    TypeError, ValueError
        If `dy` does not have the shape of y, or is not floating point.
    """
    check_upstream(dy, cache.x)
    x, gamma, statistics, axis, backend = cache
    if is_transformed(dy, x, gamma):
        dx, dgamma, dbeta, _ = formula.backward(
            dy, x, gamma, None, None, statistics, axis, relu=False
        )
        return dx, dgamma, dbeta
    dx, dgamma, dbeta, _ = batch_norm_backward_op(
        dy, x, gamma, None, None, statistics, axis, False, backend
    )
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 1,
    backend: Backend = "auto",
) -> Tensor:
    """Normalize with fixed statistics: line 11 of Algorithm 2 (section 3.1 of the paper).

    Parameters
    ----------
    x : tensor of float16, bfloat16, float32 or float64
        Any batch, of any size: each value is treated by itself.
    mean, var : tensor, shape (C,)
        Statistics of the population. Nothing is differentiated by them.
    gamma, beta, eps, axis, backend
        As in :func:`batch_norm_forward`.

    Returns
    -------
    y : tensor, the shape, type and memory format of x
        Differentiable twice for x, gamma and beta.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; on the CPU, if a variance is negative or `var + eps` is 0.
    """
    return _inference(x, mean, var, gamma, beta, None, eps, axis, False, backend)


def _inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    eps: float,
    axis: int,
    relu: bool,
    backend: Backend,
) -> Tensor:
    check_input("x", x)
    axis = as_axis(axis, tuple(x.shape))
    for name, value in (("mean", mean), ("var", var)):
        check_known(name, value)
        check_channels(name, value, x, axis)
    check_channels("gamma", gamma, x, axis)
    check_channels("beta", beta, x, axis)
    check_residual(residual, x)
    check_eps(eps)
    check_backend(backend)
    mean, var = mean.detach(), var.detach()
    if is_transformed(x, gamma, beta, residual):
        return formula.inference(x, mean, var, gamma, beta, residual, eps, axis, relu)
    y: Tensor = batch_norm_inference_op(x, mean, var, gamma, beta, float(eps), axis, backend)
    if residual is not None:
        y = y.add_(residual)  # y is new, and nobody else has seen it
    return y.relu_() if relu else y


def batch_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    unbiased: bool = True,
    axis: int = 1,
    nonfinite: NonFinite = "keep",
    num_batches: Tensor | None = None,
    relu: bool = False,
    residual: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Batch normalization with running statistics, in training and in inference.

    Parameters
    ----------
    x, gamma, beta, eps, axis, backend
        As in :func:`batch_norm_forward`.
    running_mean, running_var : tensor, shape (C,), optional
        In training they are moved, in place, towards the statistics of the mini-batch; in
        inference they are what x is normalized with. In the middle of a backward pass they do
        not move: activation checkpointing runs a forward pass there for the second time.
    training : bool
        Whether to normalize with the statistics of the mini-batch.
    momentum, unbiased, nonfinite, num_batches
        How the running statistics move, see :func:`~bn.pytorch.update_running`.
    relu : bool
        Whether negative values of the result become 0. Nothing more is kept for the backward
        pass: it finds out from x where the ReLU was closed.
    residual : tensor, the shape and type of x, optional
        Added before the ReLU: the other branch of a residual block.

    Returns
    -------
    y : tensor, the shape, type and memory format of x

    Raises
    ------
    TypeError, ValueError, OverflowError
        As :func:`batch_norm_forward`, :func:`batch_norm_inference` and
        :func:`~bn.pytorch.update_running` do.
    """
    if (running_mean is None) != (running_var is None):
        raise ValueError("give running_mean and running_var both, or neither")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("training is False: running_mean and running_var must be given")
        return _inference(
            x, running_mean, running_var, gamma, beta, residual, eps, axis, relu, backend
        )
    y, cache = _forward(x, gamma, beta, residual, eps, axis, relu, backend)
    if running_mean is not None and running_var is not None:
        check_channels("running_mean", running_mean, x, cache.axis)
        check_channels("running_var", running_var, x, cache.axis)
        if in_backward_pass():
            running_mean, running_var, num_batches = unseen_copies(
                running_mean, running_var, num_batches
            )
        update_from(
            cache.statistics,
            running_mean,
            running_var,
            x.numel() // x.shape[cache.axis],
            momentum=momentum,
            unbiased=unbiased,
            nonfinite=nonfinite,
            num_batches=num_batches,
        )
    return y
