"""Check anybody's batch norm: what is wrong, what came, what should have, and why.

>>> import numpy as np
>>> from bn import check
>>> def mine(x, gamma, beta, eps):
...     return gamma * (x - x.mean(axis=0)) / (x.std(axis=0) + eps) + beta
>>> report = check.batch_norm(mine)
>>> report.passed, [finding.mistake for finding in report.wrong]
(False, ['eps-outside-root'])
>>> report.findings[0].page
'book/transform.html'

``print(report)`` shows all of it; ``python -m bn check package.module:Name`` does so without
writing code; ``assert_batch_norm(mine)`` is for tests. Momentum's meaning and the running
variance's kind are told as conventions, not as mistakes. ``population(mine)`` checks a function
that estimates the population's statistics from those of mini-batches, or merges shards; the
command tells it by the names of its parameters (means, variances, counts).

Importing this loads NumPy only. torch, Keras or Flax are loaded for a candidate made with them.
"""

from bn.check.estimates import population
from bn.check.exercise import answer
from bn.check.mistakes import MISTAKES, Mistake
from bn.check.names import UsageError
from bn.check.report import Finding, Report, Row
from bn.check.runner import assert_batch_norm, batch_norm

__all__ = [
    "MISTAKES",
    "Finding",
    "Mistake",
    "Report",
    "Row",
    "UsageError",
    "answer",
    "assert_batch_norm",
    "batch_norm",
    "population",
]
