"""Candidates are imported from files, as a user's would be; Keras runs on torch."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bn import check


@pytest.fixture
def as_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Write code into a file and import it; it is forgotten afterwards."""
    made: list[str] = []

    def make(code: str) -> ModuleType:
        name = f"candidate_{len(made)}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(code, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """For tensors this small, waiting for other threads costs more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user has a minute's patience; a test that ends for lack of time says nothing."""
    for function in (check.batch_norm, check.population):
        monkeypatch.setitem(function.__kwdefaults__, "timeout", 3000.0)


@pytest.fixture(scope="session")
def keras(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Keras on torch, with its settings in a folder of the tests'."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    return pytest.importorskip("keras")
