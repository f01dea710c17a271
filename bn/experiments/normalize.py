"""Normalization alone, without learned scale and shift, and with two gradients to choose from.

Section 2 of the paper asks what happens when a layer's output is normalized but the gradient
step does not know of it. :class:`Normalize` can be told to leave out, in its backward pass,
that the statistics depend on its input.
"""

import math
from typing import Literal, get_args

import numpy as np

from bn.layers.dense import Array, Parameterless

#: What the gradient goes through: both statistics (True), neither (False), or one of the two.
Through = bool | Literal["mean", "variance"]
THROUGH = (True, False, *get_args(get_args(Through)[1]))


class Normalize(Parameterless):
    """Subtract the mean of the mini-batch and, if asked, divide by its standard deviation.

    In inference mode the statistics are those of the last batch that went through in training
    mode: show it a large one before an evaluation.

    Parameters
    ----------
    scale : bool
        Whether to divide, too; otherwise the values are only centred.
    through : bool, "mean" or "variance"
        True: the gradient goes through the statistics, as it should. False: the backward pass
        takes them for constants. With a name it goes through that one only.
    eps : float
        Added to the variance.
    """

    def __init__(self, *, scale: bool, through: Through, eps: float = 1e-5) -> None:
        if not (math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps is {eps}, expected a finite number, at least 0")
        if through not in THROUGH:
            raise ValueError(f"through is {through!r}, expected one of {THROUGH}")
        self.scale, self.through, self.eps = scale, through, eps
        self.mean: Array | None = None
        self.inv_std: Array | None = None

    # paper: s2-bias-grows
    def forward(self, x: Array) -> Array:
        """Return x_hat, shape (N, C), for x of that shape."""
        if x.ndim != 2 or not len(x):
            raise ValueError(f"x has shape {x.shape}, expected (N, C) with at least one example")
        if self.training or self.mean is None or self.inv_std is None:
            # [forward]
            self.mean = x.mean(axis=0)  # (C,)
            self.inv_std = np.ones_like(self.mean)
            if self.scale:
                var = ((x - self.mean) ** 2).mean(axis=0)
                self.inv_std = 1 / np.sqrt(var + self.eps)
            # [/forward]
        x_hat: Array = (x - self.mean) * self.inv_std
        self.x_hat = x_hat
        return x_hat

    # paper: s2-two-jacobians, s2-blows-up
    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x; with `through` for a forward in training mode only."""
        if self.inv_std is None:
            raise RuntimeError("backward was called before forward")
        # [backward]
        dcentred = dy
        if self.through in (True, "mean"):
            dcentred = dcentred - dy.mean(axis=0)
        if self.scale and self.through in (True, "variance"):
            dcentred = dcentred - self.x_hat * (dy * self.x_hat).mean(axis=0)
        dx: Array = dcentred * self.inv_std
        # [/backward]
        return dx


class ScaleShift:
    """``y = gamma x + beta`` with one pair of learned numbers for each feature.

    Parameters
    ----------
    features : int
        C.
    """

    def __init__(self, features: int) -> None:
        if features < 1:
            raise ValueError(f"features is {features}, expected at least 1")
        self.training = True
        self.gamma: Array = np.ones(features, np.float32)
        self.beta: Array = np.zeros(features, np.float32)
        self.dgamma, self.dbeta = np.zeros_like(self.gamma), np.zeros_like(self.beta)

    def forward(self, x: Array) -> Array:
        """Return y, the shape of x, (N, C)."""
        self.x = x
        y: Array = x * self.gamma + self.beta
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        self.dgamma, self.dbeta = (dy * self.x).sum(axis=0), dy.sum(axis=0)
        dx: Array = dy * self.gamma
        return dx

    def parameters(self) -> dict[str, Array]:
        """Return gamma and beta by name."""
        return {"gamma": self.gamma, "beta": self.beta}

    def gradients(self) -> dict[str, Array]:
        """Return their gradients."""
        return {"gamma": self.dgamma, "beta": self.dbeta}
