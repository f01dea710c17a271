"""The kernels on planes as C functions: each makes its arrays, and works until nothing is left.

What changes the machine code (type, ReLU, z, gates) is an argument of the functions here, and each
combination is compiled when it is first asked for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray

from bn.kernels.numba_cpu import planes, planes_backward
from bn.kernels.numba_cpu.compiling import inlined, kernel
from bn.kernels.numba_cpu.gates import ROOM, SOME, WORD
from bn.kernels.numba_cpu.jobs import (
    JOB,
    LARGEST_SQUARE,
    address,
    channels_of,
    look_at,
    next_item,
    view,
)
from bn.kernels.numba_cpu.memory import BLOCK, BLOCK_BYTES, finish_writes, stack
from bn.kernels.numba_cpu.output import CONSTANTS
from bn.kernels.numba_cpu.rows import TILE_LANES

Entry = Callable[[Any], None]

# a word is packed of a block; gates are unpacked for a chunk, or for the lanes of a tile
assert WORD == BLOCK
assert max(planes.CHUNK, TILE_LANES) <= SOME


@inlined
def piece(job: Any, item: int, size: int) -> tuple[int, int]:
    """Return the first and the last of `size` things that an item of the second pass is.

    Items that are taken one after the other, by different threads, lie half an array apart: a
    new page is handed out to the first that writes to it, while others wait. Some of them stay
    together: gates of two items do not share a word.
    """
    half = (job.items + 1) // 2
    place, together = item // 2 + item % 2 * half, job.together
    groups = (size + together - 1) // together
    last = groups * (place + 1) // job.items * together
    return groups * place // job.items * together, min(last, size)


@kernel
def planes_statistics(stamp: int, dtype: Any, wide: Any) -> Entry:
    """First pass of the forward pass; an item is a block of channels."""
    largest = LARGEST_SQUARE[wide]

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        jobs = carray(pointer, 1, JOB)
        job = jobs[0]
        shape = planes.Shape(job.examples, job.channels, job.length)
        x = view(job.x, job.examples * job.channels * job.length, dtype)
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin = item * job.block
            end = min(begin + job.block, job.channels)
            planes.statistics(x, shape, ch, lanes, job.eps, begin, end)
            look_at(jobs, ch, begin, end, largest)
            item = next_item(pointer, job)

    return run


@kernel
def planes_normalize(
    stamp: int, dtype: Any, wide: Any, with_relu: bool, with_z: bool, with_gates: bool
) -> Entry:
    """Second pass of the forward pass; an item is some planes."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        shape = planes.Shape(job.examples, job.channels, job.length)
        size = job.examples * job.channels * job.length
        x, y = view(job.x, size, dtype), view(job.y, size, dtype)
        z = view(job.z, size, dtype) if with_z else None
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        block = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        past, item = job.past_caches != 0, next_item(pointer, job)
        while item >= 0:
            first, last = piece(job, item, job.examples * job.channels)
            planes.normalize(x, z, y, words, shape, lanes, relu, first, last, block, past)
            item = next_item(pointer, job)
        finish_writes()

    return run


@kernel
def planes_gradient_sums(
    stamp: int, dtype: Any, wide: Any, with_relu: bool, with_gates: bool
) -> Entry:
    """First pass of the backward pass; an item is a block of channels."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        shape = planes.Shape(job.examples, job.channels, job.length)
        size = job.examples * job.channels * job.length
        x, dy = view(job.x, size, dtype), view(job.dy, size, dtype)
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        opened = carray(stack(2 * ROOM), (2, ROOM), np.uint8)
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin = item * job.block
            end = min(begin + job.block, job.channels)
            planes_backward.parameter_gradients(
                x, words, opened, dy, shape, ch, lanes, relu, begin, end
            )
            item = next_item(pointer, job)

    return run


@kernel
def planes_gradient(stamp: int, dtype: Any, wide: Any, with_relu: bool, with_gates: bool) -> Entry:
    """Second pass of the backward pass; an item is some planes."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        shape = planes.Shape(job.examples, job.channels, job.length)
        size = job.examples * job.channels * job.length
        x, dy, dx = view(job.x, size, dtype), view(job.dy, size, dtype), view(job.y, size, dtype)
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        dz = view(job.dz, size, dtype) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        block = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        block_z = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        opened = carray(stack(ROOM), (ROOM,), np.uint8)
        past, item = job.past_caches != 0, next_item(pointer, job)
        while item >= 0:
            first, last = piece(job, item, job.examples * job.channels)
            planes_backward.gradient(
                x, words, opened, dy, dx, dz, shape, lanes, relu, first, last, block, block_z, past
            )
            item = next_item(pointer, job)
        finish_writes()

    return run
