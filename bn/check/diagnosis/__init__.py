"""Finds which mistake gives exactly the numbers that came.

Nothing is guessed: a mistake is named when its formula, computed in float64, gives what came
on every input that was fed.
"""

from bn.check.diagnosis.backward import (
    SeenGradients,
    explain_gradients,
    explain_inference_gradients,
)
from bn.check.diagnosis.compare import UNIDENTIFIED, close, error
from bn.check.diagnosis.forward import Explanation, Seen, explain_forward
from bn.check.diagnosis.running import Movement, explain_running
from bn.check.diagnosis.second import explain_second

__all__ = [
    "UNIDENTIFIED",
    "Explanation",
    "Movement",
    "Seen",
    "SeenGradients",
    "close",
    "error",
    "explain_forward",
    "explain_gradients",
    "explain_inference_gradients",
    "explain_running",
    "explain_second",
]
