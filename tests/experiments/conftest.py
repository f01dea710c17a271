"""Small data for experiments: what a run does with them is tested, not how well it learns."""

from collections.abc import Callable

import numpy as np
import pytest

from bn.data import ImageDataset

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def made_up(draw: Draw, train: int, test: int, classes: str) -> ImageDataset:
    """Return a data set of so many images, which `draw` makes with their labels."""
    train_images, train_labels = draw(train)
    test_images, test_labels = draw(test)
    return ImageDataset(
        name="made up",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=tuple(classes),
    )


@pytest.fixture
def digits(rng) -> Callable[[int, int], ImageDataset]:
    """Ten classes, each a fixed random picture with a tenth of its pixels flipped."""
    pictures = rng.integers(0, 2, (10, 28, 28))

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % 10
        images = pictures[labels] ^ (rng.random((n, 28, 28)) < 0.1)
        return images.astype(np.uint8), labels.astype(np.uint8)

    return lambda train, test: made_up(draw, train, test, "0123456789")


@pytest.fixture
def photographs(rng) -> Callable[[int], ImageDataset]:
    """Four classes, each a fixed random picture in colour, of a side, with noise on it."""

    def made(side: int) -> ImageDataset:
        pictures = rng.integers(60, 196, (4, 3, side, side))

        def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
            labels = (np.arange(n) % 4).astype(np.uint8)
            noisy = pictures[labels] + rng.integers(-20, 21, (n, 3, side, side))
            return noisy.astype(np.uint8), labels

        return made_up(draw, 160, 80, "abcd")

    return made


@pytest.fixture
def data(digits) -> ImageDataset:
    """Digits; a module has another fixture of this name if it needs other images."""
    return digits(300, 100)
