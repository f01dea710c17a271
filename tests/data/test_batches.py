"""Subsets and mini-batches."""

import numpy as np
import pytest

from bn.data import minibatches, subset

N = 100
IMAGES = np.arange(N, dtype=np.uint8).reshape(N, 1)  # image i holds the number i
LABELS = (np.arange(N) % 10).astype(np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n", [1, 7, 10, 55, 100])
def test_subset_is_balanced_and_has_no_image_twice(n):
    images, labels = subset(IMAGES, LABELS, n, rng=rng())
    assert images.shape == (n, 1)
    assert len(np.unique(images)) == n
    np.testing.assert_array_equal(images[:, 0] % 10, labels)
    counts = np.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1


def test_subset_fills_up_where_a_class_is_too_small():
    labels = np.array([0] * 3 + [1] * 97)
    _, chosen = subset(IMAGES, labels, 20, rng=rng())
    assert np.bincount(chosen).tolist() == [3, 17]


def test_subset_is_deterministic_and_varies_with_the_seed():
    first, again = (subset(IMAGES, LABELS, 50, rng=rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (subset(IMAGES, LABELS, 50, rng=rng(6))[0] != first).any()


def test_subset_is_in_random_order():
    _, labels = subset(IMAGES, LABELS, 100, rng=rng())
    assert len(np.unique(labels[:10])) < 10  # not one class after the other, round by round


def test_subset_is_a_copy():
    images, _ = subset(IMAGES, LABELS, 10, rng=rng())
    images[:] = 0
    assert IMAGES[-1, 0] == 99


def test_one_epoch_shows_every_image_once_but_for_the_last_short_batch():
    batches = list(minibatches(IMAGES, LABELS, 30, rng=rng()))
    assert [len(images) for images, _ in batches] == [30, 30, 30]
    seen = np.concatenate([images[:, 0] for images, _ in batches])
    assert len(np.unique(seen)) == 90
    assert (seen != np.sort(seen)).any()
    for images, labels in batches:
        np.testing.assert_array_equal(images[:, 0] % 10, labels)


def test_steps_run_over_epochs_and_reshuffle():
    batches = list(minibatches(IMAGES, LABELS, 25, rng=rng(), steps=10))
    assert len(batches) == 10
    first, second = (
        np.concatenate([images[:, 0] for images, _ in batches[i : i + 4]]) for i in (0, 4)
    )
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    # the first epoch is the same with and without steps
    for (images, _), (expected, _) in zip(
        batches, minibatches(IMAGES, LABELS, 25, rng=rng()), strict=False
    ):
        np.testing.assert_array_equal(images, expected)


def test_fewer_steps_than_an_epoch():
    assert len(list(minibatches(IMAGES, LABELS, 25, rng=rng(), steps=3))) == 3


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, r"batch_size must be 1 to the number of images \(100\)"),
        ({"batch_size": 101}, ValueError, "got 101"),
        ({"batch_size": 2.5}, TypeError, r"batch_size must be a whole number, got 2\.5"),
        ({"steps": 0}, ValueError, "steps must be 1 or more, got 0"),
        ({"steps": "9"}, TypeError, "steps must be a whole number"),
        ({"rng": 0}, TypeError, r"rng must be a numpy\.random\.Generator .* got int"),
        ({"rng": np.random.RandomState(0)}, TypeError, "got RandomState"),
        ({"labels": LABELS[:-1]}, ValueError, r"shapes \(100, 1\) and \(99,\)"),
        ({"labels": LABELS[:, None]}, ValueError, r"labels must have shape \(N,\)"),
        ({"images": [1, 2]}, TypeError, "images must be a NumPy array, got list"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, ValueError, "images is empty"),
    ],
)
def test_bad_arguments_are_told_at_the_call(change, error, text):
    arguments = {"images": IMAGES, "labels": LABELS, "batch_size": 10, "rng": rng()} | change
    with pytest.raises(error, match=text):
        minibatches(**arguments)  # before the first batch is asked for


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (101, ValueError), (-1, ValueError), (1.0, TypeError)]
)
def test_bad_subset_size(n, error):
    with pytest.raises(error, match="n must be"):
        subset(IMAGES, LABELS, n, rng=rng())
