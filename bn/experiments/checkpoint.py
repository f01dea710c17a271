"""Checkpoints: what a training run needs to go on after an interruption."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bn.experiments import files
from bn.experiments.record import results_dir


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another run."""


def path_for(run: dict[str, Any], folder: Path | None = None) -> Path:
    """Return where the checkpoint of a run is kept.

    Parameters
    ----------
    run : dict
        All that the result depends on (settings, seed, device): other values, another file.
    folder : Path, optional
        Default: ``.checkpoints`` in the folder of the records.
    """
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
    return (folder or results_dir() / ".checkpoints") / f"{digest}.pt"


def save(path: Path, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint, in place of an earlier one of the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # on a full disk torch.save itself fails without naming the disk
    torch.save({"run": dict(run), "state": dict(state)}, content)
    files.replace(path, lambda to: to.write_bytes(content.getbuffer()))


def load(path: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state that was saved for a run, on the CPU, or None if there is none.

    Raises
    ------
    CheckpointError
        If the file is damaged, or was written by another run.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        written_by, state = kept["run"], kept["state"]
    except Exception as error:  # damaged bytes make torch.load raise errors of many kinds
        raise CheckpointError(
            f"the checkpoint {path} is damaged ({type(error).__name__}); delete it to start the "
            "run anew"
        ) from error
    if written_by != run:
        raise CheckpointError(
            f"{path} belongs to another run ({written_by}); move it away, or name another file"
        )
    saved: dict[str, Any] = state
    return saved
