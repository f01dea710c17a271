"""PyTorch's own samples for BatchNorm1d, 2d and 3d, run on bn.reference and on bn.pytorch.

The module database of `torch.testing._internal` gives how to construct a module and what to call
it with. Parameters and statistics start from random numbers, the same on each side. After every
call all that is learned or tracked is compared with torch.nn's, and so are the gradients.

Where ours differs on purpose, the case says so: an empty batch in training is not counted, eps
below 0 is refused by the constructor, and eps = 0 is allowed. bn.reference has neither a bias of
its own to leave out nor an option against tracking: its beta is then zero, and its functions
stand in for the layer.
"""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
from torch.testing._internal.common_utils import noncontiguous_like

from bn import pytorch, reference

INFOS = [info for info in module_db if info.module_cls.__name__ in vars(pytorch)]
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
}


class Case:
    """One way to construct a module and one input for it."""

    def __init__(self, info, sample, training, dtype):
        self.cls, self.sample = info.module_cls, sample
        self.training, self.dtype = training, dtype
        self.x = sample.forward_input.args[0]
        kind = "training" if training else "inference"
        type_ = str(dtype).removeprefix("torch.")
        self.id = f"{info.name}-{sample.desc or 'plain'}-{kind}-{type_}"

    def build(self, package):
        """A module of torch.nn or bn.pytorch, with the same random numbers in each."""
        made = self.sample.constructor_input
        module = getattr(package, self.cls.__name__)(*made.args, **made.kwargs, dtype=self.dtype)
        numbers = torch.Generator().manual_seed(20150211)
        state = {
            name: torch.rand(t.shape, generator=numbers, dtype=t.dtype) + 0.5
            for name, t in module.state_dict().items()
            if t.is_floating_point()
        }
        module.load_state_dict(state, strict=False)
        return module.train(self.training)


def cases():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20150211)
        return [
            Case(info, sample, training, dtype)
            for info in INFOS
            for dtype in (torch.float32, torch.float64)
            for training in (True, False)
            for sample in info.module_inputs_func(
                info, "cpu", dtype, requires_grad=False, training=training
            )
        ]


ALL = cases()


class Pytorch:
    name = "pytorch"

    def __init__(self, case):
        self.module = case.build(pytorch)

    def step(self, x, dy):
        """Return y and the gradients for x, gamma and beta, as far as there are any."""
        x = x.detach().requires_grad_()
        y = self.module(x)
        return [y, *torch.autograd.grad(y, [x, *self.module.parameters()], dy)]

    def books(self):
        return dict(self.module.named_buffers())


class Reference:
    name = "reference"

    def __init__(self, case):
        module, self.dtype = case.build(torch.nn), case.dtype
        self.layer = reference.BatchNorm(
            module.num_features, eps=module.eps, momentum=module.momentum, affine=module.affine
        )
        self.learned = len(list(module.parameters()))
        self.tracked = module.track_running_stats
        if module.affine:
            self.layer.gamma = module.weight.detach().numpy()
        if module.bias is not None:
            self.layer.beta = module.bias.detach().numpy()
        if self.tracked:
            self.layer.running_mean = module.running_mean.numpy().astype("f8")
            self.layer.running_var = module.running_var.numpy().astype("f8")
        self.layer.training = case.training or not self.tracked

    def step(self, x, dy):
        y, dx = self.layer.forward(x.numpy()), self.layer.backward(dy.numpy())
        gradients = [self.layer.dgamma, self.layer.dbeta][: self.learned]
        return [torch.as_tensor(a, dtype=self.dtype) for a in (y, dx, *gradients)]

    def books(self):
        if not self.tracked:
            return {}
        return {
            "running_mean": torch.as_tensor(self.layer.running_mean, dtype=self.dtype),
            "running_var": torch.as_tensor(self.layer.running_var, dtype=self.dtype),
            "num_batches_tracked": torch.tensor(self.layer.num_batches),
        }


@pytest.fixture(params=[Reference, Pytorch], ids=lambda kind: kind.name)
def kind(request):
    return request.param


def each(chosen):
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.id)


@each(ALL)
@pytest.mark.parametrize("layout", [torch.clone, noncontiguous_like], ids=["packed", "gaps"])
def test_module(kind, case, layout):
    """Two steps: outputs, gradients, statistics and the counter."""
    theirs, ours = case.build(torch.nn), kind(case)
    numbers = torch.Generator().manual_seed(1)
    for x in (case.x, 3 - 2 * case.x):
        dy = torch.randn(x.shape, generator=numbers, dtype=case.dtype)
        x = x.detach().requires_grad_()
        y = theirs(x)
        expected = [y, *torch.autograd.grad(y, [x, *theirs.parameters()], dy)]
        got = ours.step(layout(x.detach()), layout(dy))
        for mine, wanted in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, wanted, **TOLERANCE[case.dtype])
        books = dict(theirs.named_buffers())
        if case.x.numel() == 0 and "num_batches_tracked" in books:
            books["num_batches_tracked"] = torch.tensor(0)  # torch.nn counts empty batches
        torch.testing.assert_close(ours.books(), books, **TOLERANCE[case.dtype])


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@each([case for case in ALL if case.dtype == torch.float64 and case.x.numel()])
def test_by_differences_pytorch(check, case):
    """In fast mode, a random direction each, as torch tests its own modules."""
    module = case.build(pytorch)
    names = [name for name, _ in module.named_parameters()]

    def function(x, *parameters):
        buffers = {name: b.clone() for name, b in module.named_buffers()}
        return functional_call(module, dict(zip(names, parameters, strict=True)) | buffers, x)

    inputs = [case.x, *module.parameters()]
    torch.manual_seed(20150211)
    assert check(function, [t.detach().requires_grad_() for t in inputs], fast_mode=True)


def errors():
    found = []
    for info in INFOS:
        for error in info.module_error_inputs_func(
            info, "cpu", torch.float32, requires_grad=False, training=True
        ):
            sample = error.module_error_input
            options = sample.constructor_input
            case = (info, options.args[0], options.kwargs, sample.forward_input.args[0], error)
            name = f"{info.name}-eps={options.kwargs['eps']}"
            found.append(pytest.param(*case, id=name))
    return found


@pytest.mark.parametrize(("info", "features", "options", "x", "error"), errors())
@pytest.mark.parametrize("ours", ["reference", "pytorch"])
def test_error_inputs(ours, info, features, options, x, error):
    """Torch refuses eps <= 0 when called; ours eps < 0 when constructed, and allows eps = 0."""
    assert error.error_on == ModuleErrorEnum.FORWARD_ERROR
    theirs = info.module_cls(features, **options)
    with pytest.raises(error.error_type, match=error.error_regex):
        theirs(x)
    cls = reference.BatchNorm if ours == "reference" else getattr(pytorch, info.name[3:])
    if options["eps"] < 0:
        with pytest.raises(ValueError, match=r"eps is -1.0, expected a finite number"):
            cls(features, **options)
        return
    layer = cls(features, **options)
    y = torch.as_tensor(layer.forward(x.numpy() if ours == "reference" else x))
    others = [a for a in range(x.dim()) if a != 1]
    torch.testing.assert_close(y.square().mean(others), torch.ones(features))
