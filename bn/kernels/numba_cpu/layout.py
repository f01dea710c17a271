"""How an array lies in memory, which kernels take it, and how the work is cut into items."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bn.kernels.numba_cpu import memory
from bn.kernels.numba_cpu.rows import TILE_LANES

#: Fewer values than this side by side are too few for a kernel on planes: (N, C, L) is then
#: taken as N rows of C L lanes.
SHORTEST_PLANE = 64
#: Bytes of one example that a block of channels has side by side: a page.
RUN = 1 << 12
#: Elements of a tile of rows.
TILE = 1 << 17
#: Rows shorter than this are taken several at a time.
SHORTEST_ROW = 512
#: Elements of an item of the second pass: more would leave a thread waiting at the end.
PIECE = 1 << 16


class Layout(NamedTuple):
    """The shape of an array as the kernels see it.

    Attributes
    ----------
    axis : int
        The axis of the channels.
    moved : bool
        Whether the channels lie last in memory, though they are not the last axis.
    planes : bool
        Whether it is taken as (N, C, L), or else as (M, K).
    examples, channels, length : int
        N (or M), C and L.
    lanes, each : int
        K, and how many lanes side by side are of one channel. On planes a channel is one lane.
    """

    axis: int
    moved: bool
    planes: bool
    examples: int
    channels: int
    length: int
    lanes: int
    each: int


def is_moved(x: NDArray[Any], axis: int) -> bool:
    """Tell whether the channels lie last in memory, though `axis` is not the last."""
    return not x.flags.c_contiguous and bool(np.moveaxis(x, axis, -1).flags.c_contiguous)


def layout_of(shape: tuple[int, ...], axis: int, moved: bool) -> Layout:
    """Return the layout of an array that is packed in one of the two ways."""
    channels = shape[axis]
    length = 1 if moved else math.prod(shape[axis + 1 :])
    examples = math.prod(shape) // (channels * length)
    if length >= SHORTEST_PLANE:
        return Layout(axis, moved, True, examples, channels, length, channels, 1)
    lanes = channels * length
    while examples % 2 == 0 and lanes < SHORTEST_ROW:
        examples, lanes = examples // 2, lanes * 2
    return Layout(axis, moved, False, examples, channels, length, lanes, length)


def packed(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return the array in the order of memory of `layout`, packed; a copy if it is not."""
    if layout.moved:
        array = np.moveaxis(array, layout.axis, -1)
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy("C")


def output(
    like: NDArray[Any], layout: Layout, given: NDArray[Any] | None, name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an array like `like` in the order of its axes, and the same in that of memory.

    Raises
    ------
    ValueError
        If an array was given for it that does not have the shape, type and layout of `like`.
    """
    if given is None:
        order = np.moveaxis(like, layout.axis, -1) if layout.moved else like
        new = memory.empty(order.shape, like.dtype)
        return (np.moveaxis(new, -1, layout.axis) if layout.moved else new), new
    order = np.moveaxis(given, layout.axis, -1) if layout.moved else given
    flags = order.flags
    fits = given.shape == like.shape and given.dtype == like.dtype
    if not (fits and flags.c_contiguous and flags.aligned and flags.writeable):
        raise ValueError(
            f"{name} has shape {given.shape}, dtype {given.dtype} and strides {given.strides}; "
            f"expected an array like x that can be written to: {like.shape}, {like.dtype}, "
            f"aligned, {'channels last in memory' if layout.moved else 'contiguous'}"
        )
    return given, order


def block_of_channels(layout: Layout, itemsize: int, threads: int) -> int:
    """Return how many neighbouring channels an item of the first pass on planes has.

    As many as fill a page in each example, unless that leaves a thread without work.
    """
    page = -(-RUN // (layout.length * itemsize))
    return max(1, min(page, layout.channels // (2 * threads)))


def tiles(layout: Layout) -> tuple[int, int, int]:
    """Return the parts of the rows, the lanes of a block, and the number of tiles.

    They follow from the shape alone, so that sums are the same on any number of threads.
    """
    block = min(layout.lanes, TILE_LANES)
    parts = max(1, min(layout.examples, layout.examples * block // TILE))
    return parts, block, parts * -(-layout.lanes // block)


def pieces(layout: Layout) -> int:
    """Return the number of items of the second pass: whole planes or rows."""
    if layout.planes:
        planes, size = layout.examples * layout.channels, layout.length
    else:
        planes, size = layout.examples, layout.lanes
    return max(1, min(planes, planes * size // PIECE))
