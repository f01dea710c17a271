"""Mistakes of the gradients: a list of wrong formulas for each of dx, dgamma and dbeta.

Lists begin with the right formula, under the name "". Some mistakes can be made in several
ways, so a name may stand more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bn.check.diagnosis.compare import UNIDENTIFIED, close
from bn.check.formula import TRAINING, Array, Batch, Statistics
from bn.check.gradients import Gradients, gradients, inference_gradients

Variants = list[tuple[str, Array]]
Cache = tuple[Array, Array]  # x_hat and inv_std, which broadcast against x


@dataclass(frozen=True)
class SeenGradients:
    """One backward call: the input, and the gradients that came, None where there are none."""

    batch: Batch
    came: Gradients


def explain_gradients(
    seen: Sequence[SeenGradients],
    eps: float,
    tolerance: float,
    own: Sequence[Cache] | None = None,
) -> dict[str, str]:
    """Return the mistakes of training, by gradient: ``{"dx": "mean-as-constant"}``.

    With `own`, the backward pass is judged on the x_hat of its own forward pass.
    """
    found = {}
    caches: Sequence[Cache | None]
    caches = own or [TRAINING.normalize(each.batch, eps) for each in seen]
    for name, variants in VARIANTS.items():
        cases = [
            (getattr(each.came, name), variants(each.batch, cache))
            for each, cache in zip(seen, caches, strict=True)
            if cache is not None
        ]
        mistake = _first_match(cases, tolerance)
        if mistake:
            found[name] = mistake
    if own is None and {"dgamma", "dbeta"} <= found.keys() and _swapped(seen, eps, tolerance):
        del found["dbeta"]
        found["dgamma"] = "dgamma-dbeta-swapped"
    return found


def explain_inference_gradients(
    seen: Sequence[SeenGradients], eps: float, tolerance: float, running: Statistics
) -> dict[str, str]:
    """Return the mistakes of inference, by gradient."""
    found = {}
    for name in VARIANTS:
        cases = [
            (getattr(each.came, name), _inference_variants(name, each.batch, eps, running))
            for each in seen
        ]
        mistake = _first_match(cases, tolerance)
        if mistake:
            found[name] = mistake
    return found


def _first_match(cases: list[tuple[Array | None, Variants]], tolerance: float) -> str:
    """Return the first name whose array is what came, in every case."""
    names = [name for name, _ in cases[0][1]]
    for position, name in enumerate(names):
        fits = True
        for came, variants in cases:
            if came is None:  # there is no such parameter
                return ""
            scale = float(np.abs(variants[0][1]).max()) or 1.0
            fits = fits and close(came, variants[position][1], tolerance, scale)
        if fits:
            return name
    return UNIDENTIFIED


def _swapped(seen: Sequence[SeenGradients], eps: float, tolerance: float) -> bool:
    pairs = [(each.came, gradients(each.batch, eps)) for each in seen]
    return all(
        close(came.dgamma, right.dbeta, tolerance) and close(came.dbeta, right.dgamma, tolerance)
        for came, right in pairs
    )


def dx_variants(batch: Batch, cache: Cache) -> Variants:
    """Return dx in training: right, and with each known mistake."""
    others, x, dy, m, n = batch.others, batch.x, batch.dy, batch.m, batch.x.shape[0]
    gamma = batch.along(batch.gamma)
    centred = x - batch.along(batch.mean)
    x_hat, inv_std = cache
    y = gamma * x_hat + batch.along(batch.beta)

    def total(values: Array) -> Array:
        return np.asarray(values.sum(axis=others, keepdims=True))

    def dx(
        mean_term: float, x_hat_term: float, left: Array = x_hat, inside: Array = x_hat
    ) -> Array:
        inner = dy - mean_term * total(dy) - x_hat_term * left * total(dy * inside)
        return np.asarray(gamma * inv_std * inner)

    right = dx(1 / m, 1 / m)
    with np.errstate(all="ignore"):  # a variance, or a gamma, may be 0
        bare = 1 / np.sqrt(batch.along(batch.var))
        plain = centred * bare
        without_eps = gamma * bare * (dy - total(dy) / m - plain * total(dy * plain) / m)
        without_gamma = np.where(gamma == 0, 0, 1 / gamma)
    per_position = dy.mean(axis=0), (dy * x_hat).mean(axis=0)
    per_position_dx = gamma * inv_std * (dy - per_position[0] - x_hat * per_position[1])
    one_less = 1 / max(m - 1, 1)
    return [
        ("", right),
        ("statistics-as-constants", dx(0, 0)),
        ("mean-as-constant", dx(0, 1 / m)),
        ("variance-as-constant", dx(1 / m, 0)),
        ("gamma-missing-in-dx", without_gamma * right),
        ("inv-std-missing-in-dx", right / inv_std),
        ("inv-std-twice-in-dx", right * inv_std),
        ("divided-by-inv-std-in-dx", right / inv_std**2),
        ("eps-missing-in-dx", without_eps),
        ("negative-dx", -right),
        ("sign-in-dx", dx(1 / m, -1 / m)),
        ("sign-in-dx", dx(-1 / m, 1 / m)),
        ("sign-in-dx", dx(-1 / m, -1 / m)),
        ("sums-not-divided-in-dx", dx(1, 1)),
        ("sums-not-divided-in-dx", dx(1, 1 / m)),
        ("sums-not-divided-in-dx", dx(1 / m, 1)),
        ("sums-over-m-minus-1-in-dx", dx(one_less, one_less)),
        ("sums-over-m-minus-1-in-dx", dx(1 / m, one_less)),
        ("sums-over-m-minus-1-in-dx", dx(one_less, 1 / m)),
        ("sums-over-batch-size-in-dx", dx(1 / n, 1 / n)),
        ("sums-over-wrong-axes-in-dx", per_position_dx),
        ("half-missing-in-dx", dx(1 / m, 2 / m)),
        ("two-missing-in-dx", dx(1 / m, 0.5 / m)),
        ("x-hat-missing-in-dx", dx(1 / m, 1 / m, left=np.ones_like(x))),
        ("dgamma-without-x-hat", dx(1 / m, 1 / m, inside=np.ones_like(x))),
        ("dgamma-with-x", dx(1 / m, 1 / m, inside=x)),
        ("dgamma-with-y", dx(1 / m, 1 / m, inside=y)),
        ("x-hat-not-normalized-in-dx", dx(1 / m, 1 / m, left=centred)),
        ("x-hat-not-normalized-in-dx", dx(1 / m, 1 / m, inside=centred)),
        ("x-hat-not-normalized-in-dx", dx(1 / m, 1 / m, left=centred, inside=centred)),
        ("x-instead-of-x-hat-in-dx", dx(1 / m, 1 / m, left=x)),
        ("x-instead-of-x-hat-in-dx", dx(1 / m, 1 / m, left=x, inside=x)),
        ("y-instead-of-x-hat-in-dx", dx(1 / m, 1 / m, left=y)),
        ("y-instead-of-x-hat-in-dx", dx(1 / m, 1 / m, left=y, inside=y)),
        ("dx-divided-by-m", right / m),
        ("dx-times-m", right * m),
        ("no-dx", np.zeros_like(right)),
        ("gamma-missing-in-dx+statistics-as-constants", without_gamma * dx(0, 0)),
        ("gamma-missing-in-dx+mean-as-constant", without_gamma * dx(0, 1 / m)),
        ("gamma-missing-in-dx+variance-as-constant", without_gamma * dx(1 / m, 0)),
    ]


def dgamma_variants(batch: Batch, cache: Cache) -> Variants:
    """Return dgamma in training: right, and with each known mistake."""
    others, dy = batch.others, batch.dy
    centred = batch.x - batch.along(batch.mean)
    x_hat = cache[0]
    y = batch.along(batch.gamma) * x_hat + batch.along(batch.beta)
    right = (dy * x_hat).sum(axis=others)
    return [
        ("", right),
        ("dgamma-missing", np.zeros_like(right)),
        ("negative-dgamma", -right),
        ("dgamma-without-x-hat", dy.sum(axis=others)),
        ("dgamma-with-x", (dy * batch.x).sum(axis=others)),
        ("dgamma-with-centred", (dy * centred).sum(axis=others)),
        ("dgamma-with-y", (dy * y).sum(axis=others)),
        ("dgamma-averaged", right / batch.m),
        ("dgamma-averaged", right / batch.x.shape[0]),
        ("dgamma-with-gamma", right * batch.gamma),
        ("dgamma-not-summed", dy * x_hat),
        ("dgamma-over-batch-only", (dy * x_hat).sum(axis=0)),
    ]


def dbeta_variants(batch: Batch, cache: Cache) -> Variants:
    """Return dbeta: right, and with each known mistake."""
    del cache  # has no part in it
    right = batch.dy.sum(axis=batch.others)
    return [
        ("", right),
        ("dbeta-missing", np.zeros_like(right)),
        ("negative-dbeta", -right),
        ("dbeta-averaged", right / batch.m),
        ("dbeta-averaged", right / batch.x.shape[0]),
        ("dbeta-with-gamma", right * batch.gamma),
        ("dbeta-not-summed", batch.dy),
        ("dbeta-over-batch-only", batch.dy.sum(axis=0)),
    ]


VARIANTS = {"dx": dx_variants, "dgamma": dgamma_variants, "dbeta": dbeta_variants}


def _inference_variants(name: str, batch: Batch, eps: float, running: Statistics) -> Variants:
    """Return a gradient of inference: right, and with each known mistake."""
    right = inference_gradients(batch, eps, running)
    cache = TRAINING.normalize(batch, eps)
    assert cache is not None
    if name == "dbeta":
        return dbeta_variants(batch, cache)
    in_training = dict(VARIANTS[name](batch, cache))
    if name == "dgamma":
        assert right.dgamma is not None
        batch_statistics = ("batch-statistics-in-inference-gradient", in_training[""])
        same = ("dgamma-without-x-hat", "dgamma-missing", "dgamma-with-x", "dgamma-with-y")
        return [("", right.dgamma), batch_statistics, *((n, in_training[n]) for n in same)]
    inv_std = batch.along(1 / np.sqrt(running.var + eps))
    x_hat = (batch.x - batch.along(running.mean)) * inv_std
    gamma, dx = batch.along(batch.gamma), right.dx
    of_batch = inference_gradients(batch, eps, Statistics(batch.mean, batch.var)).dx
    m, others = batch.m, batch.others
    terms = [dx.sum(axis=others, keepdims=True) / m]
    terms.append(x_hat * (dx * x_hat).sum(axis=others, keepdims=True) / m)
    return [
        ("", dx),
        ("training-gradient-in-inference", in_training[""]),
        ("training-gradient-in-inference", dx - terms[0] - terms[1]),
        ("batch-statistics-in-inference-gradient", of_batch),
        ("gamma-missing-in-dx", np.where(gamma == 0, 0, batch.dy * inv_std)),
        ("inv-std-missing-in-dx", dx / inv_std),
        ("negative-dx", -dx),
        ("no-dx", np.zeros_like(dx)),
    ]
