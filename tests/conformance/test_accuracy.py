"""The accuracy figures are met: those of the table that stands beside torch's on the page."""

import pytest

from tools.accuracy import FIGURES
from tools.implementations import IMPLEMENTATIONS


@pytest.mark.parametrize("name", ["reference", "pytorch", "numba"])
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_figure(figure, name):
    value = figure.of(IMPLEMENTATIONS[name])
    assert figure.met(value), f"{figure.what}: {value}, expected at most {figure.limit}"
