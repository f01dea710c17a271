"""What a kernel is told: addresses and sizes, and how it makes arrays of them again.

Any pool of threads can call a C function of one pointer. So a kernel is one, arrays go in by
their address, and a kernel begins with making them arrays again.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, types
from numpy.typing import NDArray

from bn.kernels.numba_cpu.compiling import called, instruction, kernel

#: The fields of a job, and behind them eps. `counter` comes first: its address is the job's.
FIELDS = (
    *("counter", "items", "parts", "block"),
    *("x", "z", "dy", "y", "dz", "gates", "table", "sums", "lane_table"),
    *("examples", "channels", "length", "lanes", "each", "together", "attempt", "past_caches"),
    *("unsettled", "suspect", "runtime", "steps", "number_of_steps"),
)
JOB = np.dtype([*((name, np.int64) for name in FIELDS), ("eps", np.float64)])
POSITION = {name: position for position, name in enumerate(FIELDS)}


#: What is told of a step: the address of a kernel, on how many items, and on how many threads.
STEP_FIELDS = 3

#: The square of the largest number of a computing type, as far as float64 goes.
LARGEST_SQUARE = {np.dtype(np.float32): float(np.finfo(np.float32).max) ** 2,
                  np.dtype(np.float64): np.inf}  # fmt: skip

#: The rows of the table of channels.
TABLE_ROWS = 11


class Channels(NamedTuple):
    """One float64 for each channel and each name: what goes in, and what comes out."""

    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]
    pivot: NDArray[np.float64]
    offset: NDArray[np.float64]
    var: NDArray[np.float64]
    inv_std: NDArray[np.float64]
    dgamma: NDArray[np.float64]
    dbeta: NDArray[np.float64]
    unsettled: NDArray[np.float64]  # 1 where sums have to be taken again
    dy_pivot: NDArray[np.float64]  # a number of the computing type near the mean of dy
    dy_offset: NDArray[np.float64]  # that mean less the pivot


@instruction
def address(typing: Any, number: Any) -> Any:
    """Return an integer as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), generate


@instruction
def add_one(typing: Any, pointer: Any) -> Any:
    """Count up at an address, and return the number before: no two threads get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(64)
        place = builder.bitcast(arguments[0], number.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(number, 1), "monotonic")

    return types.int64(types.voidptr), generate


@called
def view(number: int, size: int, dtype: Any) -> Any:
    """Return the flat array at an address."""
    return carray(address(number), (size,), dtype)


@called
def next_item(pointer: Any, job: Any) -> int:
    """Return the number of the next item of work, or -1 if there is none left."""
    item = add_one(pointer)
    return item if item < job.items else -1


@called
def channels_of(job: Any) -> Channels:
    """Return the rows of the table."""
    t = carray(address(job.table), (TABLE_ROWS, job.channels), np.float64)
    return Channels(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10])


@called
def look_at(jobs: Any, ch: Channels, begin: int, end: int, largest: float) -> None:
    """Note in the job if a variance needs a closer look: 0, NaN, or too large.

    No deviation is larger than the root of the sum of all squares. So where that sum is less
    than the square of the largest number of the computing type, `largest`, all of them fit.
    """
    m = jobs[0].examples * jobs[0].length * jobs[0].lanes // jobs[0].channels
    for c in range(begin, end):
        if not 0.0 < ch.var[c] * m < largest:
            jobs[0].suspect = 1


@instruction
def call(typing: Any, function: Any, pointer: Any) -> Any:
    """Call a C function of one pointer at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, pointer = arguments
        kind = ir.FunctionType(ir.VoidType(), [pointer.type])
        builder.call(builder.inttoptr(function, kind.as_pointer()), [pointer])
        return context.get_dummy_value()

    return types.void(types.int64, types.voidptr), generate


@instruction
def call_on_threads(typing: Any, runtime: Any, function: Any, pointer: Any, threads: Any) -> Any:
    """Let OpenMP's ``GOMP_parallel``, at address `runtime`, call it on that many threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        runtime, function, pointer, threads = arguments
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, pointer.type, number, number])
        builder.call(
            builder.inttoptr(runtime, kind.as_pointer()),
            [
                builder.inttoptr(function, pointer.type),
                pointer,
                builder.trunc(threads, number),
                ir.Constant(number, 0),
            ],
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.voidptr, types.int64), generate


@kernel
def one_after_the_other(stamp: int) -> Any:
    """Run all kernels of a pass: one call from Python for all of them together."""

    def run(pointer: Any) -> None:
        stamp  # noqa: B018
        job = carray(pointer, 1, JOB)
        steps = carray(address(job[0].steps), (job[0].number_of_steps, STEP_FIELDS), np.int64)
        for i in range(steps.shape[0]):
            job[0].counter, job[0].items = 0, steps[i, 1]
            if steps[i, 2] > 1:
                call_on_threads(job[0].runtime, steps[i, 0], pointer, steps[i, 2])
            else:
                call(steps[i, 0], pointer)

    return run


def new_job(**values: int) -> NDArray[np.int64]:
    """Return a record of what a kernel is told, with some of it filled in by name."""
    job = np.zeros(len(FIELDS) + 1, np.int64)
    for name, value in values.items():
        job[POSITION[name]] = value
    return job
