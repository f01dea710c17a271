"""Convolution and pooling on (N, C, H, W), by views of windows instead of loops."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from bn.layers.dense import Array, Parameterless, Weighted


# paper: eq-layer
class Conv2d(Weighted):
    """Two-dimensional convolution (as deep learning means it: the kernel is not flipped).

    Parameters
    ----------
    in_channels, out_channels : int
        C and K; the weight has shape (K, C, kernel_size, kernel_size).
    kernel_size, stride, padding : int
        Side of the square kernel, step in pixels, zeros added on each side.
    std, rng, bias, dtype
        As in :class:`bn.layers.Linear`; b has shape (K,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        std: float,
        rng: np.random.Generator,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if min(in_channels, out_channels, kernel_size, stride) < 1 or padding < 0:
            raise ValueError("sizes and stride must be at least 1, padding at least 0")
        self.training = True
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = (std * rng.standard_normal(shape)).astype(dtype)
        self.bias = np.zeros(out_channels, dtype) if bias else None
        self.dweight = np.zeros_like(self.weight)
        self.dbias = np.zeros(out_channels, dtype)
        self.stride, self.padding = stride, padding

    def forward(self, x: Array) -> Array:
        """Return y, shape (N, K, H', W') with H' = (H + 2·padding - kernel) // stride + 1."""
        if x.ndim != 4 or x.shape[1] != self.weight.shape[1]:
            raise ValueError(f"x has shape {x.shape}, expected (N, {self.weight.shape[1]}, H, W)")
        p, size = self.padding, self.weight.shape[2]
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        self.padded_shape = padded.shape
        self.windows = _windows(padded, size, self.stride)  # (N, C, H', W', size, size)
        y: Array = np.tensordot(self.windows, self.weight, ((1, 4, 5), (1, 2, 3)))  # (N, H', W', K)
        if self.bias is not None:
            y = y + self.bias
        return y.transpose(0, 3, 1, 2)  # (N, K, H', W')

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x."""
        self.dweight = np.tensordot(dy, self.windows, ((0, 2, 3), (0, 2, 3)))  # (K, C, size, size)
        self.dbias = dy.sum(axis=(0, 2, 3))
        dwindows = np.tensordot(dy, self.weight, (1, 0))  # (N, H', W', C, size, size)
        dwindows = dwindows.transpose(0, 3, 1, 2, 4, 5)
        dx = _add_windows(dwindows, self.padded_shape, self.stride)
        p, (height, width) = self.padding, self.padded_shape[2:]
        return dx[:, :, p : height - p, p : width - p]


class _Pool2d(Parameterless):
    """A square window that moves by its own size (or `stride`) and keeps one number each."""

    def __init__(self, kernel_size: int, *, stride: int | None = None) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        if min(self.kernel_size, self.stride) < 1:
            raise ValueError(f"kernel_size is {kernel_size}, stride {stride}; expected at least 1")

    def _cut(self, x: Array) -> Array:
        if x.ndim != 4:
            raise ValueError(f"x has shape {x.shape}, expected (N, C, H, W)")
        self.shape = x.shape
        return _windows(x, self.kernel_size, self.stride)  # (N, C, H', W', size, size)


class AvgPool2d(_Pool2d):
    """The mean of each window. Pixels that no window reaches are left out."""

    def forward(self, x: Array) -> Array:
        """Return y, shape (N, C, H', W')."""
        y: Array = self._cut(x).mean(axis=(4, 5))
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x: each pixel of a window has an equal share."""
        size = self.kernel_size
        share = np.broadcast_to((dy / size**2)[..., None, None], (*dy.shape, size, size))
        return _add_windows(share, self.shape, self.stride)


class MaxPool2d(_Pool2d):
    """The maximum of each window. Pixels that no window reaches are left out."""

    def forward(self, x: Array) -> Array:
        """Return y, shape (N, C, H', W')."""
        windows = self._cut(x)
        flat = windows.reshape(*windows.shape[:4], -1)  # (N, C, H', W', size²)
        winner = flat.argmax(axis=-1)[..., None]
        self.won = np.zeros(flat.shape, bool)  # one winner each: of equals, the first
        np.put_along_axis(self.won, winner, True, axis=-1)
        y: Array = np.take_along_axis(flat, winner, axis=-1)[..., 0]
        return y

    def backward(self, dy: Array) -> Array:
        """Return dx, the shape of x: all to the pixel that won."""
        size = self.kernel_size
        dwindows = np.where(self.won, dy[..., None], 0).reshape(*dy.shape, size, size)
        return _add_windows(dwindows, self.shape, self.stride)


def _windows(x: Array, size: int, stride: int) -> Array:
    """View x, (N, C, H, W), as its windows: (N, C, H', W', size, size)."""
    if min(x.shape[2:]) < size:
        raise ValueError(f"a window of {size} does not fit into a picture of {x.shape[2:]} pixels")
    return sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]


def _add_windows(windows: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Undo :func:`_windows`: add every window to its place, where they overlap to the sum."""
    out = np.zeros(shape, windows.dtype)
    _, _, rows, columns, size, _ = windows.shape
    for i in range(size):
        for j in range(size):
            target = out[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            target += windows[..., i, j]
    return out
