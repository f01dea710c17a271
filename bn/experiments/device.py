"""Where to train, and in which precision: found out, not assumed."""

import copy
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from bn.experiments.record import cpu_name

#: Names of the precisions, as they stand in records.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def best_device() -> torch.device:
    """Return the GPU if PyTorch can use one (CUDA, then Apple's), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe(device: torch.device) -> str:
    """Return the name of a device, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device.type == "mps" else cpu_name()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a forward pass has a precision, float32 or bfloat16."""
    return torch.autocast(
        device.type, PRECISIONS[precision], enabled=precision != "float32", cache_enabled=True
    )


def faster_precision(
    network: nn.Module, x: torch.Tensor, labels: torch.Tensor, steps: int = 3
) -> tuple[str, dict[str, float]]:
    """Time training steps with and without bfloat16 autocast; return the faster precision.

    Where a CPU has instructions for bfloat16, autocast halves the time; where it has none, it
    may take ten times as long. So this is measured, not guessed from a name.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is: the steps are done on a copy.
    x, labels : tensors
        A mini-batch, on the device of the network.
    steps : int
        Timed steps of each kind, after one to warm up.

    Returns
    -------
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    seconds : dict of str to float
        Median time of a step with each.
    """
    if x.device.type == "mps":  # its autocast knows no bfloat16 on many systems
        return "float32", {}
    network = copy.deepcopy(network)

    def step(precision: str) -> None:
        network.zero_grad()
        with autocast(x.device, precision):
            loss = nn.functional.cross_entropy(network(x), labels)
        torch.autograd.backward(loss)

    seconds = {
        name: _median_time(functools.partial(step, name), steps, x.device) for name in PRECISIONS
    }
    return min(seconds, key=lambda name: seconds[name]), seconds


def _median_time(work: Callable[[], None], steps: int, device: torch.device) -> float:
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":  # a GPU is only asked to work; wait until it has
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
