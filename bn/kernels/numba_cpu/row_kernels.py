"""The kernels on rows as C functions; see ``plane_kernels``."""

from typing import Any

import numpy as np
from numba import carray

from bn.kernels.numba_cpu import rows
from bn.kernels.numba_cpu.compiling import inlined, kernel
from bn.kernels.numba_cpu.gates import ROOM, WORD, pack_the_last
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
from bn.kernels.numba_cpu.output import (
    CONSTANTS,
    set_constants,
    settle_gradients,
    write_dx,
    write_y,
)
from bn.kernels.numba_cpu.plane_kernels import Entry, piece
from bn.kernels.numba_cpu.planes import settle
from bn.kernels.numba_cpu.rows import TILE_LANES, Tile

TOTALS_BYTES = 2 * TILE_LANES * 8  # of the widest type


@inlined
def some_channels(job: Any, item: int) -> tuple[int, int]:
    """Return the first and the last channel of an item of a pass over channels."""
    return job.channels * item // job.items, job.channels * (item + 1) // job.items


@inlined
def tile_of(job: Any, item: int) -> Tile:
    """Return the tile that an item of the first pass is."""
    blocks = (job.lanes + job.block - 1) // job.block
    part, begin = item // blocks, item % blocks * job.block
    first, last = job.examples * part // job.parts, job.examples * (part + 1) // job.parts
    return Tile(part, first, last, begin, min(begin + job.block, job.lanes))


@kernel
def rows_prepare(stamp: int, dtype: Any, wide: Any, guess: bool) -> Entry:
    """Give the lanes their constants, or a first pivot before that; an item is some channels."""

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        x = view(job.x, job.examples * job.lanes, dtype)
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin, end = some_channels(job, item)
            if guess:
                rows.first_pivots(x, ch, begin, end, job.each, lanes)
            set_constants(lanes, ch, begin, end, job.each, 1)
            item = next_item(pointer, job)

    return run


@kernel
def rows_sums(stamp: int, dtype: Any, wide: Any, in_float64: bool) -> Entry:
    """Take the sums of x - pivot and of its square; an item is a tile."""

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        x = view(job.x, job.examples * job.lanes, dtype)
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        sums = carray(address(job.sums), (2, job.parts, job.lanes), np.float64)
        totals = carray(stack(TOTALS_BYTES), (2, TILE_LANES), wide)
        item = next_item(pointer, job)
        while item >= 0:
            if in_float64:
                rows.add_rows_wide(x, lanes, tile_of(job, item), sums)
            else:
                rows.add_rows(x, lanes, tile_of(job, item), sums, totals)
            item = next_item(pointer, job)

    return run


@kernel
def rows_settle(stamp: int, dtype: Any, wide: Any) -> Entry:
    """Turn the sums into statistics; an item is some channels."""
    largest = LARGEST_SQUARE[wide]

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        jobs = carray(pointer, 1, JOB)
        job = jobs[0]
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        sums = carray(address(job.sums), (2, job.parts, job.lanes), np.float64)
        m = job.examples * job.lanes // job.channels
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin, end = some_channels(job, item)
            again = job.attempt > 0
            if not again:
                rows.add_up(sums, 0, ch.offset, begin, end, job.each)
                rows.add_up(sums, 1, ch.var, begin, end, job.each)
            for c in range(begin, end):
                if again and ch.unsettled[c] == 0:
                    continue  # what other channels hold must not change this one
                if again:
                    rows.add_up(sums, 0, ch.offset, c, c + 1, job.each)
                    rows.add_up(sums, 1, ch.var, c, c + 1, job.each)
                ch.unsettled[c] = not settle(lanes, ch, c, job.eps, m, job.attempt)
                if ch.unsettled[c]:
                    jobs[0].unsettled = 1
            look_at(jobs, ch, begin, end, largest)
            set_constants(lanes, ch, begin, end, job.each, m)
            item = next_item(pointer, job)

    return run


@kernel
def rows_normalize(
    stamp: int, dtype: Any, wide: Any, with_relu: bool, with_z: bool, with_gates: bool
) -> Entry:
    """Second pass of the forward pass; an item is some rows."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        size, width = job.examples * job.lanes, job.lanes
        x, y = view(job.x, size, dtype), view(job.y, size, dtype)
        z = view(job.z, size, dtype) if with_z else None
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, width), wide)
        block = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        past, item = job.past_caches != 0, next_item(pointer, job)
        while item >= 0:
            first, last = piece(job, item, job.examples)
            for r in range(first, last):
                write_y(x, z, y, words, r * width, width, lanes, relu, block, past)
            pack_the_last(words, y, last * width)
            item = next_item(pointer, job)
        finish_writes()

    return run


@kernel
def rows_gradient_prepare(
    stamp: int, dtype: Any, wide: Any, with_relu: bool, with_gates: bool
) -> Entry:
    """Give the lanes their constants, and dy a pivot; an item is some channels."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        size = job.examples * job.lanes
        x, dy = view(job.x, size, dtype), view(job.dy, size, dtype)
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin, end = some_channels(job, item)
            for c in range(begin, end):
                ch.dy_pivot[c] = 0.0
            set_constants(lanes, ch, begin, end, job.each, 1)
            rows.first_gradient_pivots(x, words, dy, lanes, ch, relu, begin, end, job.each)
            item = next_item(pointer, job)

    return run


@kernel
def rows_gradient_sums(
    stamp: int, dtype: Any, wide: Any, with_relu: bool, with_gates: bool
) -> Entry:
    """Take the sums of dy - dy_pivot, and times (x - pivot) inv_std; an item is a tile."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        size = job.examples * job.lanes
        x, dy = view(job.x, size, dtype), view(job.dy, size, dtype)
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        sums = carray(address(job.sums), (2, job.parts, job.lanes), np.float64)
        totals = carray(stack(TOTALS_BYTES), (2, TILE_LANES), wide)
        opened = carray(stack(2 * ROOM), (2, ROOM), np.uint8)
        item = next_item(pointer, job)
        while item >= 0:
            tile = tile_of(job, item)
            rows.add_gradient_rows(x, words, opened, dy, lanes, relu, tile, sums, totals)
            item = next_item(pointer, job)

    return run


@kernel
def rows_parameter_gradients(stamp: int, dtype: Any, wide: Any) -> Entry:
    """Turn the sums into dbeta and dgamma; an item is some channels."""

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        lanes = carray(address(job.lane_table), (CONSTANTS, job.lanes), wide)
        sums = carray(address(job.sums), (2, job.parts, job.lanes), np.float64)
        m = job.examples * job.lanes // job.channels
        ch, item = channels_of(job), next_item(pointer, job)
        while item >= 0:
            begin, end = some_channels(job, item)
            rows.add_up(sums, 0, ch.dbeta, begin, end, job.each)
            rows.add_up(sums, 1, ch.dgamma, begin, end, job.each)
            settle_gradients(lanes, ch, begin, end, m)
            set_constants(lanes, ch, begin, end, job.each, m)
            item = next_item(pointer, job)

    return run


@kernel
def rows_gradient(stamp: int, dtype: Any, wide: Any, with_relu: bool, with_gates: bool) -> Entry:
    """Second pass of the backward pass; an item is some rows."""
    relu = True if with_relu else None

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)[0]
        size, width = job.examples * job.lanes, job.lanes
        x, dy, dx = view(job.x, size, dtype), view(job.dy, size, dtype), view(job.y, size, dtype)
        words = view(job.gates, -(-size // WORD), np.uint64) if with_gates else None
        dz = view(job.dz, size, dtype) if with_gates else None
        lanes = carray(address(job.lane_table), (CONSTANTS, width), wide)
        block = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        block_z = carray(stack(BLOCK_BYTES), (BLOCK,), dtype)
        opened = carray(stack(ROOM), (ROOM,), np.uint8)
        past, item = job.past_caches != 0, next_item(pointer, job)
        while item >= 0:
            first, last = piece(job, item, job.examples)
            for r in range(first, last):
                at = r * width
                write_dx(x, words, opened, dy, dx, dz, at, width, lanes, relu, block, block_z, past)
            item = next_item(pointer, job)
        finish_writes()

    return run
