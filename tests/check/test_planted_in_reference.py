"""The mistakes of tests/conformance/planted.py, each in a copy of bn: named here too.

bn.check shares no formula with bn.reference, so the copy can be checked by the copy's own check.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.conformance.planted import BUGS
from tests.conformance.suites import copy_package

SCRIPT = """
import json, sys
from functools import partial
from bn import check, reference
assert reference.__file__.startswith(sys.argv[1]), reference.__file__
candidates = [
    reference.BatchNorm,
    lambda: reference.BatchNorm(3, unbiased=False, momentum=None),
    (reference.batch_norm_forward, reference.batch_norm_backward,
     reference.batch_norm_double_backward),
    (reference.batch_norm_inference, reference.batch_norm_inference_backward),
]
reports = [check.batch_norm(each, strict=True) for each in candidates]
estimators = [
    reference.population_statistics,
    partial(reference.population_statistics, method="pooled"),
    partial(reference.population_statistics, method="ema"),
    reference.merge_statistics,
]
reports += [check.population(each, strict=True) for each in estimators]
print(json.dumps([report.to_dict() for report in reports]))
"""

#: What the report names, by the name of the bug where that is another.
NAMED = {
    "eps-forgotten": "eps-missing",
    "bessel-in-forward": "bessel-in-normalization",
    "one-variance-for-all": "variance-over-everything",
    "per-position": "variance-around-positions",
    "e-x2-minus-ex-2": "one-pass-variance",
    "no-pivot": "rounded-mean",
    "folded": "loses-digits",
    "half-precision": "half-precision-statistics",
    "detached-mean": "mean-as-constant",
    "detached-variance": "variance-as-constant",
    "detached-both": "statistics-as-constants",
    "missing-x-hat": "x-hat-missing-in-dx",
    "gamma-not-in-dx": "gamma-missing-in-dx",
    "bessel-in-backward": "sums-over-m-minus-1-in-dx",
    "m-is-n": "sums-over-batch-size-in-dx",
    "no-path-through-r": "second-gradient-inv-std-as-a-constant",
    "biased-running-variance": "unbiased-ignored",
    "always-unbiased": "unbiased-ignored",
    "wrong-bessel": "running-var-bessel-inverted",
    "running-std": "running-var-stores-std",
    "updated-in-inference": "statistics-updated-in-inference",
    "inference-in-training": "running-statistics-in-training",
    "training-in-inference": "batch-statistics-in-inference",
    "eps-outside-root-in-inference": "eps-outside-root",
}
#: A convention, and told as one.
CONVENTIONS = {
    "flipped-momentum": ("momentum", "0.1 is the weight of the old value"),
    "nan-kept-for-ever": ("NaN in a batch", "stays in the running statistics for ever"),
}


def reports(folder):
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_without_a_bug_nothing_is_said(tmp_path):
    copy_package(tmp_path)
    for report in reports(tmp_path):
        assert report["findings"] == [], report


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_it_is_named(bug, tmp_path):
    bug.plant(tmp_path)
    found = reports(tmp_path)
    if bug.name in CONVENTIONS:
        name, text = CONVENTIONS[bug.name]
        assert found[0]["conventions"][name].startswith(text)
        return
    mistakes = {each["mistake"] for report in found for each in report["findings"]}
    named = {part for mistake in mistakes for part in mistake.split("+")}
    assert not all(report["passed"] for report in found)
    assert NAMED.get(bug.name, bug.name) in named
    assert "unidentified" not in named, found
