"""What the figures are meant to reach, and whether they do. Nothing is measured in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bn.bench.plan import Row

Rows = Mapping[str, list[Row]]

#: The largest arrays of the layer table, 17 to 34 MB each.
LARGEST = ("128x64x32x32", "32x64x56x56", "256x16x32x32")


@dataclass(frozen=True)
class Reach:
    """One aim.

    Attributes
    ----------
    name, what : str
    limit : float
    at_most : bool
        Whether values above the limit miss it, or those below.
    values : dict of str to float
        By shape or setting. All have to reach it.
    quiet : bool
        False if a figure rests on rounds that others disturbed: then nothing is decided.
    """

    name: str
    what: str
    limit: float
    at_most: bool
    values: dict[str, float]
    quiet: bool = True

    @property
    def worst(self) -> float | None:
        """The value furthest from the aim."""
        if not self.values:
            return None
        return (max if self.at_most else min)(self.values.values())

    @property
    def met(self) -> bool | None:
        """Whether all reach it; None if that was not measured, or not in peace."""
        worst = self.worst
        if worst is None or not self.quiet:
            return None
        return worst <= self.limit if self.at_most else worst >= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return it with what follows from it."""
        return asdict(self) | {"worst": self.worst, "met": self.met}


def _select(rows: list[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _layer(
    rows: Rows, name: str, what: str, limit: float, contender: str, operation: str,
    chosen: Callable[[str], bool],
) -> Reach:  # fmt: skip
    table = rows.get("layers", [])
    values, quiet = {}, True
    for row in _select(table, contender=contender, operation=operation):
        others = _select(table, contender="torch", operation=operation, shape=row["shape"])
        if chosen(row["shape"]) and others:
            values[row["shape"]] = row["ms"] / others[0]["ms"]
            quiet &= row["quiet"]
    return Reach(name, what, limit, True, values, quiet)


def _images(shape: str) -> bool:
    return shape.count("x") == 3


def _fused_time(rows: Rows) -> Reach:
    found = _select(rows.get("fused", []), contender="ours") + _select(
        rows.get("fused", []), contender="ours-last"
    )
    values: dict[str, float] = {}
    for row in found:  # the better of our two layouts, as the peer's is the best of its forms
        key = f"{row['kind']} {row['shape']}"
        values[key] = min(values.get(key, float("inf")), row["ratio_to_best_eager"])
    what = "fused modules, forward and backward, of the best eager form's time"
    return Reach("fused-time", what, 0.6, True, values, all(row["quiet"] for row in found))


def _fused_saved(rows: Rows) -> Reach:
    table, values = rows.get("memory", []), {}
    for row in _select(table, contender="ours"):
        eager = _select(table, contender="eager-last-inplace", kind=row["kind"])
        if eager and eager[0]["saved"]:
            values[f"{row['kind']} {row['shape']}"] = row["saved"] / eager[0]["saved"]
    what = "fused modules, saved memory, of the leanest eager form's"
    return Reach("fused-saved", what, 0.505, True, values)  # two vectors more than x


def _cifar(rows: Rows) -> Reach:
    values, quiet = {}, True
    table = _select(rows.get("training", []), network="cifar")
    for setting in sorted({row["setting"] for row in table}):
        here = _select(table, setting=setting)
        best = {
            whose: max((r for r in here if r["contender"].startswith(whose)), default=None,
                       key=lambda r: r["images_per_s"])
            for whose in ("torch", "ours")
        }  # fmt: skip
        ours, torch = best["ours"], best["torch"]
        if ours and torch:
            values[setting] = ours["images_per_s"] / torch["images_per_s"]
            quiet &= ours["quiet"] and torch["quiet"]
    what = "CIFAR-10 training step, images/s, of torch.nn in its best layout and precision"
    return Reach("cifar", what, 1.1, False, values, quiet)


def _gpu(rows: Rows) -> list[Reach]:
    table = rows.get("gpu", [])
    copy, peers, quiet = {}, {}, all(row["quiet"] for row in table)
    for row in _select(table, operation="forward") + _select(table, operation="both"):
        if not row["contender"].startswith("ours"):
            continue
        key = f"{row['contender']} {row['shape']} {row['dtype']} {row['operation']}"
        if row["megabytes"] > 64:
            copy[key] = row["of_copy"]
        same = _select(table, shape=row["shape"], dtype=row["dtype"], operation=row["operation"])
        others = [r["ms"] for r in same if not r["contender"].startswith("ours")]
        if others:
            peers[key] = row["ms"] / min(others)
    return [
        Reach("gpu-copy", "Triton, over 64 MB, of the card's copy bandwidth", 0.85, False, copy,
              quiet),
        Reach("gpu-peers", "Triton, of the fastest of torch.nn and torch.compile", 1.0, True,
              peers, quiet),
    ]  # fmt: skip


def judge(rows: Rows) -> list[Reach]:
    """Return every aim with what was measured; `rows` are those of each section."""
    both, forward = "forward and backward, of torch's time", "forward, of torch's time"
    return [
        _layer(rows, "layer-both", f"kernels, 4-D, {both}", 0.6, "numba", "both", _images),
        _layer(rows, "layer-forward", f"kernels, 4-D, {forward}", 0.5, "numba", "forward", _images),
        _layer(
            rows, "layer-mapped", f"kernels into mapped memory, the three largest, {both}", 0.4,
            "numba-out", "both", lambda shape: shape in LARGEST,
        ),
        _layer(
            rows, "layer-2d", f"bn.pytorch, 2-D, {both}", 1.05, "bn-auto", "both",
            lambda shape: not _images(shape),
        ),
        _layer(rows, "module-both", f"bn.pytorch, 4-D, {both}", 0.6, "bn-auto", "both", _images),
        _fused_time(rows),
        _fused_saved(rows),
        _cifar(rows),
        *_gpu(rows),
    ]  # fmt: skip
