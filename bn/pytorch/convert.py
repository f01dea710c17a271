"""Swap the batch norms of a whole model for ours, and back."""

import warnings
from typing import Literal, TypeVar

from torch import nn

from bn.pytorch.backends import Backend, check_backend
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
        Whose batch norms the model shall have.
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
        ``SyncBatchNorm``, ``LazyBatchNorm``, or somebody's own.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if the other side has no such batch norm, for example
        torch.nn none with ``unbiased=False``. The model is then unchanged.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is of type {type(model).__name__}, expected a torch.nn.Module")
    if to not in ("bn", "torch"):
        raise ValueError(f"to is {to!r}, expected 'bn' or 'torch'")
    check_backend(backend)
    classes, done = (PAIRS, OURS) if to == "bn" else (OURS, PAIRS)
    found, left = [], []
    for name, module in model.named_modules():  # each module once, even if it is used twice
        if type(module) in classes:
            _check(module, name, to)
            found.append(module)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in done:
            left.append(f"{name or 'the model itself'} ({type(module).__name__})")

    for module in found:
        if to == "bn":
            module.unbiased, module.nonfinite, module.backend = True, "keep", backend
        else:
            del module.unbiased, module.nonfinite, module.backend
        module.__class__ = classes[type(module)]
    if left:
        warnings.warn(f"left as they are: {', '.join(left)}", stacklevel=2)
    return model


def _check(module: nn.Module, name: str, to: str) -> None:
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
