"""The report: as text, as JSON, in a test of one's own."""

import json

import numpy as np
import pytest

from bn import check


def wrong(x, gamma, beta, eps):
    return gamma * (x - x.mean(axis=0)) / (x.std(axis=0) + eps) + beta


@pytest.fixture(scope="module")
def report():
    return check.batch_norm(wrong)


def test_a_finding_says_it_all(report):
    (finding,) = report.wrong
    assert finding.check == "forward"
    assert finding.mistake == "eps-outside-root"
    assert finding.fed.startswith("x = (0.1, 0.2, 0.3, 0.6) (channel 0 of shape (4, 3), float64)")
    assert "gamma = 2, beta = 1; eps = 0.01" in finding.fed
    # what it says can be repeated by hand
    x = np.array([[0.1], [0.2], [0.3], [0.6]])
    y = wrong(x, np.array([2.0]), np.array([1.0]), 0.01)[:, 0]
    assert finding.came == f"y = ({', '.join(f'{value:.6g}' for value in y)})"
    right = 2 * (x - 0.3) / np.sqrt(0.035 + 0.01) + 1
    assert finding.expected == f"y = ({', '.join(f'{value:.6g}' for value in right[:, 0])})"
    assert "outside the root" in finding.likely
    assert finding.page == "book/transform.html"
    assert np.shape(finding.input["x"]) == (4, 3)


def test_text(report):
    text = str(report)
    assert text.startswith("wrong (NumPy function): failed, 1 mistake")
    for part in ("fed ", "came ", "should be ", "likely ", "page ", "Conventions", "eps"):
        assert part in text
    assert "\x1b" not in text
    assert "\x1b[31mfailed" in report.text(colour=True)
    assert max(map(len, text.splitlines())) <= 90
    assert max(map(len, report.text(width=60).splitlines())) <= 75
    assert repr(report) == text


def test_json_and_back(report):
    kept = json.loads(json.dumps(report.to_dict()))
    assert kept["passed"] is False
    assert kept["findings"][0]["likely"]
    assert check.Report.from_dict(kept).to_dict() == report.to_dict()


def test_assert_batch_norm():
    with pytest.raises(AssertionError, match="eps-outside-root"):
        check.assert_batch_norm(wrong)

    def right(x, gamma, beta, eps):
        return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta

    assert check.assert_batch_norm(right).passed
    with pytest.raises(AssertionError, match="Warnings"):
        check.assert_batch_norm(right, strict=True)


def test_two_mistakes_at_once():
    def both(x, gamma, beta, eps):
        return beta * (x - x.mean(axis=0)) / (x.std(axis=0) + eps) + gamma

    (finding,) = check.batch_norm(both).wrong
    assert set(finding.mistakes) == {"eps-outside-root", "gamma-beta-swapped"}
    assert "And at the same time" in finding.likely


def test_what_no_formula_gives_is_not_guessed():
    (finding,) = check.batch_norm(lambda x, gamma, beta, eps: np.tanh(x)).wrong
    assert finding.mistake == "unidentified"
