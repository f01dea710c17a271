"""Going round: who is called, what is freed, when it ends. No time is asserted."""

import weakref

import pytest

from bn.bench import load, timing
from bn.bench.rounds import Load, Round
from bn.bench.timing import Limits, Timer, in_turns, measure

STAT = """cpu  100 20 30 4000 50 6 7 8 9 10
cpu0 50 10 15 2000 25 3 3 4 4 5
cpu1 50 10 15 2000 25 3 4 4 5 5
intr 12345
"""


def test_proc_stat():
    # busy: all but idle (4000), waiting (50), stolen (8) and guests, who are users already
    assert load.parse(STAT, ticks=100) == pytest.approx((1.63, 0.08, 2))


def test_without_proc_stat_nothing_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "STAT", tmp_path / "none")
    seen = load.since(load.now())
    assert (seen.others, seen.stolen, seen.disturbed) == (None, None, None)


def test_our_own_work_is_not_taken_for_that_of_others():
    start = load.now()
    end = start._replace(clock=start.clock + 1, own=start.own + 1, busy=(start.busy or 0) + 1)
    if start.busy is None:
        pytest.skip("no /proc/stat here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "now", lambda: end)
        assert load.since(start).others == pytest.approx(0.0)


def test_every_function_is_called_and_its_result_is_freed_before_the_next():
    class Made:
        pass

    alive = []

    def make():
        assert all(ref() is None for ref in alive), "the last result is still alive"
        made = Made()
        alive.append(weakref.ref(made))
        return made

    made = Timer({"a": make, "b": make}, span=0.0).round()
    assert list(made.seconds) == ["a", "b"]
    assert len(alive) == 2 * 2 + 2  # twice to warm up, once in the round


def test_what_fails_is_left_out_and_said():
    def broken():
        raise ValueError("no such thing\nand more")

    timer = Timer({"broken": broken, "works": int}, span=0.0)
    assert timer.failed == {"broken": "ValueError: no such thing"}
    assert list(timer.round().seconds) == ["works"]


def test_time_is_up_before_all_are_warm():
    times = iter([False, True])
    timer = Timer({"a": int, "b": int}, span=0.0, enough=lambda: next(times))
    assert timer.failed == {"b": "no time was left"}


def test_a_device_is_waited_for():
    calls = []
    Timer({"a": lambda: calls.append("call")}, 0.0, lambda: calls.append("wait")).round()
    assert calls == ["call", "wait"] * 3


def test_slow_functions_take_part_in_every_third_round_that_counts(monkeypatch):
    others = iter([9.0, 0.0, 0.0, 9.0, 0.0, 0.0])
    monkeypatch.setattr(load, "since", lambda start: Load(1.0, 2, next(others), 0.0))
    timer = Timer({"a": int, "b": int}, span=0.0)
    timer.slow = {"b"}
    rounds = ["".join(timer.round().seconds) for _ in range(6)]
    assert rounds == ["ab", "ab", "a", "a", "a", "ab"]


@pytest.fixture
def pauses(monkeypatch):
    """Do not wait; return the list of how long it would have waited."""
    made = []
    monkeypatch.setattr(timing.time, "sleep", made.append)
    return made


def rounds(*others):
    """Return what gives rounds that were disturbed so much, then quiet ones."""
    left = list(others)

    def next_round():
        return Round(Load(1.0, 2, left.pop(0) if left else 0.0, 0.0), {"a": 1.0}, {})

    return next_round


def test_it_goes_on_until_enough_rounds_count(pauses):
    made = in_turns({"x": rounds(1.0, 0.0, 1.0), "y": rounds()}, Limits(3, 60.0))
    assert (made["x"].kept, made["x"].dropped_others) == (3, 2)
    assert (made["y"].kept, made["y"].dropped_others) == (3, 0)  # and no more than that
    assert len(pauses) == 2  # after each disturbance


def test_it_ends_when_so_many_were_made_or_the_time_is_up(pauses):
    assert in_turns({"": rounds(1.0, 1.0, 1.0)}, Limits(3, 60.0, most=2))[""].dropped_others == 2
    made = in_turns({"": rounds()}, Limits(3, 0.0))[""]
    assert (made.kept, made.wanted) == (1, 3)


def test_measure_gives_figures():
    made = measure(Timer({"a": int}, span=0.0), Limits(2, 5.0, most=2))
    assert made.figures["a"].ms >= 0
