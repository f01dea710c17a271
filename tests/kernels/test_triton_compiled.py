"""Triton compiles all kernels for a graphics card that is not here, and the result is looked at.

The interpreter does not see what the compiler refuses, nor how memory is read. So each kernel is
compiled to machine code as for a launch, which needs no card, and is not launched.
"""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from triton.backends.compiler import GPUTarget  # noqa: E402

from bn.kernels import triton_gpu  # noqa: E402
from bn.kernels.triton_gpu import grid  # noqa: E402

if torch.cuda.is_available() or triton_gpu.interpreted():
    # compiled code is kept for each device, by its number: a card's must not be mixed with these
    pytest.skip("there is a GPU, or an interpreter, to run the kernels", allow_module_level=True)


CAPABILITY = 90  # H100


@pytest.fixture
def compiled(monkeypatch):
    """Return a list that fills with the kernels that are launched, instead of launching them."""
    kernels = []
    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", CAPABILITY, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
    )

    def compile_only(function, programs):
        def launch(*arguments, **options):
            made = function.warmup(*arguments, grid=programs, **options)
            kernels.append((function.fn.__name__, made))

        return launch

    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    monkeypatch.setattr(triton.JITFunction, "__getitem__", compile_only)
    return kernels


def launch_all(shape, dtype, *, last=False, relu=True):
    memory_format = torch.channels_last if last else torch.contiguous_format
    x = torch.empty(shape, dtype=dtype).to(memory_format=memory_format)
    residual = torch.empty_like(x) if relu else None
    gamma, beta = torch.empty(shape[1]), torch.empty(shape[1])
    options = {"relu": relu, "residual": residual}
    _, statistics = triton_gpu.forward(x, gamma, beta, eps=1e-5, **options)
    triton_gpu.backward(x, x, gamma, beta, statistics, **options)
    triton_gpu.inference(x, gamma, gamma, gamma, beta, eps=1e-5, **options)


def accesses(ptx, what):
    """Bytes that one thread reads (or writes) at once, for each instruction."""
    found = re.findall(rf"\b{what}\.global(?:\.\w+)*?(?:\.v(\d))?\.b(\d+)\b", ptx)
    return [int(vector or 1) * int(bits) // 8 for vector, bits in found]


def registers(kernel, folder):
    """Return how many registers a thread takes, and the bytes of memory it takes beside them."""
    file = folder / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])
    tool = Path(triton.backends.__file__).parent / "nvidia" / "bin" / "cuobjdump"
    done = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True)
    usage = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", done.stdout + done.stderr)
    assert usage, done
    taken, stack, local = map(int, usage.groups())
    return taken, stack + local


@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_memory_is_read_and_written_16_bytes_at_a_time(compiled, dtype, last, tmp_path):
    launch_all((8, 64, 56, 56), dtype, last=last)
    assert [name for name, _ in compiled] == [
        *("partial_moments", "combine_moments", "normalize"),
        *("partial_gradients", "combine_gradients", "gradient", "normalize_known"),
    ]
    for name, kernel in compiled:
        ptx = kernel.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.", ptx), f"{name} adds in no fixed order"
        taken, spilled = registers(kernel, tmp_path)
        assert spilled == 0, f"{name} has no room in registers and goes to memory"
        assert taken <= 128, f"{name}: half of the threads of a multiprocessor would be idle"
        if name.startswith("combine"):
            continue
        assert not re.search(r"\bfma\.", ptx), f"{name} rounds a product and a sum together"
        threads = 32 * kernel.metadata.num_warps
        at_least = 4096 * dtype.itemsize // (16 * threads)  # the smaller of the tiles
        assert accesses(ptx, "ld").count(16) >= at_least, name
        if name in ("normalize", "gradient", "normalize_known"):
            assert set(accesses(ptx, "st")) == {16}, name


def test_a_channel_in_registers_leaves_them_room(compiled, tmp_path):
    launch_all((32, 256, 14, 14), torch.float16)
    assert {"forward_on_chip", "backward_on_chip"} <= {name for name, _ in compiled}
    for name, kernel in compiled:
        assert registers(kernel, tmp_path)[1] == 0, f"{name} goes to memory"
        # 196 positions are a multiple of 4, not of 8: the compiler must have been told so
        assert set(accesses(kernel.asm["ptx"], "ld")) >= {4 * 2}, name


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 48, 7, 7), torch.float64), ((3, 5, 200, 30), torch.bfloat16)],
    ids=str,
)
def test_every_way_compiles(compiled, shape, dtype, monkeypatch):
    launch_all(shape, dtype, relu=False)
    monkeypatch.setattr(grid, "LIMIT_32", -1)  # as for more than 2^31 elements
    launch_all(shape, dtype)
    assert len(compiled) in (6, 14)
