"""Receive over HTTP in a thread, so that whoever waits can keep to a clock.

Why not ``pooch.retrieve`` or requests alone: their time limits hold for one wait on the
socket. A server that sends a byte now and then never exceeds them, nor does a slow
name server. Here the caller decides how long to wait, whatever the thread is stuck in.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from bn.data.errors import NoAnswerError, SourceError

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Header:
    """The server has answered, and says how many bytes will come, or not (None)."""

    length: int | None


class End:
    """All has come."""


class Receiver(Thread):
    """Asks for one address and hands on: a header, chunks, the end or an exception."""

    def __init__(self, url: str, connect_timeout: float, read_timeout: float) -> None:
        super().__init__(daemon=True)  # a stuck look-up must not keep Python from ending
        self._url = url
        self._timeouts = (connect_timeout, read_timeout)
        self._queue: Queue[Header | bytes | End | SourceError] = Queue(maxsize=64)
        self._stopped = Event()
        self._response: Any = None

    def next(self, timeout: float) -> Header | bytes | End | None:
        """Wait for the next item; None if it does not come in time."""
        try:
            item = self._queue.get(timeout=max(timeout, 0.0))
        except Empty:
            return None
        if isinstance(item, SourceError):
            raise item
        return item

    def stop(self) -> None:
        """Tell the thread to end, and wake it if it waits for a trickling server."""
        self._stopped.set()
        # urllib3 2.3 and later can end a read from another thread. With older ones the
        # thread ends with the chunk it waits for, or with Python.
        shutdown = getattr(getattr(self._response, "raw", None), "shutdown", None)
        if shutdown is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # already at its end
                shutdown()

    def run(self) -> None:
        """Ask and receive; every exception is handed on, none is printed."""
        import requests

        try:
            with requests.get(
                self._url,
                stream=True,
                timeout=self._timeouts,
                headers={"User-Agent": "bn.data", "Accept-Encoding": "identity"},
            ) as response:
                self._response = response
                if response.status_code != 200:
                    raise SourceError(f"HTTP {response.status_code} {response.reason}")
                length = response.headers.get("Content-Length", "")
                self._put(Header(int(length) if length.isdigit() else None))
                chunks = response.iter_content(_CHUNK)
                while not self._stopped.is_set() and (chunk := next(chunks, None)) is not None:
                    self._put(chunk)
                self._put(End())
        except SourceError as error:
            self._put(error)
        except Exception as error:  # whatever it is, it must reach the caller, not stderr
            self._put(_explain(error, answered=self._response is not None))

    def _put(self, item: Header | bytes | End | SourceError) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except Full:
                continue


def _explain(error: Exception, *, answered: bool) -> SourceError:
    """Turn requests' nested exceptions into one short reason."""
    root: BaseException = error
    while (below := root.__cause__ or root.__context__) is not None:
        root = below
    reason = getattr(root, "strerror", None) or str(root) or type(root).__name__
    if answered:
        return SourceError(f"the connection broke: {reason}")
    return NoAnswerError(f"no connection: {reason}")
