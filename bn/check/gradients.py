"""The gradients of batch norm, and the gradients of those, in float64.

The functions take complex numbers too: a derivative is then had without subtraction, as
``f(x + ih).imag / h`` with a tiny h, and so to the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bn.check.formula import TRAINING, Array, Batch, Statistics

H = 1e-30  # the step of complex differentiation; nothing is subtracted, so it may be tiny


@dataclass(frozen=True)
class Gradients:
    """For x, gamma and beta; None where there is no such parameter."""

    dx: Array
    dgamma: Array | None = None
    dbeta: Array | None = None


def gradients(
    batch: Batch, eps: float, x: Array | None = None, gamma: Array | None = None
) -> Gradients:
    """Return the gradients of sum(dy·y) in training, the closed form of the book."""
    x = batch.x if x is None else x
    gamma = batch.gamma if gamma is None else gamma
    others, dy, m = batch.others, batch.dy, batch.m
    centred = x - x.mean(axis=others, keepdims=True)
    inv_std = 1 / np.sqrt(np.square(centred).mean(axis=others, keepdims=True) + eps)
    x_hat = centred * inv_std
    dbeta, dgamma = dy.sum(axis=others), (dy * x_hat).sum(axis=others)
    inner = dy - batch.along(dbeta) / m - x_hat * batch.along(dgamma) / m
    return Gradients(batch.along(gamma) * inv_std * inner, dgamma, dbeta)


def inference_gradients(batch: Batch, eps: float, running: Statistics) -> Gradients:
    """Return the gradients of sum(dy·y) with fixed statistics."""
    inv_std = 1 / np.sqrt(batch.along(running.var) + eps)
    x_hat = (batch.x - batch.along(running.mean)) * inv_std
    return Gradients(
        batch.dy * batch.along(batch.gamma) * inv_std,
        (batch.dy * x_hat).sum(axis=batch.others),
        batch.dy.sum(axis=batch.others),
    )


@dataclass(frozen=True)
class Upstream:
    """What arrives from above at dx, dgamma and dbeta, for the second gradient."""

    ddx: Array
    ddgamma: Array
    ddbeta: Array


@dataclass(frozen=True)
class SecondGradients:
    """Of ``sum(ddx·dx) + sum(ddgamma·dgamma) + sum(ddbeta·dbeta)``, for dy, x and gamma."""

    for_dy: Array
    for_x: Array
    for_gamma: Array | None = None


def second_gradients(batch: Batch, eps: float, upstream: Upstream) -> SecondGradients:
    """Return the gradients of the gradients in training.

    No formula of its own is needed. The quantity is sum(dy·y'), where y' is how y changes as
    (x, gamma, beta) move along the upstream gradients. So its gradient for dy is y', and those
    for x and gamma are how dx and dgamma change along the same direction.
    """
    step = 1j * H
    moved = Batch(
        batch.x, batch.gamma + step * upstream.ddgamma, batch.beta + step * upstream.ddbeta,
        batch.dy, batch.axis,
    )  # fmt: skip
    x = batch.x + step * upstream.ddx
    y = TRAINING(moved, eps, x=x)
    assert y is not None
    changed = gradients(batch, eps, x, moved.gamma)
    assert changed.dgamma is not None
    return SecondGradients(y.imag / H, changed.dx.imag / H, changed.dgamma.imag / H)
