"""Images on the device that trains on them: normalized, flipped, shifted."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

Batch = tuple[torch.Tensor, torch.Tensor]


class Colours(NamedTuple):
    """Mean and standard deviation of each colour channel over the training set, of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> "Colours":
        """Measure them on images of shape (N, C, H, W)."""
        channels = range(images.shape[1])
        return cls(
            tuple(float(images[:, c].mean(dtype=np.float64)) for c in channels),
            tuple(float(images[:, c].std(dtype=np.float64)) for c in channels),
        )


class Images:
    """A set of labelled colour images, kept as bytes on a device.

    Every batch is made there: a whole set of 50 000 images is only 150 MB as bytes, and the
    CPU need not feed a GPU. All random choices are drawn by NumPy, so that each device sees
    the same images in the same order.

    Parameters
    ----------
    images : array of uint8, shape (N, C, H, W)
    labels : array, shape (N,)
    colours : Colours
        Subtracted and divided by, channel by channel.
    device : torch.device
    shift : int
        How far, in pixels, :meth:`shuffled` shifts an image at most, up, down and sideways;
        what comes into the picture is black. It also flips every other image, left to right.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer],
        colours: Colours,
        *,
        device: torch.device,
        shift: int = 0,
    ) -> None:
        if images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                f"expected images of shape (N, C, H, W) and N labels, got {images.shape} and "
                f"{labels.shape}"
            )
        if shift < 0:
            raise ValueError(f"shift is {shift}, expected 0 or more pixels")
        self.shift = shift
        # pad's two last axes; torch wants an array of its own, ours are read-only
        self.pixels = pad(torch.from_numpy(images.copy()), (shift,) * 4).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self.side = images.shape[2:]
        shape = (1, -1, 1, 1)
        self.mean = torch.tensor(colours.mean, device=device).reshape(shape)
        self.std = torch.tensor(colours.std, device=device).reshape(shape)

    def __len__(self) -> int:
        return len(self.labels)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all images, each once and unchanged; the last batch may be smaller."""
        height, width = self.side
        within = slice(self.shift, self.shift + height), slice(self.shift, self.shift + width)
        for start in range(0, len(self), batch_size):
            chosen = slice(start, start + batch_size)
            yield self._normalized(self.pixels[chosen, :, *within]), self.labels[chosen]

    def shuffled(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield one epoch of batches of equal size, flipped and shifted at random.

        The images left over, fewer than a batch, are dropped, as in :func:`bn.data.minibatches`.
        """
        device, count = self.labels.device, len(self)
        if not 1 <= batch_size <= count:
            raise ValueError(f"batch_size is {batch_size}, expected from 1 to {count} images")

        def drawn(values: NDArray[np.integer]) -> torch.Tensor:
            return torch.from_numpy(values).to(device)

        order = drawn(rng.permutation(count))
        top, left = (drawn(rng.integers(0, 2 * self.shift + 1, count)) for _ in range(2))
        flip = drawn(rng.integers(0, 2, count)).bool()
        rows, columns = (torch.arange(side, device=device) for side in self.side)
        for start in range(0, count - batch_size + 1, batch_size):
            chosen = slice(start, start + batch_size)
            index = order[chosen]
            row = top[chosen, None] + rows  # (batch, H)
            column = left[chosen, None] + columns  # (batch, W)
            column = torch.where(flip[chosen, None], column.flip(1), column)
            # indices apart from each other put the channels last: (batch, H, W, C)
            pixels = self.pixels[index[:, None, None], :, row[:, :, None], column[:, None, :]]
            yield self._normalized(pixels.permute(0, 3, 1, 2)), self.labels[index]

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        # channels_last is the layout in which convolutions and pooling are fastest here
        floats = pixels.to(torch.float32, memory_format=torch.channels_last)
        return (floats - self.mean) / self.std
