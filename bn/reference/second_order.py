"""The gradient of the gradient, in closed form: for penalties on gradients, and second derivatives.

Let ``u, v, w`` be given for ``dx, dgamma, dbeta``, and ``S = <u, dx> + <v, dgamma> + <w, dbeta>``.
With ``h`` for x_hat, ``r`` for ``1/std`` and n values that count in each channel, and

* ``a = sum(u h) / n`` and ``U = sum(u) / n``, over what counts,
* ``b = sum(dy h) / n``, over everything,
* ``p = u - U - a h``: what is left of u without its components along 1 and h,

the backward pass ``dx = gamma r (dy - mean(dy) - h mean(dy h))`` gives
``S = gamma r q + v n b + w sum(dy)`` with ``q = sum(dy p)``. From this:

* for dy: ``gamma r p + v h + w``;
* for gamma: ``r q``;
* for x: S depends on x through r, and through h with ``g = dS/dh = (v - gamma r a) dy -
  gamma r b u``. The path through h is the backward pass itself, applied to g. The one through r
  adds ``-gamma r^2 q h / n``.

The book derives it, and ``backward_forms.double_backward_by_steps`` has it without a mask. What a
mask leaves out has no share in U, a, u (in g), nor in the paths through the statistics.
"""

import numpy as np
from numpy.typing import ArrayLike

from bn.reference import checks
from bn.reference.algorithm import BatchNormCache
from bn.reference.channels import along, channel_sum
from bn.reference.checks import Array


def batch_norm_double_backward(
    ddx: ArrayLike,
    ddgamma: ArrayLike | None,
    ddbeta: ArrayLike | None,
    dy: ArrayLike,
    cache: BatchNormCache,
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``<ddx, dx> + <ddgamma, dgamma> + <ddbeta, dbeta>``.

    Parameters
    ----------
    ddx : array, the shape of x
        What is multiplied with dx: the gradient of a scalar for it.
    ddgamma, ddbeta : array, shape (C,), optional
        The same for dgamma and dbeta. Default: zeros.
    dy : array, the shape of x
        As it was given to :func:`~bn.reference.batch_norm_backward`.
    cache : BatchNormCache
        From :func:`~bn.reference.batch_norm_forward`.

    Returns
    -------
    for_dy, for_x : array, the shape and type of x
    for_gamma : array, shape (C,)
        There is none for beta, on which no gradient depends.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    Computed in float64 whatever the type of x. The third derivative is not here.
    """
    axis, wide = cache.axis, np.dtype(np.float64)
    channels = cache.x_hat.shape[axis]
    ddx, dy = checks.as_input("ddx", ddx), checks.as_input("dy", dy)
    checks.check_upstream(ddx, cache.x_hat.shape, name="ddx")
    checks.check_upstream(dy, cache.x_hat.shape)
    v = checks.as_channels("ddgamma", ddgamma, 0.0, channels, wide)
    w = checks.as_channels("ddbeta", ddbeta, 0.0, channels, wide)
    u, dy, h = (values.astype(wide) for values in (ddx, dy, cache.x_hat))
    n, r, gamma = cache.count, cache.inv_std.astype(wide), cache.gamma.astype(wide)
    counts = 1.0 if cache.mask is None else cache.mask.astype(wide)

    def each(values: Array) -> Array:
        return along(values, h, axis)

    # Large means of u and dy would bring in the rounding of h. A constant in u, or in what counts
    # of dy, changes no result: p has no mean, and h sums to 0.
    u = u - each(channel_sum(u * counts, axis) / n)
    dy = dy - each(channel_sum(dy * counts, axis) / n) * counts
    counted = u * counts
    a = channel_sum(counted * h, axis) / n  # (C,), like all that is not written with each
    b = channel_sum(dy * h, axis) / n
    p = u - each(channel_sum(counted, axis) / n) - each(a) * h
    q = channel_sum(dy * p, axis)
    s = gamma * r

    for_dy = each(s) * p + each(v) * h + each(w)
    for_gamma = r * q
    g = each(v - s * a) * dy - each(s * b) * counted  # dS/dh
    along_h = (channel_sum(g * h, axis) + s * q) / n
    through_statistics = each(channel_sum(g, axis) / n) + each(along_h) * h
    for_x = each(r) * (g - counts * through_statistics)

    out = checks.PARAMETER_DTYPE[cache.dtype.name]
    return for_dy.astype(cache.dtype), for_x.astype(cache.dtype), for_gamma.astype(out)
