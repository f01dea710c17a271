"""``python -m bn``: wrong usage, and the signals that end it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bn.__main__ import EXPERIMENTS, main

MORE_THAN_0 = "is not a number of seconds above 0"
COUNTED = "is not a whole number, at least 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "COMMAND"),
        ("dance", "invalid choice"),
        ("data mnist", "unrecognized arguments: mnist"),
        ("train", "EXPERIMENT"),
        ("train mnist --study rates", "invalid choice"),
        ("train mnist --seed 3", "unrecognized arguments: --seed 3"),  # not --seeds
        ("train mnist --seeds 0", COUNTED),
        ("train mnist --seeds 2.5", COUNTED),
        ("train mnist --jobs 0", COUNTED),
        ("train mnist --steps -3", COUNTED),
        ("train cifar --epochs 0", COUNTED),  # before it looks for the record of the sweep
        ("train drift --steps 0", COUNTED),
        ("train outside --steps 0", COUNTED),
        ("train estimates --jobs nan", COUNTED),
        ("check", "MODULE:NAME"),
        ("check m:f --time 3", "unrecognized arguments: --time 3"),
        ("check m:f --timeout 0", MORE_THAN_0),
        ("check m:f --timeout nan", MORE_THAN_0),
        ("check m:f --timeout inf", MORE_THAN_0),
        ("check m:f --timeout 1e9", "at most 1000000"),
        ("bench --round 3", "unrecognized arguments: --round 3"),
        ("bench --rounds 0", COUNTED),
        ("bench --seconds 0", MORE_THAN_0),
        ("bench --seconds soon", MORE_THAN_0),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.setenv("BN_RESULTS_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("experiment", [each.name for each in EXPERIMENTS])
def test_every_experiment_has_help(capsys, experiment):
    with pytest.raises(SystemExit) as ended:
        main(["train", experiment, "--help"])
    assert ended.value.code == 0
    assert f"train {experiment}" in capsys.readouterr().out


# A command that waits, and on its way out is sent the same signal again, as `timeout` does.
PROGRAM = """
import os, signal, sys, time
from bn import __main__ as command_line

def wait(arguments):
    try:
        print("ready", flush=True)
        time.sleep(10_000)
    finally:
        if (got := getattr(signal, sys.argv[1])) != signal.SIGINT:
            os.kill(os.getpid(), got)
        print("tidied", flush=True)

def add(commands):
    commands.add_parser("wait").set_defaults(run=wait)

# a test run that was started with & or nohup has handed on to ignore them
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if sys.argv[2:] == ["nohup"]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
command_line.COMMANDS = (add,)
code = command_line.main(["wait"])
left = {signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)}
print("handlers left:", *left - {signal.SIG_DFL, signal.SIG_IGN})
sys.exit(code)
"""


@pytest.fixture
def waiting():
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("SIGINT", 130, "interrupted\n"),
        ("SIGTERM", 143, "ended by SIGTERM\n"),
        ("SIGHUP", 129, "ended by SIGHUP\n"),
    ],
)
def test_a_signal_ends_a_command_as_ctrl_c_does(waiting, name, code, said):
    process = waiting(name)
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=600) == ("tidied\nhandlers left:\n", said)
    assert process.returncode == code


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_what_nohup_started_outlives_the_terminal(waiting):
    process = waiting("SIGTERM", "nohup")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=600)[1] == "ended by SIGTERM\n"
