"""The book's Sphinx extensions, loaded from their files."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def labels() -> ModuleType:
    return load("labels")


@pytest.fixture(scope="session")
def result(labels: ModuleType) -> ModuleType:
    return load("result")


@pytest.fixture(scope="session")
def formulas() -> ModuleType:
    return load("formulas")


@pytest.fixture(scope="session")
def together() -> ModuleType:
    return load("together")


@pytest.fixture(scope="session")
def figures() -> ModuleType:
    return load("figures")


@pytest.fixture(scope="session")
def bench(result: ModuleType) -> ModuleType:
    load("conformance")  # bench imports both
    return load("bench")


@pytest.fixture(scope="session")
def claim(bench: ModuleType) -> ModuleType:
    return load("claim")
