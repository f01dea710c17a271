"""Run the numerical tests as other processors would: `make test-processors`.

Libraries choose their instructions, and so the order of their sums, by the processor. Each of them
can be told to take it for another one, or to run with more threads or fewer. For each setting the
suites below run once; what this machine could not execute is left out, with a word.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llvmlite import binding as llvm

from tools.check import ROOT, TWO_AT_A_TIME, settings

SUITES = [
    "tests/kernels",
    "tests/contract",
    "tests/reference",
    "tests/pytorch/test_accuracy.py",
    "tests/conformance/test_accuracy.py",
]
LOGS = ROOT / "_build" / "processors"
#: What a processor must have to execute another's machine code, in LLVM's names.
AVX2 = ("avx2", "bmi2", "f16c", "fma")
AVX512 = (*AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
ZEN4 = (*AVX512, "avx512bf16", "avx512vbmi2", "sse4a")


@dataclass(frozen=True)
class Setting:
    """Environment variables to run under, what they need here, and what runs beside."""

    environment: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    busy: int = 0

    @property
    def name(self) -> str:
        """Return the variables, as one would type them."""
        words = [f"{key}={value}" for key, value in self.environment.items()]
        words += [f"{self.busy} busy processes beside"] if self.busy else []
        return ", ".join(words) or "this machine's own"


def numba(name: str, *needs: str) -> Setting:
    """Compile for a processor and nothing else; by itself, Numba adds what this machine has."""
    return Setting({"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}, needs)


def matrix() -> list[Setting]:
    """Return all settings."""
    return [
        Setting(),
        numba("generic"),
        numba("haswell", *AVX2),
        numba("skylake-avx512", *AVX512),
        numba("znver4", *ZEN4),
        Setting({"ATEN_CPU_CAPABILITY": "default"}),
        Setting({"ATEN_CPU_CAPABILITY": "avx2"}, AVX2),
        Setting({"ATEN_CPU_CAPABILITY": "avx512"}, AVX512),
        *(Setting({"ONEDNN_MAX_CPU_ISA": isa}) for isa in ("SSE41", "AVX2", "AVX512_CORE")),
        *(Setting({"NPY_DISABLE_CPU_FEATURES": names}) for names in numpys_features()),
        *(Setting({"OMP_NUM_THREADS": count}) for count in ("1", "2", "4")),
        Setting(busy=4),
    ]


def numpys_features() -> Iterator[str]:
    """Yield what NumPy can do without on this machine: all of it, and its newest half."""
    made = importlib.import_module("numpy._core._multiarray_umath")  # it has no public name
    found = [name for name in made.__cpu_dispatch__ if made.__cpu_features__.get(name)]
    for names in dict.fromkeys((tuple(found), tuple(found[len(found) // 2 :]))):
        if names:  # NumPy warns of those that it was not built with, or that are not there
            yield " ".join(names)


def lacking(setting: Setting, features: dict[str, bool]) -> list[str]:
    """Return what this machine's processor would need to run under a setting, and has not."""
    return [name for name in setting.needs if not features.get(name)]


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(setting: Setting, log: Path, suites: list[str]) -> tuple[bool, str]:
    """Run the suites, with what they print in `log`; return whether they passed, and a summary."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TWO_AT_A_TIME]
    with ExitStack() as beside, log.open("w", encoding="utf-8") as file:
        for _ in range(setting.busy):
            beside.enter_context(busy_process())
        status = subprocess.run(
            [*command, *suites], cwd=ROOT, env=settings() | setting.environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        ).returncode  # fmt: skip
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        if line.startswith(("FAILED", "ERROR", "LLVM ERROR")):
            print(f"  {line}", flush=True)
    counts = re.search(r"\d+ (failed|passed|error).*(?= in )", lines[-1] if lines else "")
    said = counts[0] if counts else f"ended with {status}; see {log}"
    return status == 0, said if status == 0 else f"FAILED: {said}"


def main() -> None:
    """Run under all settings, or under those whose names contain a word that is given."""
    parser = argparse.ArgumentParser(prog="python -m tools.processors", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of names (default: all settings)")
    words = parser.parse_args().words
    chosen = [s for s in matrix() if not words or any(word in s.name for word in words)]
    if not chosen:
        parser.error(f"no setting has one of {', '.join(words)} in its name")
    features = dict(llvm.get_host_cpu_features())
    print(f"processors: this one is {llvm.get_host_cpu_name()}; {os.cpu_count()} cores")
    LOGS.mkdir(parents=True, exist_ok=True)
    table, failed = [], []
    for place, setting in enumerate(chosen, 1):
        print(f"processors {place}/{len(chosen)}: {setting.name}", flush=True)
        if missing := lacking(setting, features):
            table.append((setting.name, f"left out: this processor has no {', '.join(missing)}"))
            continue
        started = time.monotonic()
        passed, said = run(setting, LOGS / f"{place}.log", SUITES)
        table.append((setting.name, f"{said}, {time.monotonic() - started:.0f} s"))
        if not passed:
            failed.append(setting.name)
    width = max(len(name) for name, _ in table)
    print("\n" + "\n".join(f"{name:{width}}  {said}" for name, said in table))
    if failed:
        sys.exit(f"\nprocessors: FAILED: {'; '.join(failed)}")
    print("\nprocessors: all passed")


if __name__ == "__main__":
    main()
