"""Every planted mistake is named, and nothing is said against its right twin."""

from pathlib import Path

import pytest

from bn import check
from tests.check import planted

HERE = Path(__file__).parent


def by(twin, name):
    return [
        pytest.param(twin, name, bug, id=f"{twin}: {bug.title}")
        for bug in {
            ("right_numpy", "BatchNorm"): planted.IN_NUMPY,
            ("right_torch", "BatchNorm"): planted.IN_TORCH,
            ("right_torch", "by_function"): planted.IN_FUNCTION,
        }[twin, name]
    ]


TWINS = [("right_numpy", "BatchNorm"), ("right_torch", "BatchNorm"), ("right_torch", "by_function")]


@pytest.mark.parametrize(("twin", "name"), TWINS)
def test_the_right_twin_passes(twin, name, as_module):
    module = as_module((HERE / f"{twin}.py").read_text("utf-8"))
    report = check.batch_norm(getattr(module, name))
    assert report.passed, report
    # two passes, and NumPy's sums along the first axis, in float32
    assert report.mistakes <= {"rounded-mean", "sums-in-float32"}, report


@pytest.mark.parametrize(("twin", "name", "bug"), [case for twin in TWINS for case in by(*twin)])
def test_the_mistake_is_named(twin, name, bug, as_module):
    module = as_module(planted.source(twin, bug))
    options = {"timeout": 5} if bug.mistake == "hangs" else {}
    report = check.batch_norm(getattr(module, name), **options)
    found = [each for each in report.findings if bug.mistake in each.mistakes]
    assert found, report
    assert bug.severity in {each.severity for each in found}, report
    assert report.passed == (bug.severity == "weak"), report
    others = {f.mistake for f in report.wrong} - {bug.mistake, bug.also}
    assert not others, f"it also says {others}\n{report}"
    for finding in found:
        assert finding.fed
        assert finding.came
        assert finding.expected
        assert finding.likely
