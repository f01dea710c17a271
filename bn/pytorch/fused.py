"""Batch norm and what follows it in one operator: less memory traffic, and less that is kept.

A ReLU by itself reads y from memory, writes it again, and keeps it for the backward pass, only to
find out where it was closed. That can be found again from x, which batch norm keeps anyway; so
half as much is kept, unless what comes next keeps y for itself, as a convolution does. With an
addition before the ReLU it cannot be found again; the kernels for the CPU then keep a bit for
each element, and everything else keeps what was added.

The modules here hold a batch norm and have none of its attributes, so that nothing takes them for
one: a tool that freezes, synchronizes or folds batch norms finds the one inside, and whatever it
makes of that, the ReLU stays. What runs in one operator is decided in each call: as soon as
somebody could see a difference (a hook, another module in its place), one runs after the other.
"""

from typing import Any, ClassVar

import torch
import torch.fx
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from bn.pytorch.checks import check_input, check_residual
from bn.pytorch.eager import recorded_by_fx
from bn.pytorch.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d

_OURS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def run_as_one(norm: nn.Module, relu: nn.Module | None = None) -> bool:
    """Tell whether a batch norm and the ReLU after it may run in one operator.

    That is if they are what they seem, and nobody wants to see what passes between them.
    """
    if type(norm) not in _OURS or type(relu) not in (nn.ReLU, type(None)):
        return False
    on_all: Any = nn.modules.module._has_any_global_hook  # mypy: torch left it without types
    return not (on_all() or _is_watched(norm) or _is_watched(relu))


def _is_watched(module: nn.Module | None) -> bool:
    """Tell whether a module has hooks, or a forward function of its own."""
    if module is None:
        return False
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS)


class _WithBatchNorm(nn.Module):
    """Holds the batch norm, `norm`, for x of shape (N, C) or (N, C, ...)."""

    def __init__(self, num_features: int, *args: Any, **options: Any) -> None:
        super().__init__()
        # annotated, since others may put a module of theirs in its place
        self.norm: nn.Module = BatchNorm2d(num_features, *args, **options)

    def at_once(self, input: Tensor, *residual: Tensor) -> Any:
        """Return y by one operator, or torch.fx's record; None if one runs after the other."""
        recorded = recorded_by_fx(self, input, *residual)
        if recorded is not None:
            return recorded
        check_input("input", input)
        for each in residual:
            check_residual(each, input)
        if not run_as_one(self.norm):
            return None
        norm: Any = self.norm
        return norm.normalize(input, True, *residual)

    def normalized(self, input: Tensor) -> Tensor:
        """Return what `norm` makes of any number of axes, by itself."""
        if input.dim() == 4:
            y: Tensor = self.norm(input)
            return y
        y = self.norm(input.unsqueeze(-1).flatten(2).unsqueeze(-1))
        return y.reshape(input.shape)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **options: Any
    ) -> None:
        """Take the checkpoint of a batch norm alone, too."""
        for name in (*self.norm._parameters, *self.norm._buffers):
            if prefix + name in state_dict:
                state_dict[f"{prefix}norm.{name}"] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, *args, **options)


class BatchNormReLU(_WithBatchNorm):
    """``relu(batch_norm(x))`` for x of shape (N, C) or (N, C, ...).

    Parameters are those of :class:`BatchNorm1d`. The batch norm itself is the attribute `norm`, a
    :class:`BatchNorm2d`. The checkpoint of an ``nn.BatchNorm2d`` alone fits, too; names in its own
    begin with ``norm.``. NaN passes through the ReLU.

    Raises
    ------
    TypeError, ValueError
        As :class:`BatchNorm1d` does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return y; in training, move the running statistics too."""
        if not is_scripting():
            y: Tensor | None = self.at_once(input)
            if y is not None:
                return y
        return torch.relu(self.normalized(input))


class BatchNormAddReLU(_WithBatchNorm):
    """``relu(batch_norm(x) + residual)``: the end of a residual block.

    Parameters, `norm`, checkpoints and errors are those of :class:`BatchNormReLU`.
    """

    def forward(self, input: Tensor, residual: Tensor) -> Tensor:
        """Return y; in training, move the running statistics too.

        Parameters
        ----------
        input : tensor, (N, C) or (N, C, ...)
        residual : tensor, the shape, type and device of the input

        Raises
        ------
        TypeError, ValueError
            As :class:`BatchNorm1d` does, and if `residual` does not fit.
        """
        if not is_scripting():
            y: Tensor | None = self.at_once(input, residual)
            if y is not None:
                return y
        return torch.relu(self.normalized(input) + residual)


class FusedSequential(nn.Sequential):
    """An ``nn.Sequential`` that runs each batch norm and the ReLU after it in one operator.

    :func:`fuse` makes it. The modules in it are those of the ``nn.Sequential``.
    """

    #: The class that it was before.
    plain: ClassVar[type[nn.Sequential]] = nn.Sequential

    def forward(self, input: Any) -> Any:
        """Return what the modules make of the input, one after the other."""
        modules = list(self)
        position = 0
        while position < len(modules):
            module, after = modules[position], modules[position + 1 : position + 2]
            as_one = bool(after) and run_as_one(module, after[0])
            if as_one and not isinstance(input, torch.fx.Proxy):
                norm: Any = module
                norm._check_input_dim(input)
                input = norm.normalize(input, relu=True)
                position += 2
            else:
                input = module(input)
                position += 1
        return input


#: Each kind of nn.Sequential, and what runs its batch norms and ReLUs as one.
_FUSED: dict[type[nn.Sequential], type[FusedSequential]] = {nn.Sequential: FusedSequential}


def fused(kind: type[nn.Sequential]) -> type[FusedSequential]:
    """Return the FusedSequential for instances of `kind`, which is nn.Sequential or inherits."""
    if kind not in _FUSED:

        def reduce(self: Any, protocol: Any) -> Any:
            # for copy and pickle: the class has no name to be found by
            reduced: Any = kind.__reduce_ex__(self, protocol)
            return _remade, (kind,), *reduced[2:]

        members = {"__module__": __name__, "__reduce_ex__": reduce, "plain": kind}
        _FUSED[kind] = type(f"Fused{kind.__name__}", (FusedSequential, kind), members)
    return _FUSED[kind]


def _remade(kind: type[nn.Sequential]) -> FusedSequential:
    made = fused(kind)
    return made.__new__(made)


def plain(kind: type[nn.Sequential]) -> type[nn.Sequential]:
    """Return what :func:`fused` has made `kind` of; `kind` itself if it was not made so."""
    if issubclass(kind, FusedSequential) and fused(kind.plain) is kind:
        return kind.plain
    return kind
