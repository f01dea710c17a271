"""The checks, in the order in which they are made: what comes later relies on what came before.

Each takes the session, adds what it finds, and returns what its row of the table should say.
"""

from collections.abc import Callable

from bn.check.checks.backward import gradients, second_gradients
from bn.check.checks.forward import forward
from bn.check.checks.inference import inference
from bn.check.checks.masks import masks
from bn.check.checks.memory import memory
from bn.check.checks.precision import half_precision, large_means
from bn.check.checks.running import running
from bn.check.checks.small import small_batches
from bn.check.checks.start import layouts
from bn.check.checks.state import state
from bn.check.checks.sums import long_sums
from bn.check.session import Session

CHECKS: dict[str, Callable[[Session], str]] = {
    "layouts": layouts,
    "forward": forward,
    "gradients": gradients,
    "second gradients": second_gradients,
    "inference": inference,
    "running statistics": running,
    "masks": masks,
    "small batches": small_batches,
    "large means": large_means,
    "long sums": long_sums,
    "half precision": half_precision,
    "memory": memory,
    "state": state,
}

__all__ = ["CHECKS"]
