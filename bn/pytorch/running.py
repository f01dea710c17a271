"""Running statistics: what moves them, and what must not."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

#: What to do with a mini-batch whose statistics are NaN or infinite.
NonFinite = Literal["keep", "raise", "propagate"]


def check_nonfinite(nonfinite: Any) -> None:
    """Raise ValueError unless `nonfinite` names a policy."""
    if nonfinite not in get_args(NonFinite):
        raise ValueError(f"nonfinite is {nonfinite!r}, expected one of {get_args(NonFinite)}")


def check_momentum(momentum: Any) -> None:
    """Raise ValueError unless `momentum` is None or a weight from 0 to 1."""
    if momentum is None or (isinstance(momentum, (int, float)) and 0 <= momentum <= 1):
        return
    raise ValueError(f"momentum is {momentum!r}, expected a weight from 0 to 1, or None")


@torch.library.custom_op("bn_book::require_finite", mutates_args=())
def require_finite(finite: Tensor) -> Tensor:
    """Return True as a tensor, or raise ValueError: an operator, so that the compiler keeps it."""
    if not finite.all():  # the device has to finish before the host can know
        raise ValueError(
            f"x holds NaN or infinity, or has a variance that overflows, in channel "
            f"{int((~finite).int().argmax())}; one such batch would spoil the running statistics "
            "for ever, so they were not updated"
        )
    return finite.all()


@require_finite.register_fake
def _(finite: Tensor) -> Tensor:
    return finite.new_empty(())


@torch.no_grad()
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
        "raise": ValueError, for which a GPU has to wait. "propagate": what torch.nn does: NaN
        enters and stays for ever.
    num_batches : integer tensor, shape (), optional
        How many batches the statistics have seen: increased by 1, in place.

    Raises
    ------
    ValueError
        If an argument does not fit, or as `nonfinite` asks.
    """
    check_momentum(momentum)
    check_nonfinite(nonfinite)
    if momentum is None and num_batches is None:
        raise ValueError("momentum is None, the average of all batches: num_batches must be given")
    if unbiased:
        var = var * (m / (m - 1))
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
