"""Who is around when batch norm is called: what torch is doing, told without a word to it.

**Whether a call of an operator has to go through torch** (:func:`nobody_watches`). Compilers,
tracers, modes and tensors that stand for others all see operators. Where there is none of them,
torch would only find out, each time anew, that the operator's own function is to be called, and
with an operator that is written in Python this takes longer than many a batch norm.

**Whether operators will do** (:func:`is_transformed`). torch.func and forward-mode derivatives do
not go through an operator of torch's library; see :mod:`bn.pytorch.formula`.

**Whether this is the same batch again** (:func:`in_backward_pass`), and whether torch.fx only
wants to know what would be called (:func:`recorded_by_fx`).
"""

from functools import cache
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

_PLAIN_TYPES = (Tensor, nn.Parameter)


def nobody_watches(*tensors: Tensor | None) -> bool:
    """Tell whether only autograd needs to know: all are plain CPU tensors, and no mode is on."""
    if torch.compiler.is_compiling():
        return False
    known = _plain_keys()
    if not known or torch._C._get_tracing_state() is not None or _modes():
        return False
    keys_of = torch._C._dispatch_keys
    for t in tensors:
        if t is not None and not (type(t) in _PLAIN_TYPES and keys_of(t).raw_repr() in known):
            return False
    return True


@cache
def _plain_keys() -> frozenset[int]:
    """Return what torch's dispatcher looks at in a plain tensor on the CPU.

    Tensors that are wrapped, negated or conjugated only when read, sparse, or on another device
    differ in it.
    """
    try:
        _modes()
        with torch.inference_mode(False):  # tensors made in that mode are of another kind
            examples = torch.empty(1), torch.empty(1, requires_grad=True)
        return frozenset(torch._C._dispatch_keys(t).raw_repr() for t in examples)
    except AttributeError:  # no public names: a release without them takes the long way
        return frozenset()


def _modes() -> bool:
    """Tell whether a mode sees every operator, or a transformation of functions is going on."""
    return torch._C._len_torch_dispatch_stack() > 0 or _in_torch_func()


def is_transformed(*tensors: Tensor | None) -> bool:
    """Tell whether torch.func is at work, or a tensor carries a forward-mode derivative."""
    if _in_torch_func():
        return True
    if forward_ad._current_level < 0:
        return False
    unpack: Any = forward_ad.unpack_dual  # mypy: torch left it without types
    return any(t is not None and unpack(t).tangent is not None for t in tensors)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _in_torch_func() -> bool:
    return torch._C._functorch.maybe_current_level() is not None


def is_mapped(tensor: Tensor) -> bool:
    """Tell whether a tensor stands for several, one for each slice under torch.vmap."""
    return torch._C._functorch.is_batchedtensor(tensor)


def in_backward_pass() -> bool:
    """Tell whether autograd is computing gradients on this thread.

    A forward pass in the middle of that is taken for activation checkpointing, which computes
    again what it did not keep, from a batch that has been seen before.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def unseen_copies(*tensors: Tensor | None) -> list[Any]:
    """Return copies, made without a word to anybody who watches.

    A second forward pass writes to them, so that it runs the same operators as the first:
    selective checkpointing counts them.
    """
    with _disable_current_modes():
        return [None if each is None else each.clone() for each in tensors]


def recorded_by_fx(module: nn.Module, *inputs: Any) -> Any:
    """Return None; if torch.fx is tracing, its record of a call of `module` as a whole.

    So our modules are leaves of its graphs, as torch.nn's are.
    """
    for each in inputs:
        if isinstance(each, torch.fx.Proxy):
            tracer: Any = each.tracer
            name = tracer.path_of_module(module)
            if not name:
                raise TypeError(
                    f"torch.fx cannot trace a {type(module).__name__} by itself, only a model "
                    'that holds it; or swap it for torch.nn\'s with convert(module, to="torch")'
                )
            return tracer.create_proxy("call_module", name, inputs, {})
    return None
