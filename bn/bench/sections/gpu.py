"""The same on a graphics card: the Triton kernels at the shapes of ResNet-50.

A call is a loop of several, and its time ends when the card is done: the processor runs ahead of
the card, as it does in training. Bandwidth counts 3 passes over x forward (two reads, one write)
and 8 forward and backward (in the backward pass x and dy twice, dx once).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack

from bn.bench.cases import draw, name_of
from bn.bench.fusions import FORMS, make
from bn.bench.plan import Item, Result, Row, Section, Settings, columns
from bn.bench.rounds import Figure
from bn.bench.timing import Limits, Timer, brief, measure

#: ResNet-50 at 64 images of 224 by 224: the maps after its stages' convolutions.
SHAPES = (
    (64, 64, 112, 112),
    (64, 256, 56, 56),
    (64, 512, 28, 28),
    (64, 1024, 14, 14),
    (64, 2048, 7, 7),
)
DTYPES = ("float32", "float16", "bfloat16")
NAMES = ("eager", "eager-last", "compile", "compile-last", "ours", "ours-last")
TITLES = {"ours": "bn.pytorch, triton", "ours-last": "bn.pytorch, triton, channels_last"}
PASSES = {"forward": 3, "both": 8}
CALLS = 10


def problem() -> str | None:
    """Return why nothing can be measured here, or None."""
    import torch

    if torch.cuda.is_available():
        return None
    return "not measured here: no CUDA device. Where there is one: python -m bn bench --only gpu"


def _several(function: Callable[[], object]) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(CALLS):
            function()

    return calls


def run(
    shape: tuple[int, ...],
    dtype: str,
    device: str,
    limits: Limits,
    names: tuple[str, ...] = NAMES,
    backend: str = "triton",
) -> Result:
    """Measure one shape in one type; on the CPU for trying this out."""
    import torch

    case, result = draw(shape), Result()
    functions: dict[str, Callable[[], object]] = {}
    for name in names:
        try:
            ready = make("bn", FORMS[name], case, device=device, dtype=dtype, backend=backend)
        except Exception as error:
            result.skipped[name] = brief(error)
            continue
        functions |= {f"{name}/{what}": _several(getattr(ready, what)) for what in PASSES}
    x = torch.ones(shape, dtype=getattr(torch, dtype), device=device)
    out = torch.ones_like(x)
    functions["copy/copy"] = _several(lambda: out.copy_(x))
    timer = Timer(functions, limits.span, torch.cuda.synchronize if device == "cuda" else None)
    result.skipped |= timer.failed
    made = measure(timer, limits)
    result.count(f"{name_of(shape)} {dtype}", made)
    nbytes = x.numel() * x.element_size()
    copy = made.figures["copy/copy"]
    for key, figure in made.figures.items():
        name, _, operation = key.partition("/")
        row: Row = {
            "shape": name_of(shape),
            "dtype": dtype,
            "contender": name,
            "operation": operation,
        }
        row["title"] = "copy" if name == "copy" else TITLES.get(name, FORMS[name].title)
        row |= _per_call(figure)
        row["megabytes"] = nbytes / 1e6
        row["gb_per_s"] = PASSES.get(operation, 2) * nbytes * CALLS / (figure.ms / 1e3) / 1e9
        # time of a copy of as many bytes, in units of the time
        row["of_copy"] = PASSES.get(operation, 2) / 2 * copy.ms / figure.ms
        result.rows.append(row)
    return result


def _per_call(figure: Figure) -> Row:
    made = columns(figure)
    return made | {name: made[name] / CALLS for name in ("ms", "low", "high")} | {"faults": None}


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    shapes = ((2, 8, 8, 8),) if settings.quick else SHAPES
    dtypes = DTYPES[:1] if settings.quick else DTYPES
    return [
        Item(f"{name_of(shape)} {dtype}", functools.partial(run, shape, dtype, "cuda"))
        for shape in shapes
        for dtype in dtypes
    ]


SECTION = Section("gpu", "On a graphics card, at ResNet-50's shapes", _items, problem)
