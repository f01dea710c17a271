"""Batch norm of arrays that are told by their addresses: the three passes, for whoever has memory.

See ``plan`` for what is worked out once, and ``scratch`` for what runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bn.kernels.numba_cpu.plan import Plan
from bn.kernels.numba_cpu.scratch import GRADIENTS, STATISTICS, SUSPECT, Array, scratch_for


def forward(
    plan: Plan,
    held: Any,
    at: Sequence[int],
    gamma: Any,
    beta: Any,
    eps: float,
    relu: bool,
    threads: int | None = None,
) -> tuple[Array, bool]:
    """Write y; return pivot, offset, var and inv_std, (4, C).

    And whether a variance needs a closer look, see ``jobs.look_at``. `at` has the addresses of x,
    of what is added before the ReLU, 0 if nothing is, of y, and of the gates, 0 if they are not
    wanted: a ReLU without addition needs none. `held` holds the arrays.
    """
    x, z, y, gates = at
    scratch = scratch_for(plan)
    scratch.begin(held, x, gamma, beta, threads)
    scratch.eps[0] = eps
    scratch.forward(z, y, gates, relu)
    made, suspect = scratch.table[STATISTICS].copy(), bool(scratch.job[SUSPECT])
    scratch.end()
    return made, suspect


def inference(
    plan: Plan,
    held: Any,
    at: Sequence[int],
    mean: Any,
    inv_std: Any,
    gamma: Any,
    beta: Any,
    relu: bool,
    threads: int | None = None,
) -> None:
    """Write y, with known statistics; `at` has the addresses of x, z and y."""
    x, z, y = at
    scratch = scratch_for(plan)
    scratch.begin(held, x, gamma, beta, threads)
    pivot, offset, _, scale = scratch.table[STATISTICS]
    pivot[:] = np.asarray(mean, np.float64).astype(plan.types[1])
    offset[:] = mean - pivot
    scale[:] = inv_std
    scratch.inference(z, y, relu)
    scratch.end()


def backward(
    plan: Plan,
    held: Any,
    at: Sequence[int],
    gamma: Any,
    beta: Any,
    statistics: Any,
    relu: bool,
    threads: int | None = None,
) -> Array:
    """Write dx and, if there are gates, dz; return dgamma and dbeta, (2, C).

    `at` has the addresses of dy, x, the gates, dx and dz; those of the gates and of dz are 0
    unless there were both an addition and a ReLU.
    """
    dy, x, gates, dx, dz = at
    scratch = scratch_for(plan)
    scratch.begin(held, x, gamma, beta, threads)
    scratch.table[STATISTICS] = statistics
    scratch.backward(dy, gates, dx, dz, relu)
    made: Array = scratch.table[GRADIENTS].copy()
    scratch.end()
    return made
