"""How x is seen and cut into tiles: what the host decides before it launches a kernel.

A kernel that is written for every shape at once needs one view of x for all of them. Here it is

    rows x channels x positions,

in the order of the memory. A packed (N, C, H, W) is N rows of C channels of H W positions. In
channels_last the channels come last, so there it is N H W rows of C channels of one position, and
so is a packed (N, C). The channels can be on any axis.

Sizes of tiles are powers of two, as Triton wants them. They follow from the shape by the few rules
below, without trying out which is fastest (``triton.autotune``): a trial would be made again for
each shape, and could choose another order of summing from one run to the next.
"""

from dataclasses import dataclass
from typing import Any

#: As many float32 numbers as a program may keep in registers from the first pass to the second.
ON_CHIP = 16384
#: As many as are in a tile where a channel has several.
TILE = 8192
#: Each warp, 32 threads, computes this many numbers: 32 for a thread, which are 32 registers.
PER_WARP = 1024
#: What is read from one place should be this many bytes: four of a GPU's sectors of 32 bytes.
RUN = 128
SECTOR = 32
#: More programs than a GPU has multiprocessors, so that none is idle.
PROGRAMS = 256
#: Above this, an offset or a number that is compared to it does not fit in 32 bits.
LIMIT_32 = 2**31 - 2**24


@dataclass(frozen=True)
class View:
    """x as rows, channels and positions, in the order of its memory."""

    rows: int
    channels: int
    length: int


@dataclass(frozen=True)
class Tiles:
    """How a view is cut into tiles; a program has one."""

    view: View
    block_rows: int
    block_channels: int
    block_length: int
    warps: int

    @property
    def parts(self) -> int:
        """Number of tiles of a channel."""
        return blocks(self.view.rows, self.block_rows) * blocks(self.view.length, self.block_length)

    @property
    def programs(self) -> int:
        """Number of all tiles."""
        return self.parts * blocks(self.view.channels, self.block_channels)

    def arguments(self) -> dict[str, Any]:
        """Return what each kernel is told about the tiles, and the compiler about the kernel."""
        padded = (self.view.rows + self.block_rows) * self.view.channels * self.view.length
        return {
            "rows": self.view.rows,
            "channels": self.view.channels,
            "length": self.view.length,
            "block_rows": self.block_rows,
            "block_channels": self.block_channels,
            "block_length": self.block_length,
            "align": alignment(self.view.length),
            "wide": padded > LIMIT_32,
            "num_warps": self.warps,
            "enable_fp_fusion": False,  # see tile.before_relu
        }


def whole_channels(view: View, itemsize: int, registers: int) -> Tiles | None:
    """Return tiles that hold all values of their channels; None if they would be too large.

    Parameters
    ----------
    view : View
    itemsize : int
        Bytes of one number in memory.
    registers : int
        How many registers each number of a tile needs: 1 in the forward pass in float32; 2 in
        the backward pass, where x_hat and dy are kept; twice that in float64.
    """
    block_rows, block_length = power_above(view.rows), power_above(view.length)
    size = block_rows * block_length * registers
    block_channels = run_channels(view, block_length, RUN // itemsize)
    fewest = run_channels(view, block_length, SECTOR // itemsize)
    while block_channels > fewest and (
        size * block_channels > ON_CHIP or blocks(view.channels, block_channels) < PROGRAMS
    ):
        block_channels //= 2
    if size * block_channels > ON_CHIP:
        return None
    return tiles(view, block_rows, block_channels, block_length, registers)


def parts_of_channels(view: View, itemsize: int, registers: int) -> Tiles:
    """Return tiles of bounded size, however many values a channel has; arguments as above."""
    size = max(1, TILE // registers)
    block_length = length_of_block(view, size)
    block_channels = min(run_channels(view, block_length, RUN // itemsize), size // block_length)
    block_rows = min(power_above(view.rows), size // (block_length * block_channels))
    return tiles(view, block_rows, block_channels, block_length, registers)


def tiles(view: View, rows: int, channels: int, length: int, registers: int) -> Tiles:
    """Return tiles of a size, with the warps for it."""
    warps = min(16, max(1, rows * channels * length * registers // PER_WARP))
    return Tiles(view, rows, channels, length, warps)


def run_channels(view: View, block_length: int, run: int) -> int:
    """Return how many channels side by side make a run of `run` numbers, a power of two."""
    return min(power_above(view.channels), max(1, run // block_length))


def length_of_block(view: View, size: int) -> int:
    """Return how many positions a tile of a size has: few beyond the end, and enough to fill it."""
    whole = power_above(view.length)
    fewest = min(size, max(256, size // power_above(view.rows)))
    if whole <= fewest:
        return whole
    choices = [block for block in (4 * fewest, 2 * fewest, fewest) if block <= min(size, whole)]
    return min(choices, key=lambda block: blocks(view.length, block) * block)  # first of equals


def power_above(number: int) -> int:
    """Return the least power of two that is not below a number."""
    return 1 << max(0, number - 1).bit_length()


def blocks(size: int, block: int) -> int:
    """Return how many blocks cover a size."""
    return -(-size // block)


def alignment(length: int) -> int:
    """Return the largest power of two up to 16 that divides a length.

    Runs of 16 bytes can be read by one instruction, if the compiler knows that they begin where
    they may.
    """
    return min(16, length & -length)
