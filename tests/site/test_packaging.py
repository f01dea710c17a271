"""What `pip install .` takes from a clone, and what it leaves there."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.network
def test_a_wheel_holds_what_the_package_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "bn", clone / "bn")  # with the machine code that Numba keeps there
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    (clone / "results" / "bench").mkdir(parents=True)
    records = {"a-study.json", "bench/layers.json"}
    runs_of_one_machine = {".a-study.lock", "a-study-10-steps.json", "bench/quick-layers.json"}
    for name in records | runs_of_one_machine:
        (clone / "results" / name).touch()

    def wheel(to: str) -> set[str]:
        """Pack the clone; return what is in the wheel, but not what describes it."""
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / to)]
        made = subprocess.run([*command, str(clone)], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        (path,) = (tmp_path / to).iterdir()
        return {name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}

    (clone / "bn" / "old.py").touch()
    before = wheel("first")
    (clone / "bn" / "old.py").unlink()
    assert wheel("second") == before - {"bn/old.py"}
    modules = {path.relative_to(clone).as_posix() for path in clone.glob("bn/**/*.py")}
    data = {f"bn/results/{name}" for name in records}
    assert before == modules | data | {"bn/old.py", "bn/py.typed"}
    assert {path.name for path in clone.iterdir()} == {
        "bn", "results", "pyproject.toml", "README.md", "LICENSE",
    }  # fmt: skip
