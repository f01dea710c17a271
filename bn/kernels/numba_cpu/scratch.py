"""What a call of batch norm works with besides its arrays, and the kernels that it runs.

Kept for the next call of the same plan: to make it anew would take longer than a small batch
norm does.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bn.kernels.numba_cpu.jobs import POSITION, TABLE_ROWS, new_job, one_after_the_other
from bn.kernels.numba_cpu.layout import block_of_channels, tiles
from bn.kernels.numba_cpu.memory import LINE, address_of
from bn.kernels.numba_cpu.output import CONSTANTS
from bn.kernels.numba_cpu.plan import Plan, Step
from bn.kernels.numba_cpu.threads import run, run_on_threads, runtime, thread_count

Array = NDArray[Any]

# Rows of the table, see jobs.Channels; and the fields of a job that are set in each call.
GAMMA, BETA, STATISTICS, GRADIENTS = 0, 1, slice(2, 6), slice(6, 8)
COUNTER, ITEMS, STEPS, NUMBER_OF_STEPS = (
    POSITION[name] for name in ("counter", "items", "steps", "number_of_steps")
)
X, Z, DY, Y, DZ, GATES = (POSITION[name] for name in ("x", "z", "dy", "y", "dz", "gates"))
ATTEMPT, UNSETTLED, SUSPECT, PAST, BLOCK, TOGETHER, RUNTIME = (
    POSITION[name]
    for name in ("attempt", "unsettled", "suspect", "past_caches", "block", "together", "runtime")
)


class Pass(NamedTuple):
    """The steps of a pass, each with its number of threads, as an array; and its address."""

    steps: Array
    address: int
    on_one_thread: bool


class Scratch:
    """What a call works with besides its arrays, and the call itself.

    Attributes
    ----------
    table : float64 array, (11, C)
        A row for each name of ``jobs.Channels``: gamma, beta, pivot, offset, var, inv_std,
        dgamma, dbeta, unsettled: 1 where sums have to be taken again, dy_pivot and dy_offset.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, layout = plan, plan.layout
        self.table = np.zeros((TABLE_ROWS, layout.channels))
        self.lanes = np.empty((CONSTANTS, layout.lanes), plan.types[1])
        self.sums = None
        parts = block = self.items = 0
        if not layout.planes:
            parts, block, self.items = tiles(layout)
            self.sums = np.empty((2, parts, layout.lanes))
        self._passes: dict[tuple[Any, ...], Pass] = {}
        self.job = new_job(
            table=address_of(self.table),
            lane_table=address_of(self.lanes),
            sums=0 if self.sums is None else address_of(self.sums),
            parts=parts,
            block=block,
            examples=layout.examples,
            channels=layout.channels,
            length=layout.length,
            lanes=layout.lanes,
            each=layout.each,
        )
        self.eps = self.job.view(np.float64)[-1:]
        self.address = address_of(self.job)
        self.on = 0, 0
        self.held: Any = None

    def begin(self, held: Any, x: int, gamma: Any, beta: Any, threads: int | None) -> None:
        """Take what every call has: the address of x, and in `held` all arrays of the call."""
        self.held = self, held  # both must outlive the threads
        wanted = thread_count(threads), runtime()
        if wanted != self.on:
            self._cut(*wanted)
        self.table[GAMMA] = 1.0 if gamma is None else gamma
        self.table[BETA] = 0.0 if beta is None else beta
        self.table[GRADIENTS] = 0.0
        self.job[X], self.job[PAST] = x, self.plan.past_caches

    def _cut(self, threads: int, runtime: int) -> None:
        """Cut planes into items for that many threads. Sums do not depend on it."""
        self.on, layout = (threads, runtime), self.plan.layout
        self._passes.clear()
        self.job[RUNTIME] = runtime
        if layout.planes:
            block = block_of_channels(layout, self.plan.itemsize, threads)
            self.job[BLOCK], self.items = block, -(-layout.channels // block)

    def forward(self, z: int, y: int, gates: int, relu: bool) -> None:
        """Fill in the table's statistics, and write y and the gates.

        The addresses of z and of the gates are 0 where there are none.
        """
        options = relu, z != 0, gates != 0
        self.job[Z], self.job[Y], self.job[GATES], self.job[ATTEMPT] = z, y, gates, 0
        self.job[TOGETHER] = self.plan.together if gates else 1
        if gates and y % LINE:
            self.job[PAST] = 0  # lines and words do not begin together
        self.job[UNSETTLED], self.job[SUSPECT] = 0, 0
        self._run("forward", *options)
        while self.job[UNSETTLED]:  # seldom, and twice at most: see planes.settle
            self.job[ATTEMPT] += 1
            self.job[UNSETTLED] = 0
            self._run("again", *options)

    def inference(self, z: int, y: int, relu: bool) -> None:
        """Write y, with the statistics of the table."""
        self.job[Z], self.job[Y], self.job[TOGETHER] = z, y, 1
        self._run("inference", relu, z != 0)

    def backward(self, dy: int, gates: int, dx: int, dz: int, relu: bool) -> None:
        """Write dx, and dz if there are gates; fill in the table's dgamma and dbeta."""
        self.job[DY], self.job[GATES], self.job[Y], self.job[DZ] = dy, gates, dx, dz
        self.job[TOGETHER] = 1
        if gates and (dx - dz) % LINE:
            self.job[PAST] = 0  # lines of dx and dz do not begin together
        self._run("backward", relu, gates != 0)

    def _run(self, name: str, *options: bool) -> None:
        """Run the kernels of a pass, one after the other."""
        key = name, *options
        if key not in self._passes:
            self._passes[key] = self._steps(name, *options)
        passed = self._passes[key]
        if self.job[RUNTIME] or passed.on_one_thread:
            self.job[STEPS], self.job[NUMBER_OF_STEPS] = passed.address, len(passed.steps)
            run(one_after_the_other(), self.address)
            return
        for kernel, items, threads in passed.steps.tolist():
            self.job[COUNTER], self.job[ITEMS] = 0, items
            run_on_threads(kernel, self.address, threads, self.held)

    def _steps(self, name: str, *options: bool) -> Pass:
        steps: list[Step] = getattr(self.plan, name)(self.items, *options)
        threads = [max(1, min(self.on[0], items)) for _, items in steps]
        array = np.array([(*step, n) for step, n in zip(steps, threads, strict=True)], np.int64)
        return Pass(array, address_of(array), max(threads) == 1)

    def end(self) -> None:
        """Let the arrays go, and be used again."""
        self.held = None
        if not self.plan.unused:
            self.plan.unused.append(self)


def scratch_for(plan: Plan) -> Scratch:
    """Return one that nobody else is using.

    After an error a scratch is not given back: a thread might be using it still.
    """
    try:
        found: Scratch = plan.unused.pop()
    except IndexError:
        return Scratch(plan)
    return found
