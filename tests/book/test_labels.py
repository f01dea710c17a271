"""Every figure, setting and arm of every record has words."""

import pytest

from bn.experiments import record


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("test_accuracy", "test accuracy"),
        ("drift_3", "drift, layer 3"),
        ("drift_inference_2", "drift in inference mode, layer 2"),
        ("training_noise_1", "noise of a normalized value in training mode, layer 1"),
        ("noise_60", "noise of a normalized value, batches of 60"),
        ("training_loss", "loss on the training set"),
        ("mean_1_0.1_end", "error of the mean, layer 1, momentum 0.1, at the end"),
        ("accuracy_corrected_100", "test accuracy, momentum 0.01, start removed, after 100 steps"),
        ("lost_pooled_10", "accuracy lost, pooled, 10 mini-batches"),
        ("var_3_one", "variance, layer 3, all as one mini-batch"),
    ],
)
def test_figures(labels, key, words):
    assert labels.figure(key) == words


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("bn", "with BN"),
        ("plain-lr0.1-std0.03", "without BN, rate 0.1, std 0.03"),
        ("bn-lr100-gain4", "with BN, rate 100, std · √inputs 4"),
        ("plain-5x", "without BN, 5 × the rate"),
    ],
)
def test_arms(labels, key, words):
    assert labels.arm(key) == words


@pytest.mark.parametrize(
    ("kind", "key"),
    [("figure", "speed"), ("figure", "speed_3"), ("setting", "speed"), ("arm", "bn-speed3")],
)
def test_a_key_without_words_is_refused(labels, kind, key):
    with pytest.raises(labels.LabelError, match=r"has no words in book/_ext/labels\.py"):
        getattr(labels, kind)(key)


def test_every_key_of_every_record(labels, root):
    for path in sorted((root / "results").glob("*.json")):
        for run in record.load(path.stem, root / "results"):
            words = [labels.arm(run.arm), *map(labels.figure, run.final)]
            words += map(labels.setting, run.config)
            assert not [w for w in words if "_" in w]
