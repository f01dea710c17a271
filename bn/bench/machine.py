"""The machine, in so far as times depend on it. No host, user or path is named."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bn.experiments.record import cpu_name, provenance

#: Variables that change how fast libraries are, by the beginnings of their names.
PREFIXES = (
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "NVPL_", "VECLIB_", "NPY_",
    "DNNL_", "ONEDNN_", "ATEN_", "NUMBA_", "MALLOC_", "THP_MEM_ALLOC_ENABLE", "GLIBC_TUNABLES",
    "LD_PRELOAD", "PYTHONMALLOC", "TORCHINDUCTOR_", "TORCH_COMPILE", "XLA_FLAGS",
    "PYTORCH_CUDA_ALLOC_CONF", "CUDA_LAUNCH_BLOCKING",
)  # fmt: skip
PACKAGES = ("torch", "numpy", "numba", "llvmlite", "jax", "jaxlib", "triton", "threadpoolctl")
SYSTEM = Path("/sys")


def describe() -> dict[str, Any]:
    """Return what the records say of this machine and of what runs on it."""
    made: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores_usable": usable_cores(),
        "caches": caches(SYSTEM),
        "memory_gib": _memory_gib(),
        "huge_pages": _huge_pages(SYSTEM),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip() or "not glibc",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "threads": _threads(),
        "environment": (found := environment(os.environ)),
        "remarks": remarks(found, usable_cores()),
    }
    where = provenance()
    return made | {"commit": where["commit"], "date": where["date"]} | _gpu()


def usable_cores() -> int:
    """Return on how many cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set and change how fast libraries are.

    Of a value with a path in it the last part is kept: it says which library is preloaded.
    """
    return {
        name: re.sub(r"[^\s:=,;]*[/\\]", "", value)
        for name, value in sorted(variables.items())
        if name.startswith(PREFIXES)
    }


def remarks(variables: Mapping[str, str], cores: int) -> list[str]:
    """Return in words what some of the variables do to the figures."""
    said = []
    for name, value in variables.items():
        if name.endswith("NUM_THREADS") and value.split(",")[0].isdigit():
            threads = int(value.split(",")[0])
            if threads < cores:
                said.append(f"{name}={value}: fewer threads than the {cores} cores")
        elif name in ("OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS") or (
            name.endswith("DEBUG_CPU_TYPE")
        ):
            said.append(f"{name}={value}: BLAS may use other instructions than the CPU has")
        elif name in ("NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
            said.append(f"{name}={value}: not all of the CPU's instructions are used")
        elif name == "NUMBA_DISABLE_JIT" and value not in ("", "0"):
            said.append(f"{name}={value}: Numba's kernels are not compiled, and very slow")
        elif name == "LD_PRELOAD" or name.startswith(("MALLOC_", "GLIBC_TUNABLES", "THP_MEM")):
            said.append(f"{name}={value}: memory is not handed out as usual")
    return said


def caches(system: Path) -> dict[str, str]:
    """Return the caches that the first core uses, such as {"L1d": "48K x 1 core"}."""
    found = {}
    for folder in sorted(system.glob("devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and size:
            found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")] = size
    return found


def _huge_pages(system: Path) -> str:
    said = _read(system / "kernel/mm/transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w+)\]", said)
    return chosen[1] if chosen else "unknown"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threads() -> dict[str, Any]:
    import threadpoolctl
    import torch

    pools = {
        f"{pool['internal_api']} {pool.get('version') or ''}".strip(): pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
    }
    return {"torch": torch.get_num_threads(), "instructions": _instructions(), "pools": pools}


def _instructions() -> str:
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def _gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
