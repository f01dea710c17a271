"""Let each batch norm and the ReLU after it run as one, all through a model."""

from itertools import pairwise
from typing import TypeVar

from torch import nn

from bn.pytorch.backends import Backend, check_backend
from bn.pytorch.convert import OURS, PAIRS, check_model, check_swap, swap
from bn.pytorch.fused import FusedSequential, fused

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model, *, backend: Backend = "auto") -> Model:
    """Run every batch norm and ReLU that follow each other in an nn.Sequential in one operator.

    What happens in a ``forward`` method cannot be seen from outside: there, write
    :class:`~bn.pytorch.BatchNormReLU` or :class:`~bn.pytorch.BatchNormAddReLU` yourself.

    Parameters
    ----------
    model : torch.nn.Module
        Changed IN PLACE. Each ``nn.Sequential`` with such a pair gets another class, which runs
        the two as one, and torch.nn's batch norms of such pairs become this package's, as by
        :func:`convert`. All modules stay the same objects in their places; so do parameters, and
        the names in ``state_dict``.
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
    Batch norms are still found by ``isinstance``, to freeze them for example. Where one of the
    two has hooks, or is replaced later (``SyncBatchNorm.convert_sync_batchnorm``, folding,
    quantization), they run one after the other, as before. An ``nn.Sequential`` with a forward
    method of its own is left alone, and so are subclasses of batch norms and ReLUs.

    ``convert(model, to="torch")`` is the way back.
    """
    check_model(model)
    check_backend(backend)
    blocks: list[nn.Module] = []
    norms: dict[str, nn.Module] = {}
    for name, block in model.named_modules():
        if not isinstance(block, nn.Sequential):
            continue
        if type(block).forward not in (nn.Sequential.forward, FusedSequential.forward):
            continue
        places = block._modules.items()  # not named_children: a module may be in two places
        found = {
            f"{name}.{key}".removeprefix("."): norm
            for (key, norm), (_, relu) in pairwise(places)
            if type(relu) is nn.ReLU and (type(norm) in PAIRS or type(norm) in OURS)
        }
        if found:
            blocks.append(block)
            norms |= {where: norm for where, norm in found.items() if type(norm) in PAIRS}
    for where, norm in norms.items():
        check_swap(norm, where, "bn")
    for norm in norms.values():
        if type(norm) in PAIRS:  # not yet swapped, in another place
            swap(norm, "bn", backend)
    for block in blocks:
        if not isinstance(block, FusedSequential):
            block.__class__ = fused(type(block))  # type: ignore[arg-type]
    return model
