"""The two data sets of the paper's experiments, as arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bn.data import sources
from bn.data.containers import CIFAR_RECORD
from bn.data.obtain import obtain

Array = NDArray[np.uint8]
Folder = str | os.PathLike[str] | None

_DIGITS = tuple("0123456789")
_OBJECTS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Images with labels, for training and for testing. All arrays are read-only uint8.

    Attributes
    ----------
    name : str
    train_images, test_images : array of uint8
        MNIST: shape (N, 28, 28). CIFAR-10: shape (N, 3, 32, 32), channels first, in the
        order red, green, blue. 0 is black.
    train_labels, test_labels : array of uint8, shape (N,)
        Index into ``classes``.
    classes : tuple of str
    """

    name: str
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if len(images) != len(labels):
                raise ValueError(
                    f"{split}_images has {len(images)} images, {split}_labels has "
                    f"{len(labels)} labels; expected as many"
                )
            images.setflags(write=False)
            labels.setflags(write=False)

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self.train_images.shape[1:])
        return (
            f"ImageDataset({self.name}: {len(self.train_images)} training and "
            f"{len(self.test_images)} test images of {shape}, {len(self.classes)} classes)"
        )


def mnist(
    *, binarize: bool = False, cache_dir: Folder = None, progress: bool = True
) -> ImageDataset:
    """Return MNIST: 60 000 + 10 000 images of handwritten digits, 28×28.

    Parameters
    ----------
    binarize : bool
        Return 0 and 1 instead of 0 to 255: 1 where the pixel is at least 128. The paper
        (§4.1) uses binary images and does not say how they were made; this threshold,
        the middle of the range, is ours.
    cache_dir : path, optional
        Folder of the cache, instead of ``BN_DATA_DIR`` or the platform's cache folder.
    progress : bool
        Whether to tell of the download on stderr, with a bar on terminals.

    Raises
    ------
    DataError
        If the set is not in the cache and cannot be fetched.
    ImportError
        If it must be fetched and a package for that is missing.
    """
    spec = sources.MNIST
    content = obtain(spec, cache_dir=cache_dir, progress=progress).content
    arrays, start = [], 0
    for part in spec.parts:
        arrays.append(_idx(content[start : start + part.size]))
        start += part.size
    train_images, train_labels, test_images, test_labels = arrays
    if binarize:
        train_images = (train_images >= 128).astype(np.uint8)
        test_images = (test_images >= 128).astype(np.uint8)
    return ImageDataset("mnist", train_images, train_labels, test_images, test_labels, _DIGITS)


def cifar10(*, cache_dir: Folder = None, progress: bool = True) -> ImageDataset:
    """Return CIFAR-10: 50 000 + 10 000 colour photographs of 10 kinds of object, 3×32×32.

    Parameters
    ----------
    cache_dir : path, optional
        Folder of the cache, instead of ``BN_DATA_DIR`` or the platform's cache folder.
    progress : bool
        Whether to tell of the download on stderr, with a bar on terminals.

    Raises
    ------
    DataError
        If the set is not in the cache and cannot be fetched.
    ImportError
        If it must be fetched and a package for that is missing.
    """
    spec = sources.CIFAR10
    content = obtain(spec, cache_dir=cache_dir, progress=progress).content
    records = content.reshape(-1, CIFAR_RECORD)  # (60000, 3073); the last part is the test set
    split = len(records) - spec.parts[-1].size // CIFAR_RECORD
    pixels = np.ascontiguousarray(records[:, 1:])
    pixels.setflags(write=False)
    images = pixels.reshape(-1, 3, 32, 32)
    labels = records[:, 0].copy()
    return ImageDataset(
        "cifar10", images[:split], labels[:split], images[split:], labels[split:], _OBJECTS
    )


def _idx(data: Array) -> Array:
    """View an IDX file of unsigned bytes as an array: 0, 0, type, dimensions, sizes, data."""
    dimensions = int(data[3])
    shape = data[4 : 4 + 4 * dimensions].view(">u4")
    return data[4 + 4 * dimensions :].reshape(tuple(int(side) for side in shape))
