"""PyTorch's own samples for its batch-norm operators, in the terms of this book.

The samples come from the databases by which PyTorch tests itself, `torch.testing._internal`.
They have no promise of staying as they are, which is one reason why torch is pinned exactly.
"""

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

from bn import pytorch, reference

HALF = (torch.float16, torch.bfloat16)
WIDE = (torch.float32, torch.float64)
#: rtol, atol where both sides compute in the type itself.
TOLERANCE = {torch.float64: (1e-9, 1e-10), torch.float32: (2e-5, 2e-5)}


@dataclass(frozen=True)
class Case:
    """One sample of one operator."""

    op: str
    number: int
    x: torch.Tensor
    gamma: torch.Tensor | None
    beta: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    training: bool
    momentum: float
    eps: float

    @property
    def id(self):
        kind = "training" if self.training else "inference"
        return f"{self.op}-{self.number}-{kind}-{str(self.x.dtype).removeprefix('torch.')}"

    @property
    def flat(self):
        """Whether x has one axis only, which torch takes for a batch without channels."""
        return self.x.dim() < 2

    @property
    def learned(self):
        return [t for t in (self.x, self.gamma, self.beta) if t is not None]

    def fresh(self, change=torch.clone):
        """The same sample with tensors of its own; those to differentiate require it."""
        names = ("x", "gamma", "beta", "running_mean", "running_var")
        made = {n: None if getattr(self, n) is None else change(getattr(self, n)) for n in names}
        for name in names[:3]:
            if made[name] is not None:
                made[name] = made[name].detach().requires_grad_()
        return replace(self, **made)

    def theirs(self):
        """Run torch's operator; return y, and mean and inv_std of the batch where it tells them."""
        statistics = (self.running_mean, self.running_var)
        if self.op == "nn.functional.batch_norm":
            y = torch.nn.functional.batch_norm(
                self.x, *statistics, self.gamma, self.beta, self.training, self.momentum, self.eps
            )
            return y, None, None
        operator = OPERATORS[self.op]
        arguments = [self.x, self.gamma, self.beta]
        if self.op != "_native_batch_norm_legit" or self.running_mean is not None:
            arguments += statistics
        if self.op != "_batch_norm_with_update":
            arguments.append(self.training)
        y, mean, inv_std, *_ = operator(*arguments, self.momentum, self.eps)
        return (y, mean, inv_std) if self.training else (y, None, None)


def as_case(op, number, sample):
    """Sort a sample's arguments, whose order differs from operator to operator."""
    first, *rest = sample.input, *sample.args
    options = {"training": True, "momentum": 0.1, "eps": 1e-5}
    if op == "nn.functional.batch_norm":
        mean, var, gamma, beta = rest
        options |= {"training": False, **sample.kwargs}
    elif op == "_batch_norm_with_update":
        gamma, beta, mean, var, options["momentum"], options["eps"] = rest
    else:
        gamma, beta, *statistics = rest[:-3]
        mean, var = statistics or (None, None)
        options["training"], options["momentum"], options["eps"] = rest[-3:]
    return Case(op, number, first, gamma, beta, mean, var, **options)


def cases(dtypes):
    """All samples; the generator of random numbers is left as it was."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for info in op_db:
            if info.name in OPERATORS and info.variant_test_name == "":
                for dtype in dtypes:
                    torch.manual_seed(20150211)
                    samples = info.sample_inputs("cpu", dtype)
                    found += [as_case(info.name, i, sample) for i, sample in enumerate(samples)]
    return found


#: Torch's batch-norm operators by name. The second entry of nn.functional.batch_norm in the
#: database, for CUDA, has the same samples.
OPERATORS = {info.name: info.op for info in op_db if "batch_norm" in info.name}
WITH_ERROR_INPUTS = {i.name for i in op_db if i.name in OPERATORS and i.error_inputs_func}


def to_numpy(tensor):
    """Return an array of the same values and strides; NumPy has no bfloat16 of its own."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def to_torch(array, dtype):
    """Return a tensor of that type; statistics of the reference are float64 always."""
    return torch.from_numpy(np.asarray(array, np.float64)).to(dtype)


class Reference:
    """What bn.reference makes of a case, as tensors."""

    name = "reference"

    def forward(self, case):
        """Return y, and mean and inv_std of the batch in training."""
        x, gamma, beta = (to_numpy(t) for t in (case.x, case.gamma, case.beta))
        if not case.training:
            statistics = to_numpy(case.running_mean), to_numpy(case.running_var)
            y = reference.batch_norm_inference(x, *statistics, gamma, beta, eps=case.eps)
            return to_torch(y, case.x.dtype), None, None
        y, cache = reference.batch_norm_forward(x, gamma, beta, eps=case.eps)
        return tuple(to_torch(a, case.x.dtype) for a in (y, cache.mean, cache.inv_std))

    def running(self, case):
        """Return the running statistics after the call."""
        layer = reference.BatchNorm(case.x.shape[1], eps=case.eps, momentum=case.momentum)
        layer.running_mean, layer.running_var = map(to_numpy, (case.running_mean, case.running_var))
        layer.forward(to_numpy(case.x))
        return [to_torch(a, case.x.dtype) for a in (layer.running_mean, layer.running_var)]

    def gradients(self, case, dy):
        """Return the gradients for x, gamma and beta, as far as there are any."""
        x, gamma, dy = (to_numpy(t) for t in (case.x, case.gamma, dy))
        if case.training:
            _, cache = reference.batch_norm_forward(x, gamma, eps=case.eps)
            found = reference.batch_norm_backward(dy, cache)
        else:
            statistics = to_numpy(case.running_mean), to_numpy(case.running_var)
            found = reference.batch_norm_inference_backward(dy, x, *statistics, gamma, eps=case.eps)
        given = (case.x, case.gamma, case.beta)
        return [
            to_torch(a, case.x.dtype) for a, t in zip(found, given, strict=True) if t is not None
        ]

    def second_gradients(self, case, dy, upstream):
        """Return what `upstream` for dx, dgamma, dbeta gives for dy, x and gamma."""
        x, gamma, dy = (to_numpy(t) for t in (case.x, case.gamma, dy))
        _, cache = reference.batch_norm_forward(x, gamma, eps=case.eps)
        u, *rest = (to_numpy(t) for t in upstream)
        v = rest.pop(0) if case.gamma is not None else None
        w = rest.pop(0) if case.beta is not None else None
        found = reference.batch_norm_double_backward(u, v, w, dy, cache)
        return [to_torch(a, case.x.dtype) for a in found[: 2 + (case.gamma is not None)]]


class Pytorch:
    """What bn.pytorch makes of a case."""

    name = "pytorch"

    def forward(self, case):
        if not case.training:
            statistics = case.running_mean, case.running_var
            y = pytorch.batch_norm_inference(
                case.x, *statistics, case.gamma, case.beta, eps=case.eps
            )
            return y, None, None
        y, cache = pytorch.batch_norm_forward(case.x, case.gamma, case.beta, eps=case.eps)
        return y, cache.mean.to(y.dtype), cache.inv_std.to(y.dtype)

    def running(self, case):
        moving = case.running_mean, case.running_var
        pytorch.batch_norm(case.x, None, None, *moving, momentum=case.momentum, eps=case.eps)
        return list(moving)

    def gradients(self, case, dy):
        return list(torch.autograd.grad(self.forward(case)[0], case.learned, dy))

    def second_gradients(self, case, dy, upstream):
        return second_by_autograd(self.forward(case)[0], case, dy, upstream)


def second_by_autograd(y, case, dy, upstream):
    """Differentiate <upstream, gradients> for dy, x and gamma by autograd."""
    first = torch.autograd.grad(y, case.learned, dy, create_graph=True)
    total = sum((u * g).sum() for u, g in zip(upstream, first, strict=True))
    wanted = [dy, *case.learned[: 1 + (case.gamma is not None)]]
    return list(torch.autograd.grad(total, wanted, materialize_grads=True))


IMPLEMENTATIONS = [Reference(), Pytorch()]
