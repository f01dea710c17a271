"""What is kept between the two passes, and how far memory grows at most, in units of x."""

from __future__ import annotations

import ctypes
import functools
import gc
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bn.bench.cases import SMALL_SHAPES, draw, name_of
from bn.bench.contenders import fitting
from bn.bench.fusions import FORMS, KINDS, makers
from bn.bench.plan import Item, Result, Row, Section, Settings, prepare
from bn.bench.prepared import Prepared
from bn.bench.timing import Limits, brief

SHAPE = (32, 64, 56, 56)
#: What is inside a program of XLA's cannot be seen.
UNSEEN = ("jax",)


def peak_growth(function: Callable[[], object]) -> int | None:
    """Return by how many bytes the resident memory grows at most during a call.

    Linux keeps the high-water mark and can set it back; elsewhere this is None. What malloc holds
    in reserve is given back first, because reusing it would not show.
    """
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # not glibc
        return None
    gc.collect()
    trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        function()
        return max(0, _status("VmHWM") - before)
    except OSError:  # some containers forbid it
        return None


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.M)
    if not found:
        raise OSError(f"/proc/self/status has no {name}")
    return 1024 * int(found[1])


def _rows(
    kind: str,
    titles: dict[str, str],
    makes: Sequence[tuple[str, Callable[[], Prepared]]],
    shape: tuple[int, ...],
    nbytes: int,
    result: Result,
) -> None:
    for name, make in makes:
        for prepared in prepare([(name, make)], result).values():
            try:
                for _ in range(2):  # whatever is set up once must not count
                    prepared.both()
                saved = prepared.saved()
                peak = peak_growth(prepared.both)
            except Exception as error:
                result.skipped[name] = brief(error)
                continue
            row: Row = {
                "shape": name_of(shape),
                "kind": kind,
                "contender": name,
                "title": titles[name],
            }
            row["saved"] = None if name in UNSEEN else saved / nbytes
            row["peak"] = None if peak is None else peak / nbytes
            result.rows.append(row)


def _layer(shape: tuple[int, ...], quick: bool, limits: Limits) -> Result:
    case, result = draw(shape), Result()
    contenders, result.skipped = fitting(shape, quick)
    titles = {each.name: each.title for each in contenders}
    makes = [(each.name, functools.partial(each.make, case)) for each in contenders]
    _rows("layer", titles, makes, shape, case.nbytes, result)
    return result


def _fused(kind: str, shape: tuple[int, ...], quick: bool, limits: Limits) -> Result:
    case, result = draw(shape), Result()
    makes, result.skipped = makers(kind, case, quick)
    titles = {name: form.title for name, form in FORMS.items()}
    _rows(kind, titles, makes, shape, case.nbytes, result)
    return result


def _items(settings: Settings, stack: ExitStack) -> list[Item]:
    shape = SMALL_SHAPES[1] if settings.quick else SHAPE
    fused = [
        Item(title, functools.partial(_fused, kind, shape, settings.quick), 0.2)
        for kind, title in KINDS.items()
    ]
    return [Item("layer", functools.partial(_layer, shape, settings.quick), 0.3), *fused]


SECTION = Section("memory", "Memory", _items)
