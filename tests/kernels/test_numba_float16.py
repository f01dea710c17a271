"""float16 on the CPU, with the processor's instructions and, where it has none, without."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from bn.kernels.numba_cpu import elements  # noqa: E402

EVERY_FLOAT16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def between():
    """float32 where rounding to float16 decides: all float16, what lies halfway, and beside it."""
    all_but_nan = EVERY_FLOAT16[~np.isnan(EVERY_FLOAT16)]
    ends = np.sort(all_but_nan.astype(np.float32))
    ends[[0, -1]] = -65536, 65536  # in place of infinity, which the next one would be
    halfway = (ends[:-1] + ends[1:]) / 2
    exact = np.concatenate([ends, halfway])
    beside = [np.nextafter(exact, np.float32(to)) for to in (-np.inf, np.inf)]
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, np.uint32).view(np.float32)
    return np.concatenate([exact, *beside, bits, np.float32([np.inf, -np.inf, np.nan, -np.nan])])


def test_reading_by_integers_is_exact():
    from_half = elements._from_half_by_integers

    @numba.njit
    def read(bits, values):
        for i in range(bits.size):
            values[i] = from_half(bits[i])

    values = np.empty(EVERY_FLOAT16.size, np.float32)
    read(EVERY_FLOAT16.view(np.int16), values)
    np.testing.assert_array_equal(values, EVERY_FLOAT16.astype(np.float32))
    assert np.array_equal(np.signbit(values), np.signbit(EVERY_FLOAT16))


def test_writing_by_integers_rounds_to_the_nearest():
    to_half = elements._to_half_by_integers

    @numba.njit
    def write(values, bits):
        for i in range(bits.size):
            bits[i] = to_half(values[i])

    values = between()
    bits = np.empty(values.size, np.int16)
    write(values, bits)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(bits.view(np.float16), expected)
    assert np.array_equal(np.signbit(bits.view(np.float16)), np.signbit(expected))


ON_A_PLAIN_PROCESSOR = """
import numpy as np
from bn import reference
from bn.kernels import numba_cpu
from bn.kernels.numba_cpu.compiling import converts_float16

x = np.random.default_rng(0).standard_normal((6, 5, 30)).astype(np.float16)
y, _ = numba_cpu.batch_norm_forward(x)
assert np.array_equal(y, reference.batch_norm_forward(x)[0])
print(converts_float16())
"""


X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.skipif(not X86, reason="all others that Numba compiles for have the instructions")
def test_a_processor_without_float16():
    """`generic` is an x86 of 2003."""
    made = subprocess.run(
        [sys.executable, "-c", ON_A_PLAIN_PROCESSOR],
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["False"]
