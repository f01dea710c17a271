"""ONNX's own backend tests for BatchNormalization, run on bn.reference.

They come with the `onnx` package: four cases of one node (inference and training mode, with and
without `epsilon`), five models that were once converted from PyTorch, and four image networks.

The networks are checks of the wiring only. All their weights and statistics are constants, and
three of the four put out the same 0.001 for each class whatever is computed before: they show
that the operator takes real models' arguments and shapes, and catch no wrong formula.
"""

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.case.node import _NodeTestCases
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bn.reference import BatchNorm, batch_norm_inference

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
#: How many BatchNormalization nodes each of the networks has.
NETWORKS = {"shufflenet": 49, "resnet50": 53, "inception_v2": 69, "densenet121": 121}


class BatchNormalization(OpRun):
    """The operator, by bn.reference. Its name is the one that ONNX looks for."""

    op_domain = ""
    calls = 0

    def _run(self, x, scale, bias, mean, var, **attributes):
        type(self).calls += 1
        eps, momentum = attributes["epsilon"], attributes["momentum"]
        if not attributes.get("training_mode", 0):
            assert attributes.get("is_test", 1), "versions before 14 are run in inference only"
            return (batch_norm_inference(x, mean, var, scale, bias, eps=eps),)
        # ONNX: momentum is the weight of the OLD value, and the running variance is biased.
        layer = BatchNorm(x.shape[1], eps=eps, momentum=1 - momentum, unbiased=False)
        layer.gamma, layer.beta = scale, bias
        layer.running_mean, layer.running_var = mean, var
        y = layer.forward(x)
        return y, layer.running_mean.astype(mean.dtype), layer.running_var.astype(var.dtype)


class Prepared(BackendRep):
    def __init__(self, model):
        self.evaluator = ReferenceEvaluator(model, new_ops=[BatchNormalization])

    def run(self, inputs, **_):
        names = self.evaluator.input_names[: len(inputs)]
        return self.evaluator.run(None, dict(zip(names, inputs, strict=True)))


class ReferenceBackend(Backend):
    """ONNX's reference evaluator, with our BatchNormalization in place of its own."""

    @classmethod
    def prepare(cls, model, device="CPU", **_):
        return Prepared(model)


def batch_norms(model):
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def node_cases():
    # Importing the one module makes its cases; the loader would make those of every operator.
    importlib.import_module("onnx.backend.test.case.node.batch_normalization")
    return [case for case in _NodeTestCases if batch_norms(case.model)]


def converted_cases():
    cases = load_model_tests(kind="pytorch-converted")
    return sorted((case for case in cases if "BatchNorm" in case.name), key=lambda c: c.name)


def tensors(folder, kind):
    return [
        numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(folder.glob(f"{kind}_*"))
    ]


def check(model, inputs, expected, rtol, atol):
    """Run a model and compare its outputs by ONNX's own rule; every batch norm must be ours."""
    BatchNormalization.calls = 0
    outputs = ReferenceBackend.prepare(model).run(inputs)
    Runner.assert_similar_outputs(expected, outputs, rtol=rtol, atol=atol)
    assert BatchNormalization.calls == batch_norms(model) > 0


@pytest.mark.parametrize("case", node_cases(), ids=lambda case: case.name)
def test_node(case):
    for inputs, expected in case.data_sets:
        check(case.model, inputs, expected, case.rtol, case.atol)


@pytest.mark.parametrize("case", converted_cases(), ids=lambda case: case.name)
def test_converted_model(case):
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    for data in sorted(folder.glob("test_data_set_*")):
        check(model, tensors(data, "input"), tensors(data, "output"), case.rtol, case.atol)


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    model = onnx.load(DATA / "light" / f"light_{name}.onnx")
    assert batch_norms(model) == NETWORKS[name]
    given = {tensor.name for tensor in model.graph.initializer}
    (image,) = (x for x in ReferenceEvaluator(model).input_names if x not in given)
    (shape,) = (
        [d.dim_value for d in x.type.tensor_type.shape.dim]
        for x in model.graph.input
        if x.name == image
    )
    evaluator = ReferenceEvaluator(model, new_ops=[BatchNormalization])
    BatchNormalization.calls = 0
    size = np.prod(shape)
    outputs = evaluator.run(None, {image: (np.arange(size).reshape(shape) / size).astype("f4")})
    expected = onnx.load_tensor(DATA / "light" / f"light_{name}_output_0.pb")
    Runner.assert_similar_outputs([numpy_helper.to_array(expected)], outputs, 1e-3, 1e-7)
    assert BatchNormalization.calls == NETWORKS[name]
