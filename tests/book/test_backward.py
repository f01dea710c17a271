"""What the chapter on the backward pass draws, states by hand, and checks for its readers."""

import ast
import importlib.util

import nbformat
import numpy as np
import pytest

from bn.reference import (
    backward_by_equations,
    backward_by_graph,
    batch_norm_backward,
    batch_norm_double_backward,
    batch_norm_forward,
)
from bn.reference.backward_forms import double_backward_by_steps

X, DY = np.array([1.0, 2.0, 3.0, 6.0])[:, None], np.array([1.0, 0.0, 0.0, 0.0])[:, None]
GAMMA, EPS = np.array([2.0]), 0.5


@pytest.fixture(scope="module")
def graph(root):
    path = root / "book" / "figures" / "graph.py"
    spec = importlib.util.spec_from_file_location("graph", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def edges(graph):
    """Value and gradient of each edge of the drawing, in floating point."""
    return {
        name: tuple(np.array([float(v) for v in side]) for side in pair)
        for name, pair in graph.edges().items()
    }


def mean_of(values):
    return values.sum() / len(values)


#: The loss as a function of what one edge carries; an edge of its own where c and x are used
#: twice, with the other use held still.
C = X[:, 0] - 3
LOSS = {
    "x": lambda x: LOSS["c"](x - mean_of(x)),
    "x to 1": lambda x: LOSS["c"](X[:, 0] - mean_of(x)),
    "x to 2": lambda x: LOSS["c"](x - 3),
    "mu": lambda mu: LOSS["c"](X[:, 0] - mu),
    "c": lambda c: 2 * c[0] / np.sqrt(mean_of(c * c) + EPS) + 1,
    "c to 3": lambda c: 2 * C[0] / np.sqrt(mean_of(c * c) + EPS) + 1,
    "c to 7": lambda c: 2 * c[0] / 2 + 1,
    "s": lambda s: 2 * C[0] / np.sqrt(mean_of(s) + EPS) + 1,
    "v": lambda v: (2 * C[0] / np.sqrt(v + EPS) + 1)[0],
    "t": lambda t: (2 * C[0] / t + 1)[0],
    "r": lambda r: (2 * C[0] * r + 1)[0],
    "x_hat": lambda x_hat: 2 * x_hat[0] + 1,
    "gamma": lambda gamma: (gamma * C[0] / 2 + 1)[0],
    "beta": lambda beta: (2 * C[0] / 2 + beta)[0],
    "y": lambda y: y[0],
}


def test_each_gradient_in_the_drawing_is_a_derivative(edges):
    """By complex differentiation of all that follows the edge."""
    assert edges.keys() == LOSS.keys()
    for name, (value, gradient) in edges.items():
        assert np.isclose(LOSS[name](value), -1), name  # y_1
        for i in range(len(value)):
            moved = value.astype(complex)
            moved[i] += 1e-30j
            assert np.isclose(LOSS[name](moved).imag / 1e-30, gradient[i]), name


def test_where_edges_part_the_gradients_add_up(edges):
    for quantity, uses in (("x", ("x to 1", "x to 2")), ("c", ("c to 3", "c to 7"))):
        parts = sum(edges[use][1] for use in uses)
        np.testing.assert_array_equal(edges[quantity][1], parts)


def test_fractions_are_written_over_one_denominator(graph):
    written = {name: [graph.text(side) for side in pair] for name, pair in graph.edges().items()}
    assert written["x"] == ["(1, 2, 3, 6)", "(4, −3, −2, 1)/8"]
    assert written["v"] == ["7/2", "1/4"]
    assert written["c to 7"] == ["(−2, −1, 0, 3)", "(1, 0, 0, 0)"]


# paper: eq-backward-x-hat
# paper: eq-backward-var
# paper: eq-backward-mean
# paper: eq-backward-x
# paper: eq-backward-gamma
# paper: eq-backward-beta
def test_the_example_by_hand():
    closed_form = batch_norm_backward(DY, batch_norm_forward(X, GAMMA, eps=EPS)[1])
    by_graph = backward_by_graph(DY, X, GAMMA, eps=EPS)
    by_equations = backward_by_equations(DY, X, GAMMA, eps=EPS)
    for dx, dgamma, dbeta in (closed_form, by_graph, by_equations):
        np.testing.assert_allclose(8 * dx[:, 0], [4, -3, -2, 1], rtol=1e-14)
        assert (dgamma, dbeta) == (-1, 1)


def test_the_matrix_in_the_chapter():
    _, cache = batch_norm_forward(X, eps=0.0)
    rows = [batch_norm_backward(one[:, None], cache)[0][:, 0] for one in np.eye(4)]
    expected = [[13, -11, -7, 5], [-11, 19, -7, -1], [-7, -7, 21, -7], [5, -1, -7, 3]]
    np.testing.assert_allclose(28 * np.array(rows) / cache.inv_std, expected, atol=1e-12)


def test_the_second_derivative_in_the_chapter():
    _, cache = batch_norm_forward(X, GAMMA, eps=EPS)
    _, for_x, _ = batch_norm_double_backward(DY, None, None, DY, cache)
    np.testing.assert_allclose(16 * for_x[:, 0], [3, -1, -1, -1], rtol=1e-14)


def test_the_steps_of_the_second_derivative_are_the_references():
    """The code beside the derivation gives what batch_norm_double_backward gives."""
    rng = np.random.default_rng(0)
    x, dy, ddx = 3 + rng.standard_normal((3, 6, 4))
    gamma, beta, ddgamma, ddbeta = rng.standard_normal((4, 4))
    _, cache = batch_norm_forward(x, gamma, beta, eps=0.5)
    expected = batch_norm_double_backward(ddx, ddgamma, ddbeta, dy, cache)
    got = double_backward_by_steps(ddx, ddgamma, ddbeta, dy, x, gamma, eps=0.5)
    for name, a, b in zip(("for_dy", "for_x", "for_gamma"), got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12, err_msg=name)


def test_the_fourth_sign_turns_where_the_chapter_says():
    for eps, sign in ((2.49, 1), (2.51, -1)):
        dx, _, _ = batch_norm_backward(DY, batch_norm_forward(X, GAMMA, eps=eps)[1])
        assert np.sign(dx[:, 0]).tolist() == [1, -1, -1, sign]


# -- the exercises of the notebook: what their checks say to right and to wrong answers


@pytest.fixture(scope="module")
def exercises(root):
    """The notebook's names, and its cells that judge: each a text by a function's name."""
    notebook = nbformat.read(root / "notebooks" / "backward.ipynb", as_version=4)
    names, judges = {}, {}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "setup" in tags or "mystnb" in cell.metadata:
            continue
        for name in ("my_backward", "my_product", "my_double_backward"):
            if "check." in cell.source and name in cell.source:
                judges[name] = cell.source
        exec(compile(cell.source, "cell", "exec"), names)
    return names, judges


def say(exercises, name, candidate):
    """Run the cell that judges, with a candidate in the place of the unwritten function."""
    names, judges = exercises
    body = ast.parse(judges[name]).body
    body = [node for node in body if getattr(node, "name", "") != name]
    last = body.pop().value
    if getattr(last.func, "id", "") == "print":
        last = last.args[0]
    names = names | {name: candidate}
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last), "cell", "eval"), names)


def right_backward(dy, x_hat, inv_std, gamma, *, scale=True, with_mean=True):
    inner = dy - with_mean * dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0)
    dx = (gamma if scale else 1) * inv_std * inner
    return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "right"),
        ({"scale": False}, "gamma is left out of dx."),
        ({"with_mean": False}, "the mean is treated as a constant"),
    ],
)
def test_the_readers_backward_pass_is_judged(exercises, change, verdict):
    def candidate(*given):
        return right_backward(*given, **change)

    assert verdict in say(exercises, "my_backward", candidate)


def product(x, gamma, beta, eps, w, direction, *, keep=(1, 1)):
    y, cache = batch_norm_forward(x, gamma, beta, eps=eps)
    for_dy, for_x, _ = batch_norm_double_backward(direction, None, None, w + y, cache)
    return keep[0] * for_x + keep[1] * batch_norm_backward(for_dy, cache)[0]


@pytest.mark.parametrize(
    ("keep", "verdict"), [((1, 1), "right"), ((1, 0), "dy with y is missing"), ((0, 1), "all")]
)
def test_the_readers_product_is_judged(exercises, keep, verdict):
    def candidate(*given):
        return product(*given, keep=keep)

    said = say(exercises, "my_product", candidate)
    assert said == verdict if verdict == "right" else verdict in said


def double_backward(ddx, ddgamma, ddbeta, dy, x_hat, inv_std, gamma, *, with_q=True):
    class Cache:  # what the reference needs of one
        axis, mask, dtype = 1, None, np.dtype(float)

    cache = Cache()
    cache.x_hat, cache.inv_std, cache.gamma = x_hat, inv_std, gamma
    cache.count = np.full(x_hat.shape[1], len(dy))
    for_dy, for_x, for_gamma = batch_norm_double_backward(ddx, ddgamma, ddbeta, dy, cache)
    if not with_q:
        for_x = for_x + x_hat * inv_std * gamma * inv_std * (for_gamma / inv_std) / len(dy)
    return for_dy, for_x, for_gamma


@pytest.mark.parametrize(("with_q", "verdict"), [(True, "right"), (False, "(the term with q)")])
def test_the_readers_double_backward_is_judged(exercises, with_q, verdict):
    def candidate(*given):
        return double_backward(*given, with_q=with_q)

    assert verdict in say(exercises, "my_double_backward", candidate)


@pytest.mark.parametrize("name", ["my_backward", "my_product", "my_double_backward"])
def test_nothing_written_is_said(exercises, name):
    assert say(exercises, name, lambda *given: None) == "not written yet"
