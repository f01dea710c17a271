"""Batch normalization in NumPy: the truth that everything else is checked against.

Read ``bn.reference.algorithm`` first: it is Algorithm 1 of the paper, forward and backward. Then
``inference`` and ``population`` (Algorithm 2), ``layer``, and ``second_order``.
"""

from bn.reference.algorithm import BatchNormCache, batch_norm_backward, batch_norm_forward
from bn.reference.backward_forms import (
    backward_by_equations,
    backward_by_graph,
    double_backward_by_steps,
)
from bn.reference.checks import NonFiniteError
from bn.reference.inference import (
    batch_norm_inference,
    batch_norm_inference_backward,
    fold_batch_norm,
)
from bn.reference.layer import BatchNorm
from bn.reference.population import merge_statistics, population_statistics
from bn.reference.second_order import batch_norm_double_backward

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "NonFiniteError",
    "backward_by_equations",
    "backward_by_graph",
    "batch_norm_backward",
    "batch_norm_double_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "double_backward_by_steps",
    "fold_batch_norm",
    "merge_statistics",
    "population_statistics",
]
