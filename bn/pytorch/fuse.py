"""Put a batch norm and the ReLU after it into one module, all through a model."""

from collections import Counter
from typing import Any, TypeVar

from torch import nn

from bn.pytorch.backends import Backend, check_backend
from bn.pytorch.convert import OURS, PAIRS
from bn.pytorch.fused import BatchNormReLU
from bn.pytorch.modules import check_options

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model, *, backend: Backend = "auto") -> Model:
    """Make one module of every batch norm and ReLU that follow each other in an nn.Sequential.

    What happens in a ``forward`` method cannot be seen from outside: there, write
    :class:`~bn.pytorch.BatchNormReLU` or :class:`~bn.pytorch.BatchNormAddReLU` yourself.

    Parameters
    ----------
    model : torch.nn.Module
        Changed IN PLACE. The batch norm, of torch.nn's or of this package's, stays the same
        object and becomes a :class:`~bn.pytorch.BatchNormReLU`; in the place of the ReLU there
        is an ``nn.Identity``. So parameters, optimizers and the names in ``state_dict`` stay.
    backend : {"auto", "reference", "numba", "torch", "triton"}
        Which code computes in those that were torch.nn's, see :mod:`bn.pytorch`.

    Returns
    -------
    model
        The same object, for convenience.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. The model is then unchanged.

    Notes
    -----
    Left as they are: a batch norm that is used in several places, a ReLU with hooks, and
    subclasses, because they may do more.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is of type {type(model).__name__}, expected a torch.nn.Module")
    check_backend(backend)
    uses = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    found: list[tuple[Any, int]] = []
    blocks: list[Any] = [m for m in model.modules() if isinstance(m, nn.Sequential)]
    for block in blocks:
        if type(block).forward is not nn.Sequential.forward:
            continue
        for i in range(len(block) - 1):
            norm, relu = block[i], block[i + 1]
            hooks = relu._forward_hooks or relu._forward_pre_hooks or relu._backward_hooks
            known = type(norm) in PAIRS or type(norm) in OURS
            if known and type(relu) is nn.ReLU and uses[id(norm)] == 1 and not hooks:
                check_options(norm.num_features, norm.eps, norm.momentum)
                found.append((block, i))
    for block, i in found:
        norm = block[i]
        if type(norm) in PAIRS:
            norm.unbiased, norm.nonfinite, norm.backend = True, "keep", backend
        norm.__class__ = BatchNormReLU
        block[i + 1] = nn.Identity()
    return model
