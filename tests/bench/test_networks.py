"""The training steps that are timed train."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from bn.bench.networks import CIFAR_FORMS, cifar_step, mnist_step
from bn.bench.sections import gpu
from bn.bench.timing import Limits
from bn.bench.worker import Worker, WorkerError
from bn.experiments.torch_networks import cifar_network
from bn.pytorch import fuse
from bn.pytorch.fused import run_as_one


def network():
    return cifar_network(batch_norm=True, generator=torch.Generator().manual_seed(0))


def test_fused_network_is_the_same_function():
    plain, fused = network(), fuse(network())
    pairs = [pair for pair in itertools.pairwise(fused) if run_as_one(*pair)]
    assert len(pairs) == sum(isinstance(module, nn.BatchNorm2d) for module in fused) == 5
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-4, atol=1e-4)
    assert [p.shape for p in fused.parameters()] == [p.shape for p in plain.parameters()]


@pytest.mark.parametrize("name", CIFAR_FORMS)
def test_cifar_step(name):
    step = cifar_step(name, batch_size=2)
    step()
    step()


@pytest.mark.parametrize("name", ["numpy-plain", "numpy-bn", "torch", "ours"])
def test_mnist_step(name):
    step = mnist_step(name, batch_size=4)
    step()
    step()


def test_the_gpu_section_on_the_cpu():
    limits = Limits(1, 5.0, span=0.0, most=1)
    names = ("eager", "eager-last", "ours", "ours-last")
    result = gpu.run((2, 3, 4, 4), "float32", "cpu", limits, names, backend="auto")
    assert result.skipped == {}
    seen = {(row["contender"], row["operation"]) for row in result.rows}
    assert seen == {(name, what) for name in names for what in gpu.PASSES} | {("copy", "copy")}
    copy = next(row for row in result.rows if row["contender"] == "copy")
    assert copy["of_copy"] == pytest.approx(1.0)
    expected = 2 * copy["megabytes"] / 1e3 / (copy["ms"] / 1e3)
    assert copy["gb_per_s"] == pytest.approx(expected)


def test_a_worker_answers_and_reports_what_fails():
    with Worker() as worker:
        with pytest.raises(WorkerError, match="nothing was opened"):
            worker.round()
        names = ["torch", "numpy-closed"]
        answer = worker.ask(open="layers", span=0.0, arguments={"shape": [8, 4], "names": names})
        assert answer == {"failed": {}}
        made = worker.round()
        assert list(made.seconds) == names
        assert all(np.isfinite(seconds) for seconds in made.seconds.values())
        with pytest.raises(WorkerError, match="KeyError: 'nonsense'"):
            worker.ask(open="layers", span=0.0, arguments={"shape": [8, 4], "names": ["nonsense"]})
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(WorkerError, match="ended"):
            worker.round()
