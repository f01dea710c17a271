"""Records as plain text: aligned tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bn.bench.plan import Row
from bn.bench.reaches import Reach
from bn.bench.text import groups, milliseconds, number, table

Records = Mapping[str, Mapping[str, Any]]


def bandwidth(rows: Sequence[Row]) -> str:
    """Print the memory's speed."""
    lines = [[row["title"], milliseconds(row), number(row["gb_per_s"], ".1f")] for row in rows]
    return table(["", "ms", "GB/s"], lines)


def layers(rows: Sequence[Row]) -> str:
    """Print the layer table, shape by shape."""
    parts = []
    for (shape,), group in groups(rows, "shape").items():
        lines = []
        torch = {r["operation"]: r["ms"] for r in group if r["contender"] == "torch"}
        for (title,), both in groups(group, "title").items():
            cells = [title]
            of = {row["operation"]: row for row in both}
            for operation in ("forward", "both"):
                row = (
                    of.get(operation) or of.get("copy")
                    if operation == "forward"
                    else of.get(operation)
                )
                if row is None:
                    cells += ["", "", ""]
                    continue
                peer = torch.get(operation)
                cells += [milliseconds(row), number(peer and row["ms"] / peer),
                          number(row["passes"], ".1f")]  # fmt: skip
            cells.append(number(of["both"]["faults"], ".0f") if "both" in of else "")
            lines.append(cells)
        head = [shape, "forward ms", "/ torch", "passes", "with backward ms", "/ torch", "passes",
                "page faults"]  # fmt: skip
        parts.append(table(head, lines))
    return "\n\n".join(parts)


def fused(rows: Sequence[Row]) -> str:
    """Print the fusions beside the best eager form."""
    parts = []
    for (kind, shape), group in groups(rows, "kind", "shape").items():
        lines = [
            [row["title"], milliseconds(row), number(row["ratio_to_best_eager"]),
             number(row["passes"], ".1f"), number(row["faults"], ".0f")]
            for row in group
        ]  # fmt: skip
        parts.append(table([f"{kind} {shape}", "ms", "/ best eager", "passes", "page faults"],
                           lines))  # fmt: skip
    return "\n\n".join(parts)


def training(rows: Sequence[Row]) -> str:
    """Print steps and images per second."""
    lines = [
        [f"{row['network']}, {row['setting']}: {row['title']}", milliseconds(row),
         number(row["steps_per_s"], ".1f"), number(row["images_per_s"], ".0f"),
         number(row["faults"], ".0f")]
        for row in rows
    ]  # fmt: skip
    return table(["", "ms", "steps/s", "images/s", "page faults"], lines)


def allocation(rows: Sequence[Row]) -> str:
    """Print the layer under each setting of the allocator."""
    parts = []
    for (shape,), group in groups(rows, "shape").items():
        lines = [
            [f"{row['setting_title']}: {row['title']}", milliseconds(row),
             number(row.get("ratio_to_torch")), number(row["faults"], ".0f")]
            for row in group
        ]  # fmt: skip
        parts.append(table([shape, "ms", "/ torch", "page faults"], lines))
    return "\n\n".join(parts)


def growth(rows: Sequence[Row]) -> str:
    """Print times by size, and slopes."""
    parts = []
    for (axis,), group in groups(rows, "axis").items():
        sizes = list(dict.fromkeys(row["size"] for row in group if "size" in row))
        lines = []
        for (contender,), own in groups(group, "contender").items():
            ms = {row["size"]: milliseconds(row) for row in own if "size" in row}
            slopes = [row["slope"] for row in own if "slope" in row]
            title = next((row["title"] for row in own if "title" in row), contender)
            lines.append([title, *(ms.get(size, "-") for size in sizes),
                          number(slopes[0] if slopes else None)])  # fmt: skip
        parts.append(table([f"ms over {axis}", *map(str, sizes), "slope"], lines))
    return "\n\n".join(parts)


def gpu(rows: Sequence[Row]) -> str:
    """Print the graphics card's times."""
    lines = [
        [f"{row['shape']} {row['dtype']} {row['operation']}: {row['title']}",
         milliseconds(row), number(row["gb_per_s"], ".0f"), number(row["of_copy"])]
        for row in rows
    ]  # fmt: skip
    return table(["", "ms", "GB/s", "of copy"], lines)


def overview(records: Records) -> str:
    """Print one line for each contender: time, errors and memory beside each other."""
    rows = {name: record["rows"] for name, record in records.items()}
    known = {
        row["contender"]: row["title"]
        for name in ("layers", "accuracy", "memory")
        for row in rows.get(name, [])
        if row.get("kind", "layer") == "layer" and row["contender"] != "copy"
    }
    lines = []
    for contender, title in known.items():
        cells = [title]
        for operation in ("forward", "both"):
            chosen = [
                row for row in rows.get("layers", [])
                if row["contender"] == contender and row["operation"] == operation
                and row["shape"].count("x") == 3
                and (contender == "torch" or "torch" in row["ratio_to"])
            ]  # fmt: skip
            ratios = [row["ratio_to"].get("torch", 1.0) for row in chosen]
            star = "" if all(row["quiet"] for row in chosen) else "*"
            cells.append(number(statistics.geometric_mean(ratios) if ratios else None) + star)
        errors = {r["mean"]: r for r in rows.get("accuracy", []) if r["contender"] == contender}
        for what in ("error_y", "error_dx"):
            cells += [number(errors[m][what] if m in errors else None, ".0e") for m in (0.0, 1e4)]
        memory = [
            row for row in rows.get("memory", [])
            if row["contender"] == contender and row["kind"] == "layer"
        ]  # fmt: skip
        cells += [number(memory[0][what] if memory else None) for what in ("saved", "peak")]
        lines.append(cells)
    head = ["4-D shapes, mean of / torch", "forward", "both", "y, mean 0", "y, 1e4", "dx, mean 0",
            "dx, 1e4", "saved / x", "peak / x"]  # fmt: skip
    return table(head, lines) if lines else ""


def memory(rows: Sequence[Row]) -> str:
    """Print the fusions' memory; the layer's is in the overview."""
    lines = [
        [f"{row['kind']}: {row['title']}", number(row["saved"]), number(row["peak"])]
        for row in rows
    ]
    return table(["", "saved / x", "peak / x"], lines)


def reached(reaches: Sequence[Reach]) -> str:
    """Print what was to be reached, and whether it was."""
    words = {True: "met", False: "not met", None: "not decided"}
    lines = []
    for each in reaches:
        limit = ("at most " if each.at_most else "at least ") + f"{each.limit:g}"
        said = words[each.met] if each.values else "not measured here"
        lines.append([each.what, limit, number(each.worst), said])
    return table(["", "aim", "worst", ""], lines)


TABLES = {
    "bandwidth": bandwidth,
    "layers": layers,
    "fused": fused,
    "training": training,
    "allocation": allocation,
    "growth": growth,
    "memory": memory,
    "gpu": gpu,
}
