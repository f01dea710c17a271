"""What follows from the shape, layout and type of an array: worked out once, and kept.

On a small array what Python does before the kernels takes longer than they do.
"""

import functools
import math
from typing import Any

import numpy as np

from bn.kernels.numba_cpu import plane_kernels, row_kernels
from bn.kernels.numba_cpu.gates import WORD
from bn.kernels.numba_cpu.layout import layout_of, pieces

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
INT16, UINT16 = np.dtype(np.int16), np.dtype(np.uint16)
#: What each type is stored in, by its name: half types travel as their bits.
STORED: dict[str, np.dtype[Any]] = {
    "float32": FLOAT32,
    "float64": FLOAT64,
    "float16": INT16,
    "bfloat16": UINT16,
    "uint16": UINT16,
}
#: Bytes of an output from which on it is written past the caches. Below, a cache of 32 MB or more
#: that all cores share takes some of it, and who reads it next gets it from there.
PAST_CACHES = 1 << 25
#: Channels of an item of a pass over channels: less work than this is not worth a thread.
SOME_CHANNELS = 1024

#: A kernel, and on how many items it runs.
Step = tuple[int, int]


class Plan:
    """What follows from shape, layout and type of x.

    Parameters
    ----------
    shape : tuple of int
    axis : int
        The axis of the channels, from 0.
    moved : bool
        Whether the channels lie last in memory, though they are not the last axis.
    stored : dtype
        What x is stored in; half types as the integers by which the kernels know them.
    wide : dtype
        The type that is computed in.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        axis: int,
        moved: bool,
        stored: np.dtype[Any],
        wide: np.dtype[Any],
    ) -> None:
        self.layout = layout_of(shape, axis, moved)
        self.types, self.itemsize = (stored, wide), stored.itemsize
        self.past_caches = math.prod(shape) * stored.itemsize >= PAST_CACHES
        self.pieces = pieces(self.layout)
        size = self.layout.length if self.layout.planes else self.layout.lanes
        # So many rows begin and end with a word of gates. Threads get no less than that: where
        # there are few rows and their size is odd, as in (64, 100001), some have nothing to do.
        self.together = WORD // math.gcd(size, WORD)
        self.some_channels = -(-self.layout.channels // SOME_CHANNELS)
        self.unused: list[Any] = []  # what calls have worked with, for the next ones

    def forward(self, items: int, relu: bool, with_z: bool, with_gates: bool) -> list[Step]:
        """Return the kernels of the forward pass; `items` is the first pass's."""
        options = (*self.types, relu, with_z, with_gates)
        if self.layout.planes:
            return [
                (plane_kernels.planes_statistics(*self.types), items),
                (plane_kernels.planes_normalize(*options), self.pieces),
            ]
        begin = row_kernels.rows_prepare(*self.types, True), self.some_channels
        return [begin, *self._rows(items, False, options)]

    def again(self, items: int, relu: bool, with_z: bool, with_gates: bool) -> list[Step]:
        """Return the same where the pivots of some channels were too far from their means."""
        return self._rows(items, True, (*self.types, relu, with_z, with_gates))

    def _rows(self, items: int, in_float64: bool, options: tuple[Any, ...]) -> list[Step]:
        return [
            (row_kernels.rows_sums(*self.types, in_float64), items),
            (row_kernels.rows_settle(*self.types), self.some_channels),
            (row_kernels.rows_normalize(*options), self.pieces),
        ]

    def inference(self, items: int, relu: bool, with_z: bool) -> list[Step]:
        """Return the kernels for known statistics."""
        planes = self.layout.planes
        normalize = plane_kernels.planes_normalize if planes else row_kernels.rows_normalize
        return [
            (row_kernels.rows_prepare(*self.types, False), self.some_channels),
            (normalize(*self.types, relu, with_z, False), self.pieces),
        ]

    def backward(self, items: int, relu: bool, with_gates: bool) -> list[Step]:
        """Return the kernels of the backward pass."""
        options = (*self.types, relu, with_gates)
        if self.layout.planes:
            return [
                (plane_kernels.planes_gradient_sums(*options), items),
                (plane_kernels.planes_gradient(*options), self.pieces),
            ]
        return [
            (row_kernels.rows_gradient_prepare(*options), self.some_channels),
            (row_kernels.rows_gradient_sums(*options), items),
            (row_kernels.rows_parameter_gradients(*self.types), self.some_channels),
            (row_kernels.rows_gradient(*options), self.pieces),
        ]


@functools.lru_cache(maxsize=128)
def plan_of(
    shape: tuple[int, ...], axis: int, moved: bool, stored: np.dtype[Any], wide: np.dtype[Any]
) -> Plan:
    """Return the plan; for the same arguments the same one."""
    return Plan(shape, axis, moved, stored, wide)
