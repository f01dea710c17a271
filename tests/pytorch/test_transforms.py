"""torch.func, forward mode, torch.fx: what does not go through an operator."""

import pytest
import torch
from torch import func, nn
from torch.autograd import forward_ad

from bn import pytorch

MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def of(training, textbook):
    """The same function of x, gamma, beta and a residual, by us and as anyone would write it."""
    mean, var = torch.randn(3, dtype=torch.double), 1 + torch.rand(3, dtype=torch.double)

    def ours(x, gamma, beta, residual):
        running = (None, None) if training else (mean, var)
        return pytorch.batch_norm(
            x, gamma, beta, *running, training=training, relu=True, residual=residual
        )

    def plain(x, gamma, beta, residual):
        if training:
            y = textbook(x, gamma, beta)
        else:
            y = gamma * (x - mean) / (var + 1e-5).sqrt() + beta
        return torch.relu(y + residual)

    return ours, plain


def drawn(shape=(4, 3)):
    inputs = torch.randn(shape), torch.randn(3), torch.randn(3), torch.randn(shape)
    return tuple(each.double() for each in inputs)


@MODES
@pytest.mark.parametrize(
    "transform", [func.jacrev, func.jacfwd, func.hessian], ids=lambda t: t.__name__
)
def test_jacobians(training, transform, textbook):
    inputs = drawn()
    found = [
        transform(lambda *inputs, f=function: f(*inputs).pow(3).sum(0), argnums=(0, 1, 2, 3))(
            *inputs
        )
        for function in of(training, textbook)
    ]
    torch.testing.assert_close(*found)


@MODES
def test_forward_mode(training, textbook):
    """Also where only one of the inputs carries a derivative."""
    inputs, tangents = drawn(), drawn()
    for chosen in ({0, 1, 2, 3}, {0}, {1}, {3}):
        found = []
        for function in of(training, textbook):
            with forward_ad.dual_level():
                duals = [
                    forward_ad.make_dual(each, tangent) if i in chosen else each
                    for i, (each, tangent) in enumerate(zip(inputs, tangents, strict=True))
                ]
                found.append(forward_ad.unpack_dual(function(*duals)))
        torch.testing.assert_close(found[0].primal, found[1].primal)
        torch.testing.assert_close(found[0].tangent, found[1].tangent)


@MODES
def test_forward_over_reverse(training, textbook):
    """Derivatives of gradients, where only the gradient from above carries one."""
    inputs, weights, tangent = drawn(), torch.randn(2, 4, 3, dtype=torch.double)[0], drawn()[0]
    results = []
    for function in of(training, textbook):
        given = [each.clone().requires_grad_() for each in inputs]
        with forward_ad.dual_level():
            loss = (function(*given) * forward_ad.make_dual(weights, tangent)).sum()
            first = torch.autograd.grad(loss, given, create_graph=True)
            results.append([forward_ad.unpack_dual(each).tangent for each in first])
            again = sum(each.pow(2).sum() for each in first)
            second = torch.autograd.grad(again, given[:2])
            results[-1] += [forward_ad.unpack_dual(each).tangent for each in second]
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@MODES
def test_many_gradients_at_once(training, textbook):
    """As jacobians of autograd take them, from a forward pass by the operators."""
    inputs, results = [each.requires_grad_() for each in drawn()], []
    weights = torch.randn(5, 4, 3, dtype=torch.double)
    for function in of(training, textbook):
        y = function(*inputs)
        at_once = {"is_grads_batched": True, "create_graph": True}
        first = torch.autograd.grad(y, inputs, weights, **at_once)
        second = torch.autograd.grad(first[0], inputs[:2], weights.expand(6, 5, 4, 3), **at_once)
        results.append([*first, *second])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


def test_the_explicit_pair():
    """The gradient is linear in dy, and differentiable for x."""
    x, dy, tangent = torch.randn(3, 8, 3, dtype=torch.double)
    _, cache = pytorch.batch_norm_forward(x)

    def dx(dy):
        return pytorch.batch_norm_backward(dy, cache)[0]

    primal, derivative = func.jvp(dx, (dy,), (tangent,))
    torch.testing.assert_close(primal, dx(dy))
    torch.testing.assert_close(derivative, dx(tangent))
    mapped = func.vmap(dx)(torch.stack([dy, tangent]))
    torch.testing.assert_close(mapped, torch.stack([dx(dy), dx(tangent)]))
    torch.testing.assert_close(func.grad(lambda dy: dx(dy).mul(tangent).sum())(dy), dx(tangent))


def test_y_can_be_viewed_as_in_torch():
    x = torch.randn(4, 7, 3)
    for package in (nn, pytorch):
        norm = package.BatchNorm1d(3).eval()

        def length(x, norm=norm):
            return norm(x.transpose(1, 2)).view(4, -1).square().sum()

        assert func.grad(length)(x).shape == x.shape
        with forward_ad.dual_level():
            length(forward_ad.make_dual(x, x))


def test_forward_mode_of_a_module_moves_its_statistics_once():
    theirs, ours = (package.BatchNorm1d(3) for package in (nn, pytorch))
    x, tangent = torch.randn(2, 8, 3)
    results = []
    for module in (theirs, ours):
        with forward_ad.dual_level():
            results.append(forward_ad.unpack_dual(module(forward_ad.make_dual(x, tangent))))
    torch.testing.assert_close(tuple(results[0]), tuple(results[1]))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert not any(value.requires_grad for value in ours.buffers())


def test_per_example_gradients_of_a_network():
    """What torch.func is used for most: vmap of grad, of a module that is evaluating."""
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)).eval()
    model[1].running_mean.normal_()
    x = torch.randn(6, 5)

    def gradients(model):
        parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

        def loss(parameters, example):
            state = (parameters, buffers)
            return func.functional_call(model, state, (example[None],)).square().sum()

        return func.vmap(func.grad(loss), in_dims=(None, 0))(parameters, x)

    expected = gradients(model)
    for change in (pytorch.convert, pytorch.fuse):
        got = gradients(change(model))
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, msg=name)


def test_an_ensemble_trains_under_vmap():
    """Each member has running statistics of its own, which move."""
    x, states, results = torch.randn(4, 8, 3), [], []
    for package in (nn, pytorch):
        parameters, buffers = func.stack_module_state([package.BatchNorm1d(3) for _ in range(4)])
        module = package.BatchNorm1d(3)

        def call(parameters, buffers, x, module=module):
            return func.functional_call(module, (parameters, buffers), (x,))

        results.append(func.vmap(call)(parameters, buffers, x))
        states.append(buffers)
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*states)
    assert states[1]["num_batches_tracked"].tolist() == [1] * 4


def test_captured_statistics_are_not_changed_under_a_gradient():
    """As in torch.nn, a message says to pass them in; nothing has moved by then."""
    module = pytorch.BatchNorm1d(3)
    with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
        func.grad(lambda x: module(x).sum())(torch.randn(8, 3))
    assert module.num_batches_tracked == 0
    assert (module.running_mean == 0).all()


def test_large_means_keep_their_digits(textbook):
    x = (1e6 + torch.randn(64, 3)).float()
    weights = torch.randn(64, 3)
    exact = func.grad(lambda x: (textbook(x) * weights).sum())(x.double())
    got = func.grad(lambda x: (pytorch.batch_norm(x) * weights).sum())(x)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_variance_that_does_not_fit_is_seen():
    x = torch.tensor([[1e200], [-1e200]], dtype=torch.double)
    assert func.vmap(pytorch.batch_norm)(x[None]).isnan().all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_types_stay(half):
    x = torch.randn(8, 3).to(half)
    y = func.vmap(pytorch.batch_norm)(x[None])[0]
    assert y.dtype == half
    torch.testing.assert_close(y, pytorch.batch_norm(x), rtol=1e-2, atol=1e-2)


def test_compiled_as_a_whole():
    torch.compiler.reset()
    module, x = pytorch.BatchNorm1d(3).eval(), torch.randn(4, 8, 3)

    def gradients(x):
        return func.vmap(func.grad(lambda x: module(x).pow(3).sum()))(x)

    compiled = torch.compile(gradients, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), gradients(x))
    plain = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(plain(x[0]), module(x[0]))


@pytest.mark.parametrize(
    ("module", "count"),
    [(pytorch.BatchNorm2d, 1), (pytorch.BatchNormReLU, 1), (pytorch.BatchNormAddReLU, 2)],
)
def test_modules_are_leaves_of_fx(module, count):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module(3)

        def forward(self, x):
            return self.inner(*[x] * count) + 1

    model, x = Model().eval(), torch.randn(4, 3, 5, 5)
    traced = torch.fx.symbolic_trace(model)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["inner"]
    torch.testing.assert_close(traced(x), model(x))
    with pytest.raises(TypeError, match=r'convert\(module, to="torch"\)'):
        torch.fx.symbolic_trace(module(3))
