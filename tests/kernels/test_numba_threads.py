"""Threads, processes, and machine code on disk."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba")

from bn.kernels import numba_cpu
from bn.kernels.numba_cpu import arrays, compiling, plan, scratch
from bn.kernels.numba_cpu import threads as runtime
from bn.kernels.numba_cpu.gates import gate_words

SHAPES = [(300, 700), (5000, 24), (16, 6, 40, 40), (16, 70, 6, 6), (64, 9, 33, 35)]


def both(x, dy, threads):
    y, statistics = arrays.forward(x, None, None, eps=1e-5, threads=threads)
    made = arrays.backward(dy, x, None, None, statistics, threads=threads)
    return [y, *statistics, made.dx, made.dgamma, made.dbeta]


def both_with_gates(x, dy, threads):
    """With an addition and a ReLU: threads write gates side by side."""
    given, gates = (x, None, None), np.empty(gate_words(x.size), np.uint64)
    y, statistics = arrays.forward(
        *given, eps=1e-5, relu=True, residual=dy, gates=gates, threads=threads
    )
    made = arrays.backward(
        dy, *given, statistics, relu=True, with_residual=True, gates=gates, threads=threads
    )
    return [y, *statistics, gates, *made]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("both", [both, both_with_gates])
def test_any_number_of_threads_gives_the_same_bits(shape, last, both):
    x, dy = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    if last:
        x, dy = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in (x, dy))
    alone = both(x, dy, 1)
    for threads in (2, 3, 7):
        for got, right in zip(both(x, dy, threads), alone, strict=True):
            assert np.array_equal(got, right)


def test_calls_at_the_same_time_do_not_meet():
    """Each call has memory of its own to work with, also when shapes are the same."""
    rng = np.random.default_rng(0)
    cases = [rng.standard_normal((2, 40, 5, 12, 12), dtype=np.float32) for _ in range(4)]
    right = [both(x, dy, 1) for x, dy in cases]
    wrong = []

    def work_on(i):
        for _ in range(30):
            made = both(*cases[i], 2)
            if not all(map(np.array_equal, made, right[i])):
                wrong.append(i)

    workers = [threading.Thread(target=work_on, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_what_a_call_worked_with_is_used_again_but_not_after_an_error(monkeypatch):
    x = np.random.default_rng(0).standard_normal((6, 5, 11, 13))
    arrays.forward(x, None, None, eps=1e-5)
    shared = plan.plan_of(x.shape, 1, False, plan.FLOAT64, plan.FLOAT64)
    (kept,) = shared.unused
    arrays.forward(x, None, None, eps=1e-5)
    assert shared.unused == [kept]
    assert kept.held is None  # or the arrays of the last call would stay

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scratch, "run", interrupted)
    monkeypatch.setattr(scratch, "run_on_threads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        arrays.forward(x, None, None, eps=1e-5)
    assert shared.unused == []


def run(script, root, **environment):
    made = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


WITHOUT_TORCH = """
import sys, threading, numpy as np
from bn.kernels.numba_cpu import arrays, threads
x = np.random.default_rng(0).standard_normal((32, 8, 64, 64), dtype=np.float32)
y, _ = arrays.forward(x, None, None, eps=1e-5)
one, _ = arrays.forward(x, None, None, eps=1e-5, threads=1)
names = [t.name for t in threading.enumerate()]
print(threads.thread_count(), np.array_equal(y, one), "torch" in sys.modules,
      sum(name.startswith("bn-kernel") for name in names))
"""


def test_without_torch_plain_threads_work(request):
    count, same, torch, others = run(WITHOUT_TORCH, request.config.rootpath, OMP_NUM_THREADS="3")
    assert (count, same, torch) == ("3", "True", "False")
    assert others == "2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("load", ["", "import torch"], ids=["alone", "with torch"])
def test_a_forked_process_goes_on_with_one_thread(request, load):
    script = f"""
{load}
import os, numpy as np
from bn.kernels.numba_cpu import arrays, threads
x = np.random.default_rng(0).standard_normal((32, 8, 64, 64), dtype=np.float32)
y, _ = arrays.forward(x, None, None, eps=1e-5, threads=2)
child = os.fork()
if child == 0:
    again, _ = arrays.forward(x, None, None, eps=1e-5, threads=2)
    os._exit(0 if np.array_equal(again, y) and threads.thread_count() == 1 else 7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(script, request.config.rootpath) == ["0"]


def test_torch_says_how_many_threads():
    torch = pytest.importorskip("torch")
    if runtime._openmp() is None:
        pytest.skip("this torch does not run on GNU's OpenMP")
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert runtime.thread_count() == count
    finally:
        torch.set_num_threads(before)


def test_machine_code_is_found_again_and_made_anew_when_the_source_changes(tmp_path, request):
    """A copy of the package, so that the one under test keeps its machine code."""
    script = """
import sys; sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else ".")
import numpy as np
from bn.kernels.numba_cpu import compiling, plane_kernels
made = []
compiled = compiling._compiled
def watched(function):
    result = compiled(function)
    made.append(result.cache_hits)
    return result
compiling._compiled = watched
from bn.kernels.numba_cpu import arrays
x = np.ones((2, 2, 64)); x[0] = 3
y, _ = arrays.forward(x, None, None, eps=0.0)
print(y[0, 0, 0], sum(made), len(made))
"""
    import shutil

    root = request.config.rootpath
    shutil.copytree(
        root / "bn", tmp_path / "bn", ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    )
    first = run(script, tmp_path)
    again = run(script, tmp_path)
    assert first[:2] == ["1.0", "0"]
    assert again == [first[0], first[2], first[2]]
    source = tmp_path / "bn/kernels/numba_cpu/output.py"
    text = source.read_text()
    changed = text.replace("* pick(k, SCALE, i)", "* (2 * pick(k, SCALE, i))", 1)
    assert changed != text
    source.write_text(changed)
    assert run(script, tmp_path)[:2] == ["2.0", "0"]


def test_the_sources_have_a_number():
    assert compiling._source_stamp() == compiling.STAMP
    assert numba_cpu.__doc__
