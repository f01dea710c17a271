"""What is said of the machine, and what is not."""

import json
import platform
import re

from bn.bench import machine


def test_variables_that_change_times_are_reported_without_paths():
    found = machine.environment(
        {
            "OMP_NUM_THREADS": "1",
            "LD_PRELOAD": "/home/somebody/lib/libjemalloc.so.2:/usr/lib/libother.so",
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
            "HOME": "/home/somebody",
            "MALLOC_ARENA_MAX": "2",
        }
    )
    assert found == {
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "LD_PRELOAD": "libjemalloc.so.2:libother.so",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
    }


def test_what_cripples_is_pointed_out():
    said = machine.remarks(
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4", "OPENBLAS_CORETYPE": "Prescott"}, cores=4
    )
    assert [line.partition("=")[0] for line in said] == ["OMP_NUM_THREADS", "OPENBLAS_CORETYPE"]
    assert machine.remarks({"NUMBA_DISABLE_JIT": "0", "OMP_SCHEDULE": "static"}, cores=4) == []
    assert len(machine.remarks({"NUMBA_DISABLE_JIT": "1", "LD_PRELOAD": "libx.so"}, cores=4)) == 2


def test_caches(tmp_path):
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("3", "Unified", "16384K")]
    ):
        folder = tmp_path / f"devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert machine.caches(tmp_path) == {"L1d": "48K", "L1i": "32K", "L3": "16384K"}
    assert machine.caches(tmp_path / "none") == {}


def test_neither_the_host_nor_a_path_is_named():
    text = json.dumps(machine.describe())
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)
    assert "/home" not in text
    assert "/usr" not in text
    assert '"torch"' in text
