"""Swap the batch norms of a whole model for ours, and back."""

import warnings
from typing import Literal, TypeVar

from torch import nn

from bn.pytorch.backends import Backend, check_backend
from bn.pytorch.fused import plain
from bn.pytorch.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d, check_options

PAIRS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}
OURS = {ours: theirs for theirs, ours in PAIRS.items()}

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model, to: Literal["bn", "torch"] = "bn", *, backend: Backend = "auto") -> Model:
    """Make every ``torch.nn.BatchNorm1d/2d/3d`` of a model one of ours, or the other way round.

    Parameters
    ----------
    model : torch.nn.Module
        Changed IN PLACE: each batch norm stays the same object and gets another class. So
        weights, statistics, ``requires_grad``, mode, type and device stay, and so do shared
        modules, hooks, and optimizers that hold the parameters. A compiled model must be
        compiled again.
    to : {"bn", "torch"}
        Whose batch norms the model shall have. With "torch", what :func:`fuse` did is undone,
        and :class:`BatchNormReLU` and :class:`BatchNormAddReLU` hold a batch norm of torch.nn's,
        followed by operations of torch: so the model can be exported.
    backend : {"auto", "reference", "numba", "torch", "triton"}
        Which code computes in those that are swapped for ours, see :mod:`bn.pytorch`.

    Returns
    -------
    model
        The same object, for convenience; also if it is a batch norm itself.

    Warns
    -----
    UserWarning
        Names the batch norms left as they are, because they are of a subclass that does more:
        ``SyncBatchNorm``, ``LazyBatchNorm``, or somebody's own; and options that torch.nn does
        not know, which are lost.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if the other side has no such batch norm, for example
        torch.nn none with ``unbiased=False``. The model is then unchanged.
    """
    check_model(model)
    if to not in ("bn", "torch"):
        raise ValueError(f"to is {to!r}, expected 'bn' or 'torch'")
    check_backend(backend)
    classes, done = (PAIRS, OURS) if to == "bn" else (OURS, PAIRS)
    found, left, lost = [], [], []
    for name, module in model.named_modules():  # each module once, even if it is used twice
        if type(module) in classes:
            check_swap(module, name, to)
            found.append(module)
            if to == "torch":
                lost += lost_options(module, name)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in done:
            left.append(f"{name or 'the model itself'} ({type(module).__name__})")

    for module in found:
        swap(module, to, backend)
    if to == "torch":
        for module in model.modules():
            if isinstance(module, nn.Sequential):
                module.__class__ = plain(type(module))
    if left:
        warnings.warn(f"left as they are: {', '.join(left)}", stacklevel=2)
    if lost:
        warnings.warn(f"torch.nn has no such options: {', '.join(lost)}", stacklevel=2)
    return model


def check_model(model: object) -> None:
    """Raise TypeError unless this is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is of type {type(model).__name__}, expected a torch.nn.Module")


def swap(module: nn.Module, to: str, backend: Backend) -> None:
    """Give a batch norm the class of the other side, and the options that belong to it."""
    if to == "bn":
        vars(module).update(unbiased=True, nonfinite="keep", backend=backend)
        module.__class__ = PAIRS[type(module)]
    else:
        for option in ("unbiased", "nonfinite", "backend"):
            delattr(module, option)
        module.__class__ = OURS[type(module)]


def lost_options(module: nn.Module, name: str) -> list[str]:
    """Name the options that a batch norm of ours loses, because torch.nn has no such thing."""
    return [
        f"{name or 'the model itself'} had {option}={getattr(module, option)!r}"
        for option, usual in (("nonfinite", "keep"), ("backend", "auto"))
        if getattr(module, option) != usual
    ]


def check_swap(module: nn.Module, name: str, to: str) -> None:
    """Raise ValueError if the other side could not do what `module` does."""
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    where = name or "the model itself"
    if to == "torch" and not module.unbiased:
        raise ValueError(
            f"{where} has unbiased=False, which torch.nn does not know; set it to True first, "
            "if the running variance may be m/(m-1) times what it was"
        )
    if to == "bn":
        try:
            check_options(module.num_features, module.eps, module.momentum)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} cannot be converted: {error}") from error
