"""What the Makefile calls: wrong usage ends with 2, and says what is wrong."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("tool", "argument", "said"),
    [
        ("address", "https://github.com/ada/norm", "is not an address of the form owner/name"),
        ("check", "taste", "no step taste; there are style"),
        ("conformance", "taste", "no step taste; there are "),
        ("notebooks", "taste", "invalid choice"),
        ("notebooks", "execute nowhere.ipynb", "there is no nowhere.ipynb"),
    ],
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tool: str,
    argument: str,
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", [tool, *argument.split()])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"tools.{tool}").main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
