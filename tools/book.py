"""Build the book: the one function behind `make book`, the tests and the screenshots.

Warnings are errors, and every missing reference is a warning. jupyter-book builds only
what changed, and repeats no warning of a page it did not read again; so after a failed
build, and after a change of code that pages depend on, everything is built anew.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
INDEX = Path("_build", "html", "index.html")

# What a page can depend on without Sphinx knowing.
BEHIND_THE_PAGES = (
    "_config.yml",
    "_toc.yml",
    "book/_ext",
    "book/figures",
    "book/references.bib",
    "results",
    "bn",
)


class BuildError(Exception):
    """The book did not build; the message is what jupyter-book said."""


def build(root: Path = ROOT) -> Path:
    """Build the book under `root` and return the path of its first page.

    Raises
    ------
    BuildError
        When jupyter-book fails or warns. The next build then starts from nothing, so that
        it shows the same warnings again.
    """
    output = root / "_build"
    output.mkdir(exist_ok=True)
    with FileLock(output / ".book.lock"):  # `make book` beside a running `make test`
        stamp = output / ".book-built-from"
        wanted = fingerprint(root)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            for folder in ("html", ".doctrees", "jupyter_execute"):
                shutil.rmtree(output / folder, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        made = subprocess.run(
            [jupyter_book(), "build", str(root), "-W", "-n", "--keep-going", "--quiet"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        if made.returncode:
            raise BuildError(re.sub(r"\x1b\[[0-9;]*m", "", made.stdout))  # without colours
        stamp.write_text(wanted, encoding="utf-8")
    return root / INDEX


def jupyter_book() -> str:
    """Return the jupyter-book command of the environment that runs this."""
    found = shutil.which("jupyter-book", path=str(Path(sys.executable).parent))
    if found is None:
        raise BuildError(f"no jupyter-book beside {sys.executable}: run `make book`")
    return found


def fingerprint(root: Path) -> str:
    """Return a hash of the files behind the pages: their names and their contents."""
    digest = hashlib.sha256()
    for path in files(root):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def files(root: Path) -> Iterator[Path]:
    """Yield the files behind the pages, in a fixed order."""
    for name in BEHIND_THE_PAGES:
        path = root / name
        if path.is_file():
            yield path
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and "__pycache__" not in inner.parts:
                yield inner


def main() -> None:
    """Build, and print where the first page is."""
    try:
        index = build()
    except BuildError as error:
        sys.exit(f"{error}\nbook: not built; the warnings above count as errors")
    print(f"book: {index}")


if __name__ == "__main__":
    main()
