"""A batch-normalization layer that only keeps the books: the mathematics is in `algorithm`."""

import numpy as np
from numpy.typing import ArrayLike

from bn.reference.algorithm import BatchNormCache, batch_norm_backward, batch_norm_forward
from bn.reference.checks import (
    NUMBER,
    WHOLE,
    Array,
    NonFinite,
    as_axis,
    as_input,
    as_known,
    check_eps,
    check_nonfinite,
    check_upstream,
    not_finite,
)
from bn.reference.inference import batch_norm_inference, batch_norm_inference_backward


# paper: s31-insert, s31-fixed-statistics, s31-moving-averages
class BatchNorm:
    """Batch normalization with learned scale and shift, and running statistics.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance. The paper does not state its value; 1e-5 is PyTorch's.
    momentum : float or None
        The weight of the NEW value in the running statistics, from 0 to 1 (PyTorch's
        convention; Keras and Flax give the weight of the old value, which is 1 minus this).
        None keeps the plain average of all batches.
    affine : bool
        Whether there are gamma and beta. Without them `gamma` and `beta` are None.
    unbiased : bool
        Which variance of a mini-batch enters the running one. True: m/(m-1)·var, as in the
        paper's Algorithm 2 and PyTorch. False: the biased var, as in Keras, Flax and ONNX.
    axis : int
        The axis of the channels.
    nonfinite : {"keep", "raise", "propagate"}
        What a mini-batch with NaN or infinity does to the running statistics. "keep": nothing, y
        shows it. "raise": it is an error. "propagate": it enters them and stays
        for ever, as in PyTorch and Keras.

    Attributes
    ----------
    training : bool
        True: normalize with the mini-batch's statistics and update the running ones.
        False: normalize with the running statistics.
    gamma, beta, dgamma, dbeta : array, shape (C,)
        Parameters and, after :meth:`backward`, their gradients.
    running_mean, running_var : float64 array, shape (C,)
        Start at 0 and 1.
    num_batches : int
        How many batches the running statistics have seen.
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        unbiased: bool = True,
        axis: int = 1,
        nonfinite: NonFinite = "keep",
    ) -> None:
        if not isinstance(num_features, WHOLE) or num_features < 1:
            raise ValueError(f"num_features is {num_features!r}, expected at least 1 channel")
        if not isinstance(axis, WHOLE):
            raise ValueError(f"axis is {axis!r}, expected one integer: the axis of the channels")
        if momentum is not None and not (isinstance(momentum, NUMBER) and 0 <= momentum <= 1):
            raise ValueError(f"momentum is {momentum!r}, expected a weight from 0 to 1, or None")
        check_nonfinite(nonfinite)
        check_eps(eps)
        self.nonfinite = nonfinite
        self.num_features = num_features
        self.eps, self.axis = eps, axis
        self.momentum, self.unbiased = momentum, unbiased
        self.training = True
        self.gamma: Array | None = np.ones(num_features) if affine else None
        self.beta: Array | None = np.zeros(num_features) if affine else None
        self.dgamma: Array | None = np.zeros(num_features) if affine else None
        self.dbeta: Array | None = np.zeros(num_features) if affine else None
        self.running_mean: Array = np.zeros(num_features)
        self.running_var: Array = np.ones(num_features)
        self.num_batches = 0
        self.cache: BatchNormCache | None = None  # of the last training forward
        self._inference: tuple[Array, Array, Array, Array | None] | None = None
        self._empty: Array | None = None

    def forward(self, x: ArrayLike, mask: ArrayLike | None = None) -> Array:
        """Return y for a batch; in training, update the running statistics too.

        An empty batch has an empty y, and the statistics and their counter stay as they were.

        Parameters
        ----------
        x : array
            With `num_features` channels on `axis`.
        mask : array of bool, optional
            In training, True for what counts; see :func:`~bn.reference.batch_norm_forward`.
            Inference treats each value by itself and does not look at it.

        Raises
        ------
        TypeError, ValueError
            As :func:`~bn.reference.batch_norm_forward` does; if the running statistics do not
            have shape (C,); and, with ``nonfinite="raise"``, a
            :exc:`~bn.reference.NonFiniteError` when a training batch holds NaN or infinity: the
            running statistics are then left as they were.
        """
        self.cache = self._inference = self._empty = None
        x = as_input("x", x)
        channels = x.shape[as_axis(self.axis, x.shape)]
        if channels != self.num_features:
            raise ValueError(
                f"x has shape {x.shape} and so {channels} channels on axis {self.axis}, "
                f"expected num_features = {self.num_features}"
            )
        if x.size == 0:
            self._empty = x.copy()
            return x.copy()
        if not self.training:
            mean, var = self.running_mean.copy(), self.running_var.copy()
            y = batch_norm_inference(
                x, mean, var, self.gamma, self.beta, eps=self.eps, axis=self.axis
            )
            gamma = None if self.gamma is None else self.gamma.copy()
            self._inference = x, mean, var, gamma  # what the backward pass is to differentiate
            return y
        y, cache = batch_norm_forward(
            x, self.gamma, self.beta, eps=self.eps, axis=self.axis, mask=mask
        )
        self._update(cache)
        self.cache = cache
        return y

    def _update(self, cache: BatchNormCache) -> None:
        """Move the running statistics towards those of a mini-batch."""
        finite = np.isfinite(cache.mean) & np.isfinite(cache.var)
        if self.nonfinite == "keep" and not finite.all():
            return
        if self.nonfinite == "raise" and not finite.all():
            raise not_finite(int(np.argmin(finite)))
        channels, wide = self.num_features, np.dtype(np.float64)
        old_mean = as_known("running_mean", self.running_mean, channels, wide)
        old_var = as_known("running_var", self.running_var, channels, wide)
        self.num_batches += 1
        weight = 1 / self.num_batches if self.momentum is None else self.momentum
        m = cache.count
        var = cache.var * m / (m - 1) if self.unbiased else cache.var
        self.running_mean = old_mean + weight * (cache.mean - old_mean)
        self.running_var = old_var + weight * (var - old_var)

    def backward(self, dy: ArrayLike) -> Array:
        """Return dx for the last forward pass; keep `dgamma` and `dbeta` if affine."""
        if self.cache is not None:
            dx, dgamma, dbeta = batch_norm_backward(dy, self.cache)
        elif self._inference is not None:
            dx, dgamma, dbeta = batch_norm_inference_backward(
                dy, *self._inference, eps=self.eps, axis=self.axis
            )
        elif self._empty is not None:
            dx = as_input("dy", dy).astype(self._empty.dtype)
            check_upstream(dx, self._empty.shape)
            dgamma, dbeta = np.zeros(self.num_features), np.zeros(self.num_features)
        else:
            raise RuntimeError("backward was called before a successful forward")
        if self.gamma is not None:
            self.dgamma, self.dbeta = dgamma, dbeta
        return dx

    def parameters(self) -> dict[str, Array]:
        """Return gamma and beta by name; nothing without affine."""
        if self.gamma is None or self.beta is None:
            return {}
        return {"gamma": self.gamma, "beta": self.beta}

    def gradients(self) -> dict[str, Array]:
        """Return dgamma and dbeta under the names of :meth:`parameters`."""
        if self.dgamma is None or self.dbeta is None:
            return {}
        return {"gamma": self.dgamma, "beta": self.dbeta}
