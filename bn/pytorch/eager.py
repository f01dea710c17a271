"""Whether a call of an operator has to go through torch.

Compilers, tracers, modes and tensors that stand for others all see operators. Where there is none
of them, torch would only find out, each time anew, that the operator's own function is to be
called, and with an operator that is written in Python this takes longer than many a batch norm.
"""

from functools import cache

import torch
from torch import Tensor, nn

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
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.maybe_current_level() is not None
    )
