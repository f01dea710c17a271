"""The experiment of section 4.1 on small made-up data: what it does, not how well it learns."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

from bn.experiments import mnist, record
from bn.experiments.mnist import Config, evaluation_steps, first_step, median_drift
from bn.experiments.networks import mnist_network, use_population_statistics
from bn.experiments.numpy_training import NumpyLearner
from bn.experiments.record import RecordError, add, load
from bn.experiments.study import run_study
from bn.experiments.training import train
from bn.experiments.trial import run
from bn.layers import Linear, Sequential, Sigmoid, softmax_cross_entropy
from bn.reference import BatchNorm

SHORT = Config(batch_norm=True, steps=60, batch_size=30, hidden=20, lr=0.5)


# paper: fig-1a, fig-1bc
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_run_records_what_it_did(data, batch_norm):
    config = replace(SHORT, batch_norm=batch_norm)
    result = run(config, 3, data)
    assert result.seed == 3
    assert result.config == asdict(config)
    assert result.curve["step"] == [0, 20, 40, 60]
    assert {len(v) for v in result.curve.values()} == {4}
    assert result.final["test_accuracy"] == result.curve["test_accuracy"][-1]
    assert result.final["steps_done"] == 60
    assert ("test_accuracy_algorithm2" in result.final) == batch_norm
    assert ("test_accuracy_training_mode_2" in result.final) == batch_norm
    for low, middle, high in zip(*(result.curve[p] for p in ("p15", "p50", "p85")), strict=True):
        assert low <= middle <= high


def test_batch_norm_learns_the_made_up_classes(data):
    assert run(SHORT, 0, data).final["test_accuracy"] > 0.9


def test_the_same_seed_gives_the_same_run(data):
    one, two, other = run(SHORT, 0, data), run(SHORT, 0, data), run(SHORT, 1, data)
    assert one.curve["test_accuracy"] == two.curve["test_accuracy"]
    assert one.curve["p50"] == two.curve["p50"]
    assert one.curve["p50"] != other.curve["p50"]


# paper: s41-network, eq-layer
def test_the_network_is_the_papers(rng):
    plain = mnist_network(batch_norm=False, std=0.1, rng=np.random.default_rng(0))
    bn = mnist_network(batch_norm=True, std=0.1, rng=np.random.default_rng(0))
    shapes = [layer.weight.shape for layer in plain.layers if isinstance(layer, Linear)]
    assert shapes == [(784, 100), (100, 100), (100, 100), (100, 10)]
    kinds = [type(layer) for layer in bn.layers]
    assert kinds == [Linear, BatchNorm, Sigmoid] * 3 + [Linear]
    assert [layer.bias is None for layer in bn.layers if isinstance(layer, Linear)] == [
        True, True, True, False,
    ]  # fmt: skip
    pairs = zip(
        *([x.weight for x in net.layers if isinstance(x, Linear)] for net in (plain, bn)),
        strict=True,
    )
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


# paper: alg-2
def test_algorithm_2_averages_over_mini_batches(rng):
    network = Sequential([Linear(3, 4, std=1, rng=rng), BatchNorm(4), Sigmoid()])
    batches = [rng.standard_normal((5, 3)).astype(np.float32) for _ in range(6)]
    use_population_statistics(network, batches)
    assert not network.training
    hidden = [network.layers[0].forward(x) for x in batches]
    norm = network.layers[1]
    np.testing.assert_allclose(norm.running_mean, np.mean(hidden, axis=(0, 1)), rtol=1e-5)
    expected = np.mean([h.var(axis=0, ddof=1) for h in hidden], axis=0)
    np.testing.assert_allclose(norm.running_var, expected, rtol=1e-5)


def test_training_stops_when_the_loss_is_no_number(data):
    network = Sequential([Linear(784, 10, std=1, rng=np.random.default_rng(0))])
    network.layers[0].weight[0, 0] = np.nan
    images = np.ones((60, 784), np.uint8)
    learner = NumpyLearner(
        network, images, data.train_labels[:60], batch_size=30, lr=0.1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    history = train(learner, steps=5)
    assert history.diverged
    assert (history.steps, history.rows) == (0, [])


def test_accuracy_in_batches(data):
    network = mnist_network(batch_norm=True, std=0.1, rng=np.random.default_rng(0), hidden=20)
    x, labels = data.test_images.reshape(100, -1).astype(np.float32), data.test_labels
    network.train(False)
    whole = mnist.accuracy_of(network, x, labels)
    assert mnist.accuracy_of(network, x, labels, batch_size=10) == whole
    right = network.forward(x[:90]).argmax(axis=1) == labels[:90]
    assert mnist.accuracy_of(network, x, labels, batch_size=30) == np.mean(right)


def test_drift_is_in_units_of_the_spread():
    tracks = np.array([[[-1.0], [0.0], [1.0]], [[2.0], [3.0], [4.0]]])  # moves by 3, spread 1
    np.testing.assert_allclose(median_drift(tracks), [3.0])
    np.testing.assert_allclose(median_drift(10 * tracks), [3.0])


def test_first_step():
    assert first_step([0, 10, 20], [0.1, 0.95, 0.9], 0.9) == 10
    assert first_step([0, 10], [0.1, 0.2], 0.9) is None


def test_evaluations_end_with_the_last_step():
    steps = evaluation_steps(50_000)
    assert steps[0] == 0
    assert steps[-1] == 50_000
    assert steps == sorted(set(steps))
    assert evaluation_steps(10) == [0, 10]
    assert np.diff(steps).max() == 1000


def test_a_study_resumes_and_keeps_what_it_has(tmp_path):
    calls = []

    def task(config, seed, label):
        calls.append((config.batch_norm, seed))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake(config, seed)

    arms = {"plain": replace(SHORT, batch_norm=False), "bn": SHORT}
    with pytest.raises(KeyboardInterrupt):
        run_study("s", arms, task, seeds=2, folder=tmp_path)
    assert len(load("s", tmp_path)) == 2
    runs = run_study("s", arms, task, seeds=2, folder=tmp_path)
    assert sorted((r.arm, r.seed) for r in runs) == [
        ("bn", 0), ("bn", 1), ("plain", 0), ("plain", 1),
    ]  # fmt: skip
    assert len(calls) == 5  # the one that was interrupted again, and no other
    run_study("s", arms, task, seeds=1, folder=tmp_path)  # asks for less than there is
    assert len(load("s", tmp_path)) == 4
    assert len(calls) == 5


def test_another_configuration_is_refused(tmp_path):
    run_study("s", {"bn": SHORT}, fake_task, seeds=1, folder=tmp_path)
    with pytest.raises(RecordError, match="other settings"):
        run_study("s", {"bn": replace(SHORT, lr=9.0)}, fake_task, seeds=1, folder=tmp_path)
    assert len(load("s", tmp_path)) == 1


def test_arms_that_were_not_asked_for_stay(tmp_path):
    run_study("s", {"plain": SHORT, "bn": SHORT}, fake_task, seeds=2, folder=tmp_path)
    runs = run_study("s", {"bn": SHORT}, fake_task, seeds=3, folder=tmp_path)
    assert [r.arm for r in runs] == ["bn"] * 3
    assert len(load("s", tmp_path)) == 5


def test_runs_that_another_process_adds_meanwhile_stay(tmp_path):
    def task(config, seed, label):
        if seed == 0:  # another process works on the same study
            add("s", replace(fake(config, 7), arm="bn"), tmp_path)
        return fake(config, seed)

    run_study("s", {"bn": SHORT}, task, seeds=2, folder=tmp_path)
    assert [r.seed for r in load("s", tmp_path)] == [0, 1, 7]


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run_study("s", {"bn": SHORT}, fake_task, seeds=1, folder=tmp_path / "file")


def test_several_processes_and_a_failing_run(tmp_path):
    """What is finished is kept, and what has not begun when a run fails never begins."""
    log = tmp_path / "log"
    arms = {str(i): FakeConfig(str(log), fails=i == 2) for i in range(12)}
    with pytest.raises(ZeroDivisionError):
        run_study("s", arms, logging_task, seeds=1, jobs=2, folder=tmp_path)
    started = log.read_text(encoding="utf-8").splitlines()
    assert len(started) <= 6
    assert 1 <= len(load("s", tmp_path)) < len(started)


@dataclass(frozen=True)
class FakeConfig:
    log: str
    fails: bool


def logging_task(config, seed, label):
    with open(config.log, "a", encoding="utf-8") as file:
        file.write("started\n")
    if config.fails:
        raise ZeroDivisionError
    return fake(config, seed)


def test_a_run_that_diverges_has_no_accuracy(data):
    for batch_norm in (True, False):
        config = replace(SHORT, batch_norm=batch_norm, lr=1e38)
        with np.errstate(all="ignore"):
            result = run(config, 0, data)
        assert result.final["steps_done"] < config.steps
        assert result.final["test_accuracy"] is None


def fake(config, seed):
    from bn.experiments.record import Run, provenance

    return Run("?", seed, asdict(config), {}, {"test_accuracy": 0.5}, 0.0, provenance())


def fake_task(config, seed, label):
    return fake(config, seed)


def test_studies_are_what_the_book_says():
    assert set(mnist.arms("mnist-paper")) == {"plain", "bn"}
    assert {c.steps for c in mnist.arms("mnist-paper").values()} == {50_000}
    sweep = mnist.arms("mnist-sweep")
    rates = sum(len(rates) for rates in mnist.RATES.values())
    assert len(sweep) == rates * (len(mnist.STDS) + len(mnist.GAINS))
    assert {c.held_out for c in sweep.values()} == {mnist.HELD_OUT}
    with pytest.raises(ValueError, match="mnist-nothing"):
        mnist.arms("mnist-nothing")
    for bad in ({"steps": 0}, {"batch_size": 1}):
        with pytest.raises(ValueError, match="at least"):
            replace(SHORT, **bad)


def test_committed_records_are_of_the_studies_configurations():
    """A record made with other settings than the code's would be quoted for what it is not."""
    for study, seeds in (
        ("mnist-paper", 10), ("mnist-sweep", 3), ("mnist-best", 10), ("mnist-fastest", 10),
    ):  # fmt: skip
        arms = mnist.arms(study)
        runs = load(study, record.ROOT / "results")
        assert {r.arm for r in runs} == set(arms)
        for r in runs:
            assert record.same_config(r.config, arms[r.arm]), f"{study}: {r.arm}"
        first = mnist.protocol(study).first_seed
        for arm in arms:
            found = [r.seed for r in runs if r.arm == arm]
            assert found == list(range(first, first + seeds)), f"{study}: {arm}"


def test_images_held_out_are_not_trained_on(data):
    numbered = data.train_images.reshape(300, -1).astype(np.int16)
    numbered[:, 0] = np.arange(300)
    data = replace(data, train_images=numbered.reshape(300, 28, 28))
    (images, labels), (others, other_labels) = mnist.split(data, 100)
    assert (len(images), len(labels), len(others), len(other_labels)) == (200, 200, 100, 100)
    assert set(images[:, 0]) | set(others[:, 0]) == set(range(300))
    np.testing.assert_array_equal(other_labels, data.train_labels[others[:, 0]])
    np.testing.assert_array_equal(mnist.split(data, 100)[1][0], others)  # always the same
    with pytest.raises(ValueError, match="300 of 300"):
        mnist.split(data, 300)


def test_a_sweeps_run_tracks_the_held_out_images(data):
    result = run(replace(SHORT, held_out=100), 0, data)
    assert "test_accuracy" not in result.final
    assert result.final["held_out_accuracy"] == result.curve["held_out_accuracy"][-1]
    assert result.curve["step"] == [0, 20, 60]  # a sweep's record keeps some evaluations


def test_the_loss_of_all_images(data):
    network = mnist_network(batch_norm=True, std=0.1, rng=np.random.default_rng(0), hidden=20)
    images = data.train_images.reshape(300, -1)
    network.train(False)
    expected, _ = softmax_cross_entropy(
        network.forward(images.astype(np.float32)), data.train_labels
    )
    np.testing.assert_allclose(mnist.loss_of(network, images, data.train_labels), expected)


def test_initial_weights_by_fan_in():
    network = mnist_network(batch_norm=False, std=2.0, rng=np.random.default_rng(0), fan_in=True)
    weights = [layer.weight for layer in network.layers if isinstance(layer, Linear)]
    for weight in weights:
        np.testing.assert_allclose(weight.std() * np.sqrt(weight.shape[0]), 2.0, rtol=0.1)
