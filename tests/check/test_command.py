"""``python -m bn check``: what it prints, and that it always ends."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from bn.__main__ import main
from bn.check.command import has_colour

ROOT = str(Path(__file__).parents[2])
#: Seconds for a check that is to reach its end, on the slowest machine.
PATIENCE = 3000

CANDIDATES = """
import itertools, os, sys, time
import numpy as np

def right(x, gamma, beta, eps):
    x = np.asarray(x, np.float64)
    assert x.ndim == 2, "expected (N, C)"
    return (gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta)

def wrong(x, gamma, beta, eps):
    print("noise")
    return gamma * (x - x.mean(0)) / np.sqrt(x.var(0)) + beta

def forward(x, gamma, beta, eps):
    inv_std = 1 / np.sqrt(x.var(0) + eps)
    x_hat = (x - x.mean(0)) * inv_std
    return gamma * x_hat + beta, (x_hat, inv_std, gamma)

def backward(dy, cache):
    x_hat, inv_std, gamma = cache
    return gamma * inv_std * dy, (dy * x_hat).sum(0), dy.sum(0)

def asleep(x, gamma, beta, eps):
    time.sleep(1000)

def busy_in_c(x, gamma, beta, eps):
    sum(itertools.repeat(1))  # does not let another thread run

def dies(x, gamma, beta, eps):
    os._exit(7)

def what(x, strange, names, here, indeed):
    pass

class Nested:
    right = right
"""


@pytest.fixture
def check(tmp_path, monkeypatch, capfd):
    (tmp_path / "mine.py").write_text(CANDIDATES, "utf-8")
    (tmp_path / "broken.py").write_text("x = 1\n1 / 0\n", "utf-8")
    (tmp_path / "endless.py").write_text("while True:\n    pass\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bn.check.command.GRACE", 2.0)

    def run(*arguments):
        patience = [] if "--timeout" in arguments else ["--timeout", str(PATIENCE)]
        code = main(["check", *arguments, *patience])
        return code, *capfd.readouterr()

    return run


def test_right(check):
    code, out, err = check("mine:right")
    assert code == 0
    assert out.startswith("mine:right (NumPy function): passed")
    assert "\x1b" not in out
    assert "importing mine, which runs its code" in err


def test_a_name_within_a_name(check):
    assert check("mine:Nested.right")[0] == 0


def test_wrong(check):
    code, out, err = check("mine:wrong")
    assert code == 1
    assert "eps-missing" in out
    assert "noise" not in out
    assert "noise" in err  # what the candidate prints is kept apart


def test_json(check):
    code, out, _ = check("mine:forward,backward", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["passed"] is False
    assert [each["mistake"] for each in report["findings"] if each["severity"] == "wrong"] == [
        "statistics-as-constants"
    ]


def test_strict(check):
    code, out, _ = check("mine:forward")
    assert "Warnings" in out
    assert code == 0
    assert check("mine:forward", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.py", "not of the form package.module:Name"),
        ("mine:", "not of the form"),
        ("nothing:right", "there is no module nothing"),
        ("mine:left", "mine has no left"),
        ("mine:what", "needs strange, names, here, indeed"),
        ("mine:CANDIDATES", "mine has no CANDIDATES"),
        ("mine:np", "of type module"),
    ],
)
def test_usage(check, target, message):
    code, out, err = check(target)
    assert code == 2
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("target", "mistake"),
    [
        ("mine:asleep", "hangs"),
        ("mine:busy_in_c", "hangs"),
        ("endless:x", "hangs"),
        ("mine:dies", "crashes"),
        ("broken:x", "raises"),
    ],
)
def test_it_always_ends(check, target, mistake):
    # long enough to get as far as the candidate also where other processes take the time
    code, out, _ = check(target, *(["--timeout", "12"] if mistake == "hangs" else []))
    assert code == 1
    assert f"layouts: {mistake}" in out
    if target == "endless:x":
        assert "importing endless" in out
    if mistake == "crashes":
        assert "exit code 7" in out
    if mistake == "raises":
        assert "ZeroDivisionError: division by zero (broken.py, line 2)" in out


LOCKED = """
import fcntl, pathlib, time
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
pathlib.Path("started").touch()
time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_candidates_process_ends_with_the_command(check, tmp_path, number, code):
    (tmp_path / "locked.py").write_text(LOCKED, "utf-8")
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "import sys; from bn.__main__ import main; sys.exit(main())"
    command = subprocess.Popen(
        [sys.executable, "-c", start, "check", "locked:x", "--timeout", "1000"],
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    deadline = time.monotonic() + 600
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(number)
    assert command.wait(timeout=600) == code
    with FileLock(tmp_path / "lock", timeout=600):  # it has ended
        pass


def test_the_candidates_process_ends_by_itself_where_the_command_was_killed(check):
    alone = subprocess.Popen(
        [sys.executable, "-m", "bn.check.worker", "mine:busy_in_c", "1000", "5"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    try:
        assert alone.wait(timeout=600) != 0
    finally:
        alone.kill()


def test_colour_only_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())


def test_a_class_of_torch(check):
    code, out, _ = check("torch.nn:BatchNorm2d")
    assert code == 0, out
    assert "torch module" in out
