"""Batch norm with what follows it in a network: a ReLU, or an addition and a ReLU.

The modules keep running statistics, on both sides. torch.nn's are tried in every form that one
would write by hand, because the best of them is what counts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bn.bench.cases import Case
from bn.bench.contenders import no_compiler
from bn.bench.prepared import Prepared, saved_by_autograd

#: The two fusions; without either, the kind is "bn".
KINDS = {"bn_relu": "BN + ReLU", "bn_add_relu": "BN + add + ReLU"}


class Form(NamedTuple):
    """One way to write it."""

    title: str
    eager: bool
    inplace: bool
    last: bool
    compile: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is one of this book's modules."""
        return not self.eager


FORMS = {
    "eager": Form("torch.nn", True, False, False),
    "eager-inplace": Form("torch.nn, in place", True, True, False),
    "eager-last": Form("torch.nn, channels_last", True, False, True),
    "eager-last-inplace": Form("torch.nn, channels_last, in place", True, True, True),
    "compile": Form("torch.compile", True, False, False, True),
    "compile-last": Form("torch.compile, channels_last", True, False, True, True),
    "ours": Form("BatchNormReLU, BatchNormAddReLU", False, False, False),
    "ours-last": Form("BatchNorm..ReLU, channels_last", False, False, True),
}


def problem(form: Form, quick: bool = False) -> str | None:
    """Return why a form cannot be had here, or None."""
    if form.compile and quick:
        return "compiling takes too long for a quick run"
    return no_compiler() if form.compile else None


def best_eager(ms: dict[str, float]) -> str:
    """Return the name of the fastest form of torch.nn without a compiler."""
    known = [name for name in ms if FORMS[name].eager and not FORMS[name].compile]
    return min(known, key=lambda name: ms[name])


def network(kind: str, form: Form, channels: int, backend: Any = "auto") -> tuple[Any, Any]:
    """Return a function of x, or of x and the residual, and its batch norm."""
    from torch import nn

    from bn.pytorch import BatchNorm2d, BatchNormAddReLU, BatchNormReLU

    if form.ours:
        ours = {"bn": BatchNorm2d, "bn_relu": BatchNormReLU, "bn_add_relu": BatchNormAddReLU}
        made: Any = ours[kind](channels, backend=backend)
        return made, made if kind == "bn" else made.norm
    module = nn.BatchNorm2d(channels)

    def bn_relu(x: Any) -> Any:
        y = module(x)
        return y.relu_() if form.inplace else y.relu()

    def bn_add_relu(x: Any, residual: Any) -> Any:
        y = module(x)
        return y.add_(residual).relu_() if form.inplace else (y + residual).relu()

    return {"bn": module, "bn_relu": bn_relu, "bn_add_relu": bn_add_relu}[kind], module


def make(
    kind: str,
    form: Form,
    case: Case,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    backend: str = "auto",
) -> Prepared:
    """Prepare one form."""
    import torch

    def tensor(array: Any) -> Any:
        layout = torch.channels_last if form.last else torch.contiguous_format
        made = torch.from_numpy(array).to(device, getattr(torch, dtype), copy=True)
        return made.contiguous(memory_format=layout)

    function, module = network(kind, form, case.x.shape[1], backend)
    module.to(device)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(case.gamma))
        module.bias.copy_(torch.from_numpy(case.beta))
    if form.compile:
        torch._dynamo.config.recompile_limit = 64
        function = torch.compile(function, dynamic=False)
    arguments = [tensor(case.x).requires_grad_()]
    if kind == "bn_add_relu":
        arguments.append(tensor(case.residual).requires_grad_())
    dy = tensor(case.dy)
    inputs = [arguments[0], module.weight, module.bias, *arguments[1:]]

    def forward() -> Any:
        with torch.no_grad():
            return function(*arguments)

    def both() -> Sequence[Any]:
        y = function(*arguments)
        return y, *torch.autograd.grad(y, inputs, dy)

    return Prepared(forward, both, lambda: saved_by_autograd(lambda: function(*arguments)))


def makers(
    kind: str, case: Case, quick: bool = False
) -> tuple[list[tuple[str, Callable[[], Prepared]]], dict[str, str]]:
    """Return what makes each form, and why some cannot be had here."""
    missing = {name: why for name, form in FORMS.items() if (why := problem(form, quick))}
    return [
        (name, functools.partial(make, kind, form, case))
        for name, form in FORMS.items()
        if name not in missing
    ], missing
