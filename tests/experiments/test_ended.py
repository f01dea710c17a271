"""`train --jobs 2`, ended by Ctrl-C, by a signal or by kill -9: real processes, made-up runs."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from bn.experiments.record import load

#: Seconds after which a test is given up; nothing here depends on it.
LIMIT = 600  # seconds: only what hangs takes longer

# Seed 0 is done at once. Seed 1 takes for ever, unless BN_TEST_QUICK is set, and holds a lock,
# which the system takes from it when its process ends.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from filelock import FileLock
from bn.__main__ import main
from bn.experiments import trial
from bn.experiments.record import Run

FOLDER = Path(os.environ["BN_RESULTS_DIR"])

def task(config, seed, label):
    kind = "bn" if config.batch_norm else "plain"
    with open(FOLDER / "log", "a") as log:
        log.write(f"{kind} {seed}\\n")
    if seed == 1 and "BN_TEST_QUICK" not in os.environ:
        lock = FileLock(FOLDER / f"busy-{kind}")
        lock.acquire()
        (FOLDER / f"pid-{kind}").write_text(str(os.getpid()))
        time.sleep(10_000)
    return Run("?", seed, vars(config).copy(), {}, {"test_accuracy": 0.5}, 0.0, {})

if __name__ == "__main__":
    # a test run that was started with & has handed on to us to ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trial.run_task = task
    sys.exit(main(["train", "mnist", "--jobs", "2", "--seeds", "2"]))
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start `train` in a process group of its own, as a terminal does."""
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")

    def popen():
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py")],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    return popen


@pytest.fixture
def busy(start, tmp_path):
    """Start it, and wait until two runs are recorded and two are being made."""
    process = start()
    deadline = time.monotonic() + LIMIT
    while not all((tmp_path / f"pid-{kind}").exists() for kind in ("bn", "plain")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_end(folder):
    for kind in ("bn", "plain"):
        with FileLock(folder / f"busy-{kind}").acquire(timeout=LIMIT):
            pass


@pytest.mark.parametrize("whole_group", [False, True])  # a terminal's Ctrl-C reaches all
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "ended by SIGTERM\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_it_ends_at_once_with_its_processes_and_goes_on(
    busy, start, tmp_path, monkeypatch, number, code, said, whole_group
):
    (os.killpg if whole_group else os.kill)(busy.pid, number)
    _, printed = busy.communicate(timeout=LIMIT)  # the runs would take hours
    assert busy.returncode == code
    assert printed.endswith(said)
    assert "Traceback" not in printed
    workers_end(tmp_path)
    assert [(run.arm, run.seed) for run in load("mnist-paper")] == [("bn", 0), ("plain", 0)]
    assert not list(tmp_path.glob(".*.tmp"))

    monkeypatch.setenv("BN_TEST_QUICK", "1")
    again = start()
    _, printed = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, printed
    assert len(load("mnist-paper")) == 4
    made = Counter((tmp_path / "log").read_text("utf-8").splitlines())
    assert made == {"bn 0": 1, "plain 0": 1, "bn 1": 2, "plain 1": 2}


def test_a_process_that_is_killed_ends_it_with_advice(busy, tmp_path):
    os.kill(int((tmp_path / "pid-bn").read_text()), signal.SIGKILL)  # as for want of memory
    _, printed = busy.communicate(timeout=LIMIT)
    assert busy.returncode == 1
    assert "has ended by itself, perhaps for want of memory" in printed
    assert "Traceback" not in printed
    workers_end(tmp_path)
    assert len(load("mnist-paper")) == 2
