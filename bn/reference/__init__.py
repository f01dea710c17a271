"""Batch normalization in NumPy: the truth that everything else is checked against.

Read ``bn.reference.algorithm`` first: it is Algorithm 1 and 2 of the paper.
"""

from bn.reference.algorithm import (
    BatchNormCache,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
    population_statistics,
)
from bn.reference.backward_forms import backward_by_equations, backward_by_graph
from bn.reference.checks import NonFiniteError
from bn.reference.layer import BatchNorm

__all__ = [
    "BatchNorm",
    "BatchNormCache",
    "NonFiniteError",
    "backward_by_equations",
    "backward_by_graph",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "population_statistics",
]
