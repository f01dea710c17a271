"""Who may import whom: the rules of CONTRIBUTING.md, on the code as it stands."""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"book", "notebooks", "tests", "tools", "results"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("bn", include_external_packages=True, cache_dir=None)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "import-linter is not installed beside this Python"
    return subprocess.run(
        [command, "--no-cache"], cwd=folder, capture_output=True, text=True, encoding="utf-8"
    )


def test_imports_run_downwards_only() -> None:
    made = lint_imports(ROOT)
    assert made.returncode == 0, made.stdout + made.stderr


def test_an_import_upwards_is_found(tmp_path: Path) -> None:
    # the rules themselves, on a package that breaks them
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    layers = "experiments", "check", "data", "pytorch", "layers", "kernels", "reference", "style"
    for name in ("", *layers, "allocator"):
        folder = tmp_path / "bn" / name
        folder.mkdir()
        (folder / "__init__.py").touch()
    (tmp_path / "bn" / "__main__.py").touch()
    assert lint_imports(tmp_path).returncode == 0
    (tmp_path / "bn" / "reference" / "__init__.py").write_text("import bn.layers\n")
    made = lint_imports(tmp_path)
    assert made.returncode != 0
    assert "bn.reference is not allowed to import bn.layers" in made.stdout


def test_reference_imports_numpy_and_the_standard_library_only(graph: grimp.ImportGraph) -> None:
    modules = {"bn.reference"} | graph.find_descendants("bn.reference")
    seen = set()
    for module in modules:
        for imported in graph.find_modules_directly_imported_by(module):
            seen.add(imported)
            if imported in modules:
                continue
            top = imported.partition(".")[0]
            allowed = top == "numpy" or top in sys.stdlib_module_names
            assert allowed, f"{module} imports {imported}"
    assert "numpy" in seen, "the graph shows no external imports: the check above proves nothing"


def test_bn_knows_nothing_of_the_book(graph: grimp.ImportGraph) -> None:
    for module in graph.modules:
        if module.partition(".")[0] == "bn":
            found = graph.find_modules_directly_imported_by(module)
            assert not {name.partition(".")[0] for name in found} & OUTSIDE, module


@pytest.mark.parametrize("module", ["bn", "bn.reference"])
def test_importing_it_loads_numpy_and_nothing_else(module: str) -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names) - {'bn', 'numpy'}))"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == []
