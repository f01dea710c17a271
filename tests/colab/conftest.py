"""A machine laid out like Google Colab's, and the book's repository as if GitHub had it.

The environment has what Colab has of the notebooks' needs, with another torch than ours (the
newest), and lacks the packages in MISSING, so that the set-up cell has something to install.
It takes several GB where pip finds only PyPI's build of torch. It is removed afterwards, unless
BN_COLAB_ENV names a folder: then it is made there once, and found there by later runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # `tools` is not installed

from tools import environment  # noqa: E402

ADDRESS = "ada/batch-norm"  # where the notebooks are told to find the repository
# Colab has these, or more; platformdirs comes with the kernel.
LAYOUT = ["ipykernel", "numpy", "numba", "matplotlib", "requests", "tqdm", "filelock"]
# What Colab might lack one day: one that nothing else needs, and one that is imported under
# another name than it is installed by.
MISSING = ("threadpoolctl", "pillow")
# A new machine shares with ours what leads to the network, and nothing else: no PYTHONPATH, no
# cache folders, nothing that steers git or Jupyter.
SHARED = re.compile(
    r"PATH|LANG|LC_\w+|TMPDIR|PIP_\w+|NPM_CONFIG_\w+|\w+_PROXY|\w*(CERT|CA_BUNDLE)\w*"
    r"|BN_DATA_PATIENCE",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Machine:
    """An interpreter, and the environment variables of whatever runs on this machine."""

    python: Path
    work: Path
    settings: dict[str, str]
    address: str = ADDRESS
    missing: tuple[str, ...] = MISSING

    def packages(self) -> dict[str, str]:
        """Return the version of each package that pip finds installed."""
        return {
            p["name"].lower(): p["version"] for p in json.loads(self.pip("list", "--format=json"))
        }

    def pip(self, *arguments: str) -> str:
        """Run pip; return what it prints."""
        command = [self.python, "-m", "pip", *arguments]
        return subprocess.check_output(command, env=self.settings, cwd=self.work, text=True)

    def new_folder(self) -> Path:
        """Return an empty folder, as /content is on a machine just started."""
        return Path(tempfile.mkdtemp(dir=self.work))

    def run(self, notebook: Any, content: Path, name: str, **settings: str) -> None:
        """Execute a notebook from top to bottom, and store the outputs in it.

        Only the kernel is the machine's. The client is ours, as it is the browser with Colab.
        """
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        started = time.monotonic()

        def announce(cell: Any, cell_index: int) -> None:
            if cell.cell_type == "code":
                where = f"cell {cell_index + 1} of {len(notebook.cells)}"
                first = cell.source.split("\n", 1)[0][:50]
                say(f"{name}: {time.monotonic() - started:4.0f} s, {where}: {first}")

        specs = KernelSpecManager(kernel_dirs=[str(self.work / "kernels")])
        NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="colab", kernel_spec_manager=specs),
            timeout=None,  # pytest has one, for the whole notebook
            record_timing=False,
            on_cell_start=announce,
        ).execute(cwd=str(content), env=self.settings | settings, cleanup_kc=True)
        say(f"{name}: {time.monotonic() - started:4.0f} s, done")


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """Yield a folder outside the repository, which is removed with all its GBs."""
    with tempfile.TemporaryDirectory(prefix="bn-colab-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


@pytest.fixture(scope="session")
def settings(work: Path) -> dict[str, str]:
    """Return a new machine's environment variables; its home is empty."""
    (work / "home").mkdir()
    own = {
        "HOME": str(work / "home"),  # one for all notebooks: each data set is fetched once
        "BN_EPOCHS": os.environ.get("BN_EPOCHS", "0.2"),  # shortens the training on CIFAR-10
        "GIT_CONFIG_GLOBAL": str(work / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file",  # the real GitHub is not asked
    }
    # The user's own files may name the only registry that answers.
    for name, place in (
        ("PIP_CONFIG_FILE", ".config/pip/pip.conf"),
        ("NPM_CONFIG_USERCONFIG", ".npmrc"),
    ):
        if (Path.home() / place).is_file():
            own[name] = str(Path.home() / place)
    return own | {name: value for name, value in os.environ.items() if SHARED.fullmatch(name)}


@pytest.fixture(scope="session")
def published(work: Path, settings: dict[str, str]) -> str:
    """Publish the working tree where git will look for ADDRESS; return the commit.

    The working tree, also what is not committed: what lies in front of you is tested, as by
    all other tests. On a clean checkout there is no difference.
    """
    say("publishing the working tree in a stand-in for GitHub")
    repository = work / "github"
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    for name in listed.decode().split("\0"):
        if (ROOT / name).is_file():  # and not deleted
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, repository / name)
    (work / "gitconfig").write_text(
        f'[url "{repository.as_uri()}"]\n\tinsteadOf = https://github.com/{ADDRESS}\n'
        "[user]\n\tname = test\n\temail = test@localhost\n",
        encoding="utf-8",
    )

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.check_output(command, cwd=repository, env=settings, text=True).strip()

    git("init", "--quiet")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--message=the working tree")
    return git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def our_torch() -> str:
    """Return the version of torch that the book is tested with."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(r"^torch==(\S+)", text, re.MULTILINE)
    assert found, "requirements.txt pins torch no longer: what is Colab's to be newer than?"
    return found[1]


@pytest.fixture(scope="session")
def new_machine(
    work: Path, settings: dict[str, str], our_torch: str
) -> tuple[Machine, dict[str, str]]:
    """Return a machine as Colab would hand it out, and its packages; make it if need be."""
    folder = Path(os.environ.get("BN_COLAB_ENV") or work / "environment").absolute()
    machine = Machine(folder / environment.PYTHON.relative_to(environment.VENV), work, settings)
    argv = [str(machine.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = work / "kernels" / "colab" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))

    # The newest there is but ours: also when ours is the newest, there is something to leave alone.
    layout = [*LAYOUT, f"torch!={our_torch}"]
    wanted = f"Python {sys.version.split()[0]}: {', '.join(layout)}; not {', '.join(MISSING)}"
    stamp = folder / "laid-out-like-colab.json"  # written last
    if stamp.is_file():
        made = json.loads(stamp.read_text(encoding="utf-8"))
        if made["wanted"] == wanted:
            say(f"found the environment {folder}")
            return machine, made["packages"]
    if folder.exists() and any(folder.iterdir()):
        pytest.fail(
            f"BN_COLAB_ENV names {folder}, which holds something, and no finished environment "
            f"with {wanted}. Remove it, or name another folder."
        )
    say(f"making the environment {folder}; this may fetch several GB")
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # no cache: nobody would ever empty it of files so large
    install = [machine.python, "-m", "pip", "install", "--no-cache-dir", *layout]
    if environment.wants_cpu_torch():
        install += ["--extra-index-url", environment.TORCH_CPU]
    subprocess.run(install, env=settings, cwd=work, check=True)
    machine.pip("uninstall", "--yes", *MISSING)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.check_output([machine.python, "-c", code], env=settings, text=True)
    colab = Path(told.strip()) / "google" / "colab" / "__init__.py"
    colab.parent.mkdir(parents=True)
    colab.touch()
    packages = machine.packages()
    made = {"wanted": wanted, "packages": packages}
    stamp.write_text(json.dumps(made, indent=1), encoding="utf-8")
    say(f"the environment is ready after {time.monotonic() - started:.0f} s")
    return machine, packages


@pytest.fixture
def machine(new_machine: tuple[Machine, dict[str, str]], published: str) -> Machine:
    """Return the machine as new: what earlier notebooks installed is gone."""
    machine, packages = new_machine
    added = machine.packages().keys() - packages.keys()
    if added:
        machine.pip("uninstall", "--yes", *sorted(added))
    if machine.packages() != packages:
        pytest.fail(
            f"an earlier test has changed the packages in {machine.python.parent.parent}. "
            "If BN_COLAB_ENV names it, remove it."
        )
    return machine


def say(message: str) -> None:
    """Print one line at once, also into a pipe."""
    print("colab: " + message, flush=True)
