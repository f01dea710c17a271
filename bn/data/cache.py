"""The cache: one verified file for each data set.

The file is the parts of the original binary layout, one after another, exactly as
``cat`` would join them. So it is checked at each load against the published hashes
themselves, and what is in memory afterwards is what was hashed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bn.data.errors import INSTALL, DataError, say
from bn.data.sources import Part

FOLDER = "batch-normalization-book"  # below the platform's cache folder


class DamagedError(Exception):
    """The cache file is there, but not what it should be; the text says how."""


def default_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the cache: as given, else ``BN_DATA_DIR``, else the platform's.

    Raises
    ------
    ImportError
        If the platform's folder is asked for and platformdirs is not installed.
    """
    chosen = given or os.environ.get("BN_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    try:
        import platformdirs
    except ImportError as error:
        raise ImportError(
            f"bn.data needs platformdirs to find the cache folder: set BN_DATA_DIR, or {INSTALL}"
        ) from error
    return Path(platformdirs.user_cache_dir(FOLDER, appauthor=False))


def read(path: Path, parts: Sequence[Part]) -> NDArray[np.uint8] | None:
    """Read and verify the cache file.

    Returns
    -------
    array of uint8, shape (bytes of all parts,), read-only; None if there is no file.

    Raises
    ------
    DamagedError
        If the size or a part's hash is not as it should be.
    OSError
        If the file cannot be read.
    """
    expected = sum(part.size for part in parts)
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    if size != expected:
        raise DamagedError(f"it has {size} bytes instead of {expected}")
    content = np.fromfile(path, dtype=np.uint8)
    ends = np.cumsum([part.size for part in parts])
    pieces = [content[end - part.size : end] for part, end in zip(parts, ends, strict=True)]
    # hashlib lets other threads run meanwhile: two cores halve the time for CIFAR-10
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for part, found in zip(parts, pool.map(_sha256, pieces), strict=True):
            if found != part.sha256:
                raise DamagedError(f"the SHA-256 of {part.name} in it is wrong")
    content.setflags(write=False)
    return content


def wrong_part(content: Mapping[str, bytes], parts: Sequence[Part]) -> str | None:
    """Say which part of decoded content is wrong and how; None if all are right."""
    for part in parts:
        data = content[part.name]
        found = hashlib.sha256(data).hexdigest()
        if found != part.sha256:
            return (
                f"wrong content: {part.name} has {len(data)} bytes with SHA-256 "
                f"{found[:12]}..., not {part.size} with {part.sha256[:12]}..."
            )
    return None


def write(path: Path, content: Mapping[str, bytes], parts: Sequence[Part], work: Path) -> None:
    """Write the cache file under a temporary name in ``work``, then move it to its place.

    ``work`` lies in the same folder, so the move is atomic: the file is there whole, or
    not at all. Not synced to the disk: after a power cut the hash at load finds the damage.
    """
    unfinished = work / path.name
    with unfinished.open("wb") as file:
        for part in parts:
            file.write(content[part.name])
    os.replace(unfinished, path)


def remove_left_over(folder: Path, name: str) -> None:
    """Remove what processes left that were killed while they fetched a data set.

    Nothing is removed while another process fetches that set, or where nothing may be written.
    """
    if not any(folder.glob(f".{name}-*.tmp")):
        return
    with suppress(ImportError, OSError, NotImplementedError):  # a Timeout is an OSError
        from filelock import FileLock

        with FileLock(folder / f".{name}.lock", timeout=0):
            _remove_temporary(folder, name)


@contextmanager
def workplace(folder: Path, name: str) -> Iterator[Path]:
    """Hold the lock of a data set, and lend an empty folder that vanishes afterwards.

    The lock is the operating system's, so it goes with a process that dies. Whoever
    holds it may remove all temporary folders of this data set: their owners are gone.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        say(f"{name}: another process is fetching it into {folder}; waiting for it")
        lock.acquire()
    except NotImplementedError as error:
        raise DataError(
            f"The file system of {folder} has no file locks. Set BN_DATA_DIR to a folder on "
            "a local disk."
        ) from error
    try:
        _remove_temporary(folder, name)
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=f".{name}-", suffix=".tmp", ignore_cleanup_errors=True
        ) as work:
            yield Path(work)
    finally:
        lock.release()


def _remove_temporary(folder: Path, name: str) -> None:
    for stale in folder.glob(f".{name}-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)


def _sha256(piece: NDArray[np.uint8]) -> str:
    return hashlib.sha256(piece.data).hexdigest()
