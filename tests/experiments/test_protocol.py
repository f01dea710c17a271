"""What a comparison must keep: each rule is broken once, and named."""

from dataclasses import replace

import pytest

from bn.experiments import record
from bn.experiments.protocol import Protocol, breaches
from bn.experiments.record import RecordError, Run, Summary

WHERE = {
    "device": "a CPU", "system": "Linux", "python": "3.11", "numpy": "2",
    "commit": "c", "date": "d",
}  # fmt: skip
CHOSEN = Protocol(
    "a with b", settings="chosen", chosen_by="held_out_accuracy", sweep="sweep", first_seed=0
)


def make(arm, seed, *, lr=1.0, seconds=100.0, held_out=0, steps=(0, 10)):
    config = {"batch_norm": arm.startswith("b"), "lr": lr, "held_out": held_out}
    key = "held_out_accuracy" if held_out else "test_accuracy"
    return Run(arm, seed, config, {"step": [*steps]}, {key: 0.5, "loss": 1.0}, seconds, WHERE)


def sweep(lrs=(0.1, 1.0, 10.0), held_out=10, seed=100):
    return [make(f"{arm}-lr{lr:g}", seed, lr=lr, held_out=held_out) for arm in "ab" for lr in lrs]


def saved(folder, runs, protocol=CHOSEN, of_sweep=None):
    record.save("study", runs, folder, protocol.stated())
    record.save("sweep", of_sweep or sweep(), folder)
    return breaches("study", ["a", "b"], "test_accuracy", folder)


FAIR = [make(arm, seed) for arm in "ab" for seed in range(5)]


def test_a_fair_comparison_breaks_no_rule(tmp_path):
    assert saved(tmp_path, FAIR) == {}
    assert saved(tmp_path, FAIR, Protocol("a with b", settings="same")) == {}


@pytest.mark.parametrize(
    ("rule", "runs", "of_sweep", "protocol"),
    [
        ("pairs", [*FAIR, make("a", 5)], None, CHOSEN),
        ("seeds", [r for r in FAIR if r.seed < 4], None, CHOSEN),
        ("seeds", [replace(r, seconds=2.0) for r in FAIR], None, CHOSEN),
        ("steps", [replace(r, curve={"step": [0, ord(r.arm)]}) for r in FAIR], None, CHOSEN),
        ("metric", FAIR, None, replace(CHOSEN, chosen_by="loss_of_the_sweep")),
        ("held out", FAIR, sweep(held_out=0), CHOSEN),
        ("new seeds", FAIR, sweep(seed=4), CHOSEN),
        ("edge", FAIR, sweep(lrs=(0.01, 0.1, 1.0)), CHOSEN),
        ("comparable", FAIR, None, Protocol("rates of a and b")),
    ],
)
def test_each_rule_is_noticed(tmp_path, rule, runs, of_sweep, protocol):
    found = saved(tmp_path, runs, protocol, of_sweep)
    assert list(found) == [rule]


def test_an_exception_is_stated_and_passes(tmp_path):
    excepted = replace(CHOSEN, exceptions={"new seeds": "They are the same."})
    assert saved(tmp_path, FAIR, excepted, sweep(seed=4)) == {}
    assert Protocol.of("study", tmp_path) == excepted


def test_what_diverged_was_evaluated_less_often(tmp_path):
    short = replace(FAIR[0], curve={"step": [0]}, final=FAIR[0].final | {"diverged": 1.0})
    assert saved(tmp_path, [short, *FAIR[1:]]) == {}


def test_a_derived_arm_has_no_edge(tmp_path):
    five = [replace(r, config=r.config | {"lr": 5.0}) for r in FAIR]
    assert saved(tmp_path, five) == {}


def test_a_record_without_a_protocol_is_refused(tmp_path):
    record.save("study", FAIR, tmp_path)
    with pytest.raises(RecordError, match="states no protocol"):
        breaches("study", ["a", "b"], "test_accuracy", tmp_path)


@pytest.mark.parametrize(
    "bad",
    [{"settings": "chosen"}, {"chosen_by": "loss"}, {"exceptions": {"nothing": "So."}}],
)
def test_a_protocol_that_says_half_is_refused(bad):
    with pytest.raises(ValueError, match=r"chosen_by and sweep|no rules"):
        Protocol("a with b", **bad)


def test_a_record_keeps_its_protocol_and_takes_a_new_one(tmp_path):
    record.save("study", FAIR[:1], tmp_path, CHOSEN.stated())
    record.add("study", FAIR[1], tmp_path)
    assert record.load_protocol("study", tmp_path) == CHOSEN.stated()
    record.open_study("study", tmp_path, replace(CHOSEN, compares="b with a").stated())
    assert record.load_protocol("study", tmp_path)["compares"] == "b with a"
    assert len(record.load("study", tmp_path)) == 2


def test_the_interval_of_a_mean():
    """The example of Gosset's paper of 1908: ten differences of hours of sleep."""
    hours = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)
    low, high = Summary.of(hours, ()).interval
    assert (round(low, 2), round(high, 2)) == (0.70, 2.46)
    assert Summary.of((1.0,), ()).interval == (-float("inf"), float("inf"))
