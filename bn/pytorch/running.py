"""Running statistics: what moves them, and what must not."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bn.pytorch.eager import is_mapped, nobody_watches
from bn.reference import checks

Array = NDArray[Any]

NonFinite = checks.NonFinite
check_nonfinite = checks.check_nonfinite


def check_momentum(momentum: Any) -> None:
    """Raise ValueError unless `momentum` is None or a weight from 0 to 1."""
    if momentum is None or (isinstance(momentum, (int, float)) and 0 <= momentum <= 1):
        return
    raise ValueError(f"momentum is {momentum!r}, expected a weight from 0 to 1, or None")


@torch.library.custom_op("bn_book::require_finite", mutates_args=())
def require_finite(finite: Tensor) -> Tensor:
    """Return True as a tensor, or raise: an operator, so that the compiler keeps it."""
    if not finite.all():  # the device has to finish before the host can know
        raise checks.not_finite(int((~finite).int().argmax()))
    return finite.all()


@require_finite.register_fake
def _(finite: Tensor) -> Tensor:
    return finite.new_empty(())


def update_running(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    m: int,
    *,
    momentum: float | None = 0.1,
    unbiased: bool = True,
    nonfinite: NonFinite = "keep",
    num_batches: Tensor | None = None,
) -> None:
    """Move running statistics, in place, towards those of a mini-batch.

    Parameters
    ----------
    running_mean, running_var : tensor, shape (C,)
        Changed in place; computed in the type of `mean` and rounded to their own.
    mean, var : tensor, shape (C,)
        Mean and biased variance of the mini-batch.
    m : int
        Values per channel in the mini-batch, at least 2.
    momentum : float or None
        The weight of the NEW value, from 0 to 1. None: the plain average of all batches, for
        which `num_batches` is needed.
    unbiased : bool
        Whether ``m/(m-1) var`` enters the running variance, or ``var``.
    nonfinite : {"keep", "raise", "propagate"}
        What a mini-batch does that holds NaN or infinity, or whose variance does not fit in the
        type of `running_var`. "keep": nothing at all, in any channel; a GPU need not wait.
        "raise": :exc:`bn.reference.NonFiniteError`, for which a GPU has to wait. "propagate":
        what torch.nn does: NaN enters and stays for ever.
    num_batches : integer tensor, shape (), optional
        How many batches the statistics have seen: increased by 1, in place.

    Raises
    ------
    ValueError
        If an argument does not fit; a :exc:`bn.reference.NonFiniteError` as `nonfinite` asks.
    """
    check_momentum(momentum)
    check_nonfinite(nonfinite)
    if isinstance(m, bool) or not isinstance(m, (int, np.integer, torch.SymInt)) or m < 2:
        raise ValueError(
            f"m is {m!r}, expected a whole number of at least 2: the values per channel that mean "
            "and var are of; one value has no variance"
        )
    for name, value in (("running_var", running_var), ("mean", mean), ("var", var)):
        if value.shape != running_mean.shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, expected {tuple(running_mean.shape)}, "
                "that of running_mean: one value per channel"
            )
    if momentum is None and num_batches is None:
        raise ValueError("momentum is None, the average of all batches: num_batches must be given")
    mean, var = mean.detach(), var.detach()  # not no_grad: torch.export could not load that again
    if unbiased:
        var = var * (m / (m - 1))
    if _numpy_can(running_mean, running_var, mean, var):
        arrays = mean.numpy(), var.numpy()
        _update_now(running_mean, running_var, *arrays, momentum, nonfinite, num_batches)
    else:
        _update(running_mean, running_var, mean, var, momentum, nonfinite, num_batches)


def update_from(
    statistics: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    m: int,
    *,
    momentum: float | None,
    unbiased: bool,
    nonfinite: NonFinite,
    num_batches: Tensor | None,
) -> None:
    """Do what :func:`update_running` does with the statistics of a mini-batch as they are kept.

    `statistics`, (4, C), has pivot, offset, variance, and the inverse of the standard deviation.
    """
    if momentum is not None and _numpy_can(running_mean, running_var, statistics):
        check_momentum(momentum)
        check_nonfinite(nonfinite)
        pivot, offset, var, _ = statistics.detach().numpy()
        factor = m / (m - 1) if unbiased else 1.0
        arrays = pivot + offset, factor * var
        _update_now(running_mean, running_var, *arrays, momentum, nonfinite, num_batches)
        return
    update_running(
        running_mean,
        running_var,
        statistics[0] + statistics[1],
        statistics[2],
        m,
        momentum=momentum,
        unbiased=unbiased,
        nonfinite=nonfinite,
        num_batches=num_batches,
    )


def _numpy_can(*tensors: Tensor) -> bool:
    return nobody_watches(*tensors) and all(t.dtype in _KNOWN_TO_NUMPY for t in tensors)


_KNOWN_TO_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def _update(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    momentum: float | None,
    nonfinite: NonFinite,
    num_batches: Tensor | None,
) -> None:
    """Update without looking at a value: a GPU need not wait, and the compiler can follow."""
    if is_mapped(mean) and not is_mapped(running_mean):
        raise RuntimeError(
            "under torch.vmap each slice has statistics of its own, and there is one set of "
            "running statistics for all. Give each slice its own with "
            "torch.func.stack_module_state, or evaluate, or do without (track_running_stats=False)"
        )
    fits = mean.to(running_mean.dtype).isfinite() & var.to(running_var.dtype).isfinite()
    if nonfinite == "propagate":
        good = mean.new_ones((), dtype=torch.bool)
    else:
        good = require_finite(fits) if nonfinite == "raise" else fits.all()  # shape ()

    if num_batches is not None:
        num_batches += good
        if momentum is None:
            weight = num_batches.to(mean.dtype).reciprocal()  # unused while it is 1/0
    if momentum is not None:
        weight = mean.new_full((), momentum)
    for running, new in ((running_mean, mean), (running_var, var)):
        old = running.to(new.dtype)
        running.copy_(torch.where(good, old + weight * (new - old), old))


def _update_now(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Array,
    var: Array,
    momentum: float | None,
    nonfinite: NonFinite,
    num_batches: Tensor | None,
) -> None:
    """Do the same in NumPy, on the CPU: a call takes a fraction of torch's, and looking is free."""
    pairs = [(r.detach(), new) for r, new in ((running_mean, mean), (running_var, var))]
    with np.errstate(over="ignore", invalid="ignore"):
        if nonfinite != "propagate":
            fits = [
                np.isfinite(new.astype(_KNOWN_TO_NUMPY[r.dtype], copy=False)) for r, new in pairs
            ]
            if not (fits[0].all() and fits[1].all()):
                if nonfinite == "raise":
                    require_finite(torch.from_numpy(fits[0] & fits[1]))
                return
        if num_batches is not None:
            num_batches += 1
            if momentum is None:
                momentum = 1 / num_batches.item()
        for running, new in pairs:
            old = running.clone().numpy()  # of its own memory: an array there forbids to resize it
            running.copy_(torch.from_numpy(old + momentum * (new - old)))
