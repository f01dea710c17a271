"""Choosing images: subsets and mini-batches, the same for the same generator."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

ImageT = TypeVar("ImageT", bound=np.generic)
LabelT = TypeVar("LabelT", bound=np.generic)


def subset(
    images: NDArray[ImageT], labels: NDArray[LabelT], n: int, *, rng: np.random.Generator
) -> tuple[NDArray[ImageT], NDArray[LabelT]]:
    """Choose ``n`` images, as many of each class as can be, in random order.

    The classes' counts differ by at most one, unless a class has too few images: then
    all of those are taken and the others fill up. What is chosen depends on the
    generator's state and on the labels only.

    Parameters
    ----------
    images : array, shape (N, ...)
    labels : array, shape (N,)
    n : int
        From 1 to N.
    rng : numpy.random.Generator

    Returns
    -------
    images, labels : arrays, shapes (n, ...) and (n,)
        Copies.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    count = _check(images, labels, rng)
    n = _whole("n", n, 1, count, f"the number of images ({count})")
    order = rng.permutation(count)
    shuffled = labels[order]
    rank = np.empty(count, dtype=np.intp)  # in `order`: how many of its class come before
    for label in np.unique(shuffled):
        of_class = np.flatnonzero(shuffled == label)
        rank[of_class] = np.arange(len(of_class))
    # First one of each class, then a second one of each, and so on.
    chosen = order[np.argsort(rank, kind="stable")[:n]]
    chosen = rng.permutation(chosen)
    return images[chosen], labels[chosen]


def minibatches(
    images: NDArray[ImageT],
    labels: NDArray[LabelT],
    batch_size: int,
    *,
    rng: np.random.Generator,
    steps: int | None = None,
) -> Iterator[tuple[NDArray[ImageT], NDArray[LabelT]]]:
    """Iterate over shuffled mini-batches of equal size.

    An epoch shuffles all images anew and cuts them into batches. The images left over
    at its end, fewer than a batch, are dropped: batch statistics over fewer images
    would be noisier than those of the other steps.

    Parameters
    ----------
    images : array, shape (N, ...)
    labels : array, shape (N,)
    batch_size : int
        From 1 to N.
    rng : numpy.random.Generator
        Drawn from once at the start of each epoch.
    steps : int, optional
        How many batches, over as many epochs as that takes. Without it: one epoch.

    Yields
    ------
    images, labels : arrays, shapes (batch_size, ...) and (batch_size,)
        Copies.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above; at the call, not at the first batch.
    """
    count = _check(images, labels, rng)
    batch_size = _whole("batch_size", batch_size, 1, count, f"the number of images ({count})")
    steps = count // batch_size if steps is None else _whole("steps", steps, 1, None, "")
    return _batches(images, labels, batch_size, rng, steps)


def _batches(
    images: NDArray[ImageT],
    labels: NDArray[LabelT],
    batch_size: int,
    rng: np.random.Generator,
    steps: int,
) -> Iterator[tuple[NDArray[ImageT], NDArray[LabelT]]]:
    per_epoch = len(images) // batch_size
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = rng.permutation(len(images))
        chosen = order[position * batch_size : (position + 1) * batch_size]
        yield images[chosen], labels[chosen]


def _check(images: NDArray[Any], labels: NDArray[Any], rng: np.random.Generator) -> int:
    """Check what both functions take, and return the number of images."""
    for name, value in (("images", images), ("labels", labels)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array, got {type(value).__name__}")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    if images.ndim < 1 or len(images) != len(labels):
        raise ValueError(
            f"images and labels must be as many, got shapes {images.shape} and {labels.shape}"
        )
    if len(images) == 0:
        raise ValueError("images is empty; expected at least one image")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng must be a numpy.random.Generator (numpy.random.default_rng(seed)), "
            f"got {type(rng).__name__}"
        )
    return len(images)


def _whole(name: str, value: int, least: int, most: int | None, most_is: str) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if whole < least or (most is not None and whole > most):
        upper = f" to {most_is}" if most is not None else " or more"
        raise ValueError(f"{name} must be {least}{upper}, got {whole}")
    return whole
