"""Every container decodes to the same content, and no container can do harm."""

import gzip
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from bn.data import containers
from bn.data.errors import SourceError
from bn.data.obtain import obtain


def sizes(fake):
    return [(name, len(data)) for name, data in fake.content.items()]


def put(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture
def cifar_tar(tmp_path, fake_cifar, tar):
    """Decode a tar of these members as CIFAR-10's archive."""

    def decode(members, **options):
        archive = put(tmp_path, "c.tar.gz", tar(members, **options))
        return containers.cifar_tar([archive], sizes(fake_cifar))

    return decode


@pytest.fixture
def members(fake_cifar):
    return [(f"cifar-10-batches-bin/{n}", d) for n, d in fake_cifar.content.items()]


def test_idx_plain_and_gzipped(tmp_path, fake_mnist):
    raw = [put(tmp_path, name, data) for name, data in fake_mnist.content.items()]
    packed = [put(tmp_path, name, data) for name, data in fake_mnist.gz.items()]
    assert containers.plain_files(raw, sizes(fake_mnist)) == fake_mnist.content
    assert containers.plain_files(packed, sizes(fake_mnist)) == fake_mnist.content


def test_npz(tmp_path, fake_mnist):
    files = [put(tmp_path, "mnist.npz", fake_mnist.npz)]
    assert containers.mnist_npz(files, sizes(fake_mnist)) == fake_mnist.content


def test_npm_idx(tmp_path, fake_mnist):
    files = [put(tmp_path, "m.tgz", fake_mnist.tgz)]
    assert containers.mnist_npm(files, sizes(fake_mnist)) == fake_mnist.content


def test_cifar_tar(cifar_tar, members, fake_cifar):
    assert cifar_tar(members) == fake_cifar.content
    assert cifar_tar(members[::-1]) == fake_cifar.content
    assert cifar_tar(members, mode="w") == fake_cifar.content  # gzip undone on the way


def test_cifar_npm(tmp_path, fake_cifar):
    files = [put(tmp_path, "c.tgz", fake_cifar.tgz)]
    assert containers.cifar_npm(files, sizes(fake_cifar)) == fake_cifar.content


@pytest.mark.parametrize("change", [-1, 1])
def test_idx_of_wrong_length(tmp_path, fake_mnist, change):
    name, data = next(iter(fake_mnist.content.items()))
    data = data[:-1] if change < 0 else data + b"x"
    path = put(tmp_path, name, gzip.compress(data))
    with pytest.raises(SourceError, match=f"of {len(data) - change} bytes"):
        containers.plain_files([path], [(name, len(data) - change)])


def test_object_array_is_refused_and_not_unpickled(tmp_path, fake_mnist):
    mark = tmp_path / "unpickled"

    class Evil:
        def __reduce__(self):
            return (open, (str(mark), "w"))

    buffer = io.BytesIO()
    np.savez(buffer, x_train=np.array([Evil()], dtype=object))
    path = put(tmp_path, "mnist.npz", buffer.getvalue())
    with pytest.raises(SourceError, match="x_train is not an array of uint8"):
        containers.mnist_npz([path], sizes(fake_mnist))
    assert not mark.exists()


def test_npz_that_claims_a_huge_array(tmp_path, fake_mnist):
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 28)}
    np.lib.format.write_array_header_1_0(header, claim)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", header.getvalue() + b"0" * 100)
    path = put(tmp_path, "mnist.npz", buffer.getvalue())
    decoded = containers.mnist_npz([path], sizes(fake_mnist))  # no memory taken for the claim
    assert all(len(data) < 200 for data in decoded.values())


def test_member_outside_the_folder_is_not_written(cifar_tar, members, fake_cifar, tmp_path):
    evil = [("../evil", b"x"), ("/tmp/bn-evil", b"x")]
    before = {path.name for path in tmp_path.parent.iterdir()}
    assert cifar_tar(evil + members) == fake_cifar.content
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "c.tar.gz"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_member_that_is_no_regular_file(cifar_tar, members, tmp_path, kind):
    link = tarfile.TarInfo(members[0][0])
    link.type = kind
    link.linkname = str(put(tmp_path, "secret", b"secret"))
    with pytest.raises(SourceError, match="not a regular file"):
        cifar_tar([(link, b""), *members[1:]])


def test_member_too_large(cifar_tar, members):
    name, data = members[0]
    with pytest.raises(SourceError, match="has 12293 bytes"):
        cifar_tar([(name, data + b"x"), *members[1:]])


def test_member_missing(cifar_tar, members):
    with pytest.raises(SourceError, match=r"lacks cifar-10-batches-bin/test_batch\.bin"):
        cifar_tar(members[:-1])


def test_archive_that_unpacks_to_too_much(cifar_tar, members):
    bomb = ("filler", bytes(40 << 20))  # 40 KB when packed
    with pytest.raises(SourceError, match="unpacks to more"):
        cifar_tar([bomb, *members])


def test_png_of_wrong_size(tmp_path, fake_cifar, tar):
    members = dict(fake_cifar.npm_members)
    few = [(name, size // 2) for name, size in sizes(fake_cifar)]
    path = put(tmp_path, "c.tgz", tar(members.items()))
    with pytest.raises(SourceError, match=r"not RGB \(1024, 2\)"):
        containers.cifar_npm([path], few)


@pytest.mark.parametrize("labels", [[1], {"a": 1}, [300] * 20, ["a"] * 20])
def test_bad_labels_are_a_failed_source(
    tmp_path, fake_cifar, tar, npm_gives, labels, limits, capsys
):
    members = fake_cifar.npm_members | {"package/train_lables.json": json.dumps(labels).encode()}
    npm_gives(tar(members.items()))
    with pytest.raises(RuntimeError, match=r"npm package c@1: (cannot be decoded|wrong)"):
        obtain(fake_cifar.spec(fake_cifar.npm()), limits=limits)
