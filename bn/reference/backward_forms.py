"""The backward pass twice more, as a reader meets it before the closed form; and its derivative.

:func:`backward_by_graph` walks the computational graph node by node, and
:func:`backward_by_equations` follows the six equations of the paper (section 3). Both agree
with :func:`bn.reference.batch_norm_backward`; the chapter on the backward pass derives them.
They are for reading and checking, plain two-pass statistics in the type of x.
:func:`double_backward_by_steps` differentiates the closed form once more, as the page on the
second derivative does; it agrees with :func:`bn.reference.batch_norm_double_backward`.
"""

import numpy as np

from bn.reference.checks import Array


# paper: eq-backward-x, eq-backward-gamma, eq-backward-beta
def backward_by_graph(
    dy: Array, x: Array, gamma: Array, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients for x, gamma and beta, one node of the computational graph at a time.

    Parameters
    ----------
    dy, x : array, shape (m, C)
    gamma : array, shape (C,)
    eps : float

    Returns
    -------
    dx : array, shape (m, C)
    dgamma, dbeta : array, shape (C,)
    """
    m = x.shape[0]
    # [graph-forward]
    mean = x.sum(axis=0) / m  # node 1
    centred = x - mean  # node 2
    squared = centred**2  # node 3
    var = squared.sum(axis=0) / m  # node 4
    std = np.sqrt(var + eps)  # node 5
    inv_std = 1 / std  # node 6
    x_hat = centred * inv_std  # node 7
    # node 8: y = gamma * x_hat + beta
    # [/graph-forward]

    # [graph-backward]
    dbeta = dy.sum(axis=0)  # node 8
    dgamma = (dy * x_hat).sum(axis=0)
    dx_hat = dy * gamma
    dinv_std = (dx_hat * centred).sum(axis=0)  # node 7
    dcentred = dx_hat * inv_std  # first of two paths
    dstd = -dinv_std / std**2  # node 6
    dvar = dstd / (2 * std)  # node 5
    dsquared = np.broadcast_to(dvar / m, x.shape)  # node 4
    dcentred = dcentred + 2 * centred * dsquared  # node 3, second path
    dmean = -dcentred.sum(axis=0)  # node 2
    dx = dcentred + dmean / m  # node 2 and node 1
    # [/graph-backward]
    return dx, dgamma, dbeta


# paper: eq-backward-x-hat, eq-backward-var, eq-backward-mean
# paper: eq-backward-x, eq-backward-gamma, eq-backward-beta
def backward_by_equations(
    dy: Array, x: Array, gamma: Array, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients for x, gamma and beta, by the six equations as the paper prints them.

    Parameters
    ----------
    dy, x : array, shape (m, C)
    gamma : array, shape (C,)
    eps : float

    Returns
    -------
    dx : array, shape (m, C)
    dgamma, dbeta : array, shape (C,)
    """
    m = x.shape[0]
    mean = x.mean(axis=0)
    var = ((x - mean) ** 2).mean(axis=0)
    x_hat = (x - mean) / np.sqrt(var + eps)
    # [equations]
    dx_hat = dy * gamma
    dvar = (dx_hat * (x - mean)).sum(axis=0) * -0.5 * (var + eps) ** -1.5
    dmean = dx_hat.sum(axis=0) * -1 / np.sqrt(var + eps)
    dmean = dmean + dvar * (-2 * (x - mean)).sum(axis=0) / m  # adds 0
    dx = dx_hat / np.sqrt(var + eps) + dvar * 2 * (x - mean) / m + dmean / m
    dgamma = (dy * x_hat).sum(axis=0)
    dbeta = dy.sum(axis=0)
    # [/equations]
    return dx, dgamma, dbeta


def double_backward_by_steps(
    ddx: Array,
    ddgamma: Array,
    ddbeta: Array,
    dy: Array,
    x: Array,
    gamma: Array,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of ``<ddx, dx> + <ddgamma, dgamma> + <ddbeta, dbeta>``, one step at a time.

    Parameters
    ----------
    ddx, dy, x : array, shape (m, C)
    ddgamma, ddbeta, gamma : array, shape (C,)
    eps : float

    Returns
    -------
    for_dy, for_x : array, shape (m, C)
    for_gamma : array, shape (C,)
    """
    m = x.shape[0]
    centred = x - x.mean(axis=0)
    inv_std = 1 / np.sqrt((centred**2).mean(axis=0) + eps)
    x_hat = centred * inv_std
    # [double-steps]
    a = (ddx * x_hat).mean(axis=0)
    b = (dy * x_hat).mean(axis=0)
    p = ddx - ddx.mean(axis=0) - a * x_hat
    q = (dy * p).sum(axis=0)
    scale = gamma * inv_std

    for_dy = scale * p + ddgamma * x_hat + ddbeta
    for_gamma = inv_std * q
    g = ddgamma * dy - scale * (a * dy + b * ddx)  # dS/dx_hat
    along_x_hat = ((g * x_hat).sum(axis=0) + scale * q) / m
    for_x = inv_std * (g - g.mean(axis=0) - along_x_hat * x_hat)
    # [/double-steps]
    return for_dy, for_x, for_gamma
