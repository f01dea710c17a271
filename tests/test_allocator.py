"""bn.tune_allocator: memory is kept where there is glibc, and nothing happens elsewhere."""

import subprocess
import sys

import pytest

import bn
from bn import allocator

PAGE = 4096
SIZE, TIMES = 1 << 26, 6  # 64 MB, beyond all thresholds, again and again
SCRIPT = f"""
import resource
{{before}}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
start = faults()
for _ in range({TIMES}):
    b"x" * {SIZE}  # written, and dropped
print(faults() - start)
"""


def run(before: str, cwd: str) -> list[str]:
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        cwd=cwd, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


@pytest.mark.skipif(allocator._mallopt() is None, reason="no glibc here")
def test_memory_is_written_for_the_first_time_only_once(request: pytest.FixtureRequest) -> None:
    root = str(request.config.rootpath)
    (plain,) = run("", root)
    said, tuned = run("import bn; print(bn.tune_allocator())", root)
    assert said == "True"
    pages = SIZE // PAGE
    assert int(plain) > 0.9 * TIMES * pages
    assert int(tuned) < 1.5 * pages


def test_nothing_happens_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert bn.tune_allocator() is False


def test_an_old_glibc_is_told_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.35 thresholds above 32 MB were refused: return value 0."""
    told = []

    def mallopt(name: int, value: int) -> int:
        told.append(name)
        return int(not (name == allocator._MMAP_THRESHOLD and value > 1 << 25))

    monkeypatch.setattr(allocator, "_mallopt", lambda: mallopt)
    assert bn.tune_allocator() is True
    assert told[-1] == allocator._MMAP_MAX


def test_importing_changes_nothing(request: pytest.FixtureRequest) -> None:
    (plain,) = run("import bn, bn.reference", str(request.config.rootpath))
    if allocator._mallopt() is not None:
        assert int(plain) > 0.9 * TIMES * SIZE // PAGE
