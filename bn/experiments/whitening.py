"""Whitening a mini-batch: mean 0, covariance I, and the gradient through both.

What the paper's section 2 would do if it were cheap and always defined. With one feature it is
normalization without scale and shift.
"""

from dataclasses import dataclass

import numpy as np

from bn.layers.dense import Array


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class WhiteningCache:
    """What the backward pass needs: x minus its mean, eigenvectors, roots, and the matrix."""

    centred: Array
    vectors: Array
    roots: Array
    matrix: Array


# paper: s2-whitening-cost
def whiten_forward(x: Array, *, eps: float = 1e-5) -> tuple[Array, WhiteningCache]:
    """Return ``(x - mean) K^(-1/2)`` for a mini-batch, with the symmetric root (ZCA).

    Parameters
    ----------
    x : array, shape (m, d)
        m examples with d features.
    eps : float
        Added to every eigenvalue of the covariance matrix.

    Returns
    -------
    y : float64 array, shape (m, d)
    cache : WhiteningCache

    Raises
    ------
    ValueError
        If x has another number of axes, or if the covariance is singular and ``eps`` too small
        to help. It always is singular for m <= d.
    """
    if x.ndim != 2 or not x.size:
        raise ValueError(f"x has shape {x.shape}, expected (m, d), both at least 1")
    x = x.astype(np.float64)
    # [forward]
    centred = x - x.mean(axis=0)
    cov = centred.T @ centred / len(x)  # (d, d)
    values, vectors = np.linalg.eigh(cov)  # lambda, and V with v_j as columns
    roots = np.sqrt(np.maximum(values, 0) + eps)
    # [/forward]
    if roots.min() <= np.sqrt(len(values) * np.finfo(x.dtype).eps) * roots.max():
        raise ValueError(
            f"the covariance of m = {len(x)} examples with d = {x.shape[1]} features is singular "
            f"to rounding, and eps = {eps} does not help; take more examples or a larger eps"
        )
    # [matrix]
    matrix = vectors / roots @ vectors.T  # K^(-1/2), symmetric
    y: Array = centred @ matrix
    # [/matrix]
    return y, WhiteningCache(centred, vectors, roots, matrix)


# paper: s2-two-jacobians
def whiten_backward(dy: Array, cache: WhiteningCache) -> Array:
    """Return dx, the shape of x, given the gradient dy for y."""
    if dy.shape != cache.centred.shape:
        raise ValueError(f"dy has shape {dy.shape}, expected {cache.centred.shape}")
    s, v = cache.roots, cache.vectors
    # [backward]
    dmatrix = dy.T @ cache.centred  # (d, d)
    divisor = np.outer(s, s) * np.add.outer(s, s)  # s_i s_j (s_i + s_j)
    dcov = -v @ (v.T @ dmatrix @ v / divisor) @ v.T
    dcentred = dy @ cache.matrix + cache.centred @ (dcov + dcov.T) / len(dy)
    dx: Array = dcentred - dcentred.mean(axis=0)
    # [/backward]
    return dx
