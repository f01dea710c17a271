"""The built book in a real browser: which one, which pages, served from where."""

from __future__ import annotations

import functools
import gzip
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

Waiting = TypeVar("Waiting", Page, BrowserContext)

ROOT = Path(__file__).resolve().parent.parent
WIDE, NARROW = 1280, 390  # CSS pixels: a laptop, a phone
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Quiet: no start page, no updates, no traffic of the browser's own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find() -> str | None:
    """Return the Chromium to use: the one BN_CHROMIUM names, or one on PATH."""
    named = os.environ.get("BN_CHROMIUM")
    if named:
        return named
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    found = (shutil.which(name) for name in (*NAMES, mac))
    return next((path for path in found if path), None)


def launch(playwright: Playwright, executable: str) -> Browser:
    """Start the browser without a window."""
    return playwright.chromium.launch(executable_path=executable, args=FLAGS, timeout=0)


def patient(opened: Waiting) -> Waiting:
    """Let a page, or all pages of a context, take what time they need: pytest ends what hangs."""
    opened.set_default_timeout(0)
    return opened


def pages(toc: Path = ROOT / "_toc.yml") -> list[str]:
    """Return the pages of the table of contents, in order: book/preface, ..."""

    def below(entry: dict[str, Any]) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"]
        for key in ("parts", "chapters", "sections", "entries", "subtrees"):
            for inner in entry.get(key, []):
                yield from below(inner)

    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    return [contents["root"], *below(contents)]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Compressing(Quiet):
    """Send text compressed, as hosts of static sites do."""

    TEXT = (".html", ".css", ".js", ".svg", ".json")

    def do_GET(self) -> None:
        """Answer with a file, compressed if it is text."""
        path = Path(self.translate_path(self.path))
        if path.suffix not in self.TEXT or not path.is_file():
            super().do_GET()
            return
        body = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """A server that does not mind a browser closing a page half-way."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what goes wrong, except a connection that the browser dropped."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(folder: Path, kind: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder on loopback while the block runs; yield its address."""
    handler = functools.partial(kind, directory=str(folder))
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Resolves when fonts are there and MathJax has set the page.
SETTLED = """async () => {
    if (window.MathJax?.startup) await window.MathJax.startup.promise;
    await document.fonts.ready;
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
