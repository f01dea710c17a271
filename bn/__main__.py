"""The command line: ``python -m bn COMMAND``.

Each command is a function that adds its parser and names what runs it. Imports of the
work itself stand inside, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

#: The longest limit that is taken, in seconds: the system's own clocks take no more than 24 days.
LONGEST = 1_000_000


class Parser(argparse.ArgumentParser):
    """Takes options by their full names: ``--seed 3`` must not pass for ``--seeds 3``.

    The parsers of the commands are of this class too.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]


def at_least_1(text: str) -> int:
    """Return a whole number that counts something, or refuse it as wrong usage."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, at least 1")
    return value


def seconds(text: str) -> float:
    """Return a length of time, or refuse it as wrong usage."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0, at most {LONGEST}"
        )
    return value


def _add_data(commands: Commands) -> None:
    parser = commands.add_parser(
        "data",
        help="fetch and verify MNIST and CIFAR-10",
        description="Fetch MNIST and CIFAR-10 if they are not in the cache, verify them, and "
        "print where they are, their sizes and hashes. The cache is BN_DATA_DIR where that is "
        "set, else the platform's cache folder. BN_DATA_PATIENCE=10 waits ten times as long "
        "for slow sources.",
    )

    def run(arguments: argparse.Namespace) -> int:
        from bn.data.command import run as run_data

        return run_data()

    parser.set_defaults(run=run)


class Experiment(NamedTuple):
    """What ``train`` can be called with; `seeds` are as many as the book's records have.

    So the command that stands beside a record makes it again.
    """

    name: str
    help: str
    seeds: int
    studies: tuple[str, ...] = ()
    default: str | None = None  # None: the study without a name
    help_of_studies: str = ""
    length: str = "steps"


EXPERIMENTS = (
    Experiment(
        "mnist",
        "section 4.1: MNIST, sigmoids, in NumPy",
        10,
        ("paper", "sweep", "best", "fastest"),
        "paper",
        "paper: both networks at the same settings; sweep: a grid of learning rates and "
        "initial scales; best and fastest: each network at the cell of that grid with the "
        "highest accuracy, or the fewest steps to 90 %% (default: paper)",
    ),
    Experiment(
        "cifar",
        "CIFAR-10, convolutions, in PyTorch",
        3,
        ("rates", "sweep"),
        "rates",
        "sweep: learning rates, in shorter runs; rates: both networks at the best rate of the "
        "sweep and at five times it (default: rates)",
        length="epochs",
    ),
    Experiment(
        "drift",
        "section 1: how the inputs of sigmoids move",
        10,
        ("deep",),
        None,
        "deep: six hidden layers (default: the three of section 4.1, at two learning rates)",
    ),
    Experiment(
        "outside",
        "section 2: normalization that is ignored",
        10,
        ("sigmoid", "relu", "fast", "which", "settings"),
        "sigmoid",
        "sigmoid, relu: networks whose gradient takes the statistics for constants, and "
        "networks whose gradient does not; fast: sigmoids at ten times the rate; which: only "
        "the mean, or only the variance, is taken for a constant; settings: with and without "
        "batch normalization at several rates and initial weights (default: sigmoid)",
    ),
    Experiment(
        "estimates",
        "section 3: how good the mean and variance of a mini-batch are",
        5,
        ("layers",),
        None,
        "layers: every batch norm of this network and of a convolutional one (default: the "
        "last of this network)",
    ),
    Experiment(
        "rates",
        "section 3.3: learning rates, over six decades",
        10,
        ("sigmoid", "relu", "sigmoid-best", "relu-best", "decay"),
        "sigmoid",
        "sigmoid, relu: networks with and without batch normalization at every rate, with "
        "images held out; -best: both at their best rates; decay: how weights grow and turn "
        "(default: sigmoid)",
    ),
    Experiment(
        "jacobian",
        "section 3.3: the singular values of a layer's Jacobian",
        10,
        ("depth", "training"),
        "depth",
        "depth: deep networks before training; training: the network of section 4.1 before and "
        "after it (default: depth)",
    ),
    Experiment(
        "running",
        "section 3.1: what a trained network takes for the population's statistics",
        10,
        ("population", "causes"),
        None,
        "population: statistics that are recomputed after training, from shuffled and from "
        "sorted mini-batches; causes: mistakes that make a network worse at inference than in "
        "training (default: moving averages at several momenta)",
    ),
    Experiment(
        "companions",
        "section 3.4: one example among others that are drawn anew",
        5,
    ),
    Experiment(
        "noise",
        "section 3.4: groups that share statistics, and dropout, in PyTorch",
        5,
        ("sweep", "groups", "dropout"),
        "groups",
        "sweep: learning rates; groups: parts of a mini-batch that share their statistics; "
        "dropout: with and without batch norm, each at its best rate of the sweep (default: "
        "groups)",
        length="epochs",
    ),
    Experiment(
        "order",
        "section 3.2: before or after the nonlinearity, and dropout, on MNIST",
        10,
        ("relu", "sigmoid", "tanh", "sweep", "best"),
        "relu",
        "relu, sigmoid, tanh: every place of batch normalization and of dropout at three "
        "learning rates; sweep: more rates, without dropout; best: each network at its best "
        "rate of the sweep (default: relu)",
    ),
    Experiment(
        "pixels",
        "section 3.2: inputs that are not normalized, on MNIST",
        10,
        ("sweep", "best"),
        "best",
        "sweep: learning rates for each treatment of the inputs; best: each at its best rate "
        "of the sweep (default: best)",
    ),
    Experiment(
        "placement",
        "section 3.2: before or after the ReLU, and per position, on CIFAR-10",
        5,
        ("sweep", "best", "positions"),
        "best",
        "sweep: learning rates; best: before the ReLU, after it and nowhere, each at the best "
        "rate of the sweep; positions: statistics of each map or of each position, from few "
        "images (default: best)",
        length="epochs",
    ),
)


def _add_train(commands: Commands) -> None:
    parser = commands.add_parser(
        "train",
        help="run an experiment of the paper and record it",
        description="Run an experiment and write its record under results/ (or BN_RESULTS_DIR). "
        "Runs that are recorded already are not repeated: interrupt it and call it again.",
    )
    experiments = parser.add_subparsers(required=True, dest="experiment", metavar="EXPERIMENT")
    for each in EXPERIMENTS:
        experiment = experiments.add_parser(each.name, help=each.help)
        experiment.set_defaults(study=each.default, length=each.length)
        if each.studies:
            experiment.add_argument(
                "--study",
                choices=each.studies,
                default=each.default,
                help=each.help_of_studies,
            )
        experiment.add_argument(
            "--seeds",
            type=at_least_1,
            default=each.seeds,
            help=f"seeds per arm (default: {each.seeds})",
        )
        experiment.add_argument(
            "--only", nargs="+", metavar="ARM", help="only these arms of the study (default: all)"
        )
        experiment.add_argument(
            "--jobs", type=at_least_1, default=1, help="runs at once (default: 1)"
        )
        experiment.add_argument(
            f"--{each.length}",
            type=at_least_1,
            help="another length of training, in a record apart",
        )

    def run(arguments: argparse.Namespace) -> int:
        from bn.experiments.command import run as run_train

        return run_train(arguments)

    parser.set_defaults(run=run)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="check anybody's batch norm, and name its mistakes",
        description="Import what is named, which runs its code, and check that it is batch "
        "normalization: forward, backward and second gradients, running statistics and their "
        "conventions, training and inference, small batches, large means, half precision, state. "
        "Exit code: 0 passed, 1 failed, 2 not a candidate.",
    )
    parser.add_argument(
        "candidate",
        metavar="MODULE:NAME",
        help="a function, class, instance, or a function without arguments that makes one, such "
        "as torch.nn:BatchNorm2d; or MODULE:FORWARD,BACKWARD for two functions",
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, help="seconds for importing and checking (60)"
    )

    def run(arguments: argparse.Namespace) -> int:
        from bn.check.command import run as run_check

        return run_check(arguments)

    parser.set_defaults(run=run)


def _add_bench(commands: Commands) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure how fast batch norm is here, beside its peers",
        description="Measure the layer, its fusions, whole training steps and the memory, all "
        "contenders by turns, and write records under results/bench (or BN_RESULTS_DIR). Rounds "
        "that other programs disturb do not count: close them, and let it run. Interrupt it at "
        "any time; what was measured stays.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SECTION",
        help="bandwidth, layers, fused, training, allocation, growth, memory, accuracy, gpu "
        "(default: all that can be measured here)",
    )
    parser.add_argument(
        "--seconds", type=seconds, default=300.0, help="limit for all together (default: 300)"
    )
    parser.add_argument(
        "--rounds", type=at_least_1, default=12, help="rounds that shall count (default: 12)"
    )
    parser.add_argument("--json", action="store_true", help="print the records as JSON")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="some seconds on tiny arrays, to try out the bench itself, in records apart",
    )

    def run(arguments: argparse.Namespace) -> int:
        from bn.bench.command import run as run_bench

        return run_bench(arguments)

    parser.set_defaults(run=run)


COMMANDS: tuple[Callable[[Commands], None], ...] = (
    _add_data,
    _add_train,
    _add_check,
    _add_bench,
)


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; its number is the argument."""


@contextmanager
def end_as_on_ctrl_c() -> Iterator[None]:
    """Let the signals that end a process take the road of Ctrl-C, so that nothing is left behind.

    Those are SIGTERM (``kill``, a container or a job that is stopped) and SIGHUP (a terminal that
    is closed). What has been told to ignore them, as nohup does, goes on doing so.
    """

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # `timeout` sends two; the first is being obeyed
        raise Ended(number)

    taken = []
    if threading.current_thread() is threading.main_thread():  # no other may take signals
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 128 + number ended by a
        signal.

    Raises
    ------
    SystemExit
        With code 2 where the arguments cannot be read.
    """
    parser = Parser(prog="python -m bn", description="Batch normalization.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        with end_as_on_ctrl_c():
            return run(arguments)
    except ImportError as error:
        extras = "'.[data,train,torch]'"
        print(f"{error}\nFrom a clone, pip install {extras} brings it.", file=sys.stderr)
        return 1
    except Ended as ended:
        print(f"ended by {signal.Signals(ended.args[0]).name}", file=sys.stderr)
        return 128 + int(ended.args[0])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
