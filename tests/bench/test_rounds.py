"""Which rounds count, and what is made of them."""

import pytest

from bn.bench.rounds import Load, Round, calls_per_round, quartiles, slope, slow, summarize


def made(ms: float, others: float | None = 0.0, stolen: float | None = 0.0, **more: float) -> Round:
    """A round of one second on two cores, in which a call of "a" took so long."""
    seconds = {"a": ms / 1e3} | {name: value / 1e3 for name, value in more.items()}
    return Round(Load(1.0, 2, others, stolen), seconds, {"a": 7.0})


@pytest.mark.parametrize(
    ("others", "stolen", "who"),
    [
        (0.0, 0.0, None),
        (0.10, 0.0, None),  # 5 % of two cores
        (0.12, 0.0, "others"),
        (0.0, 0.12, "stolen"),
        (0.06, 0.07, "stolen"),  # together too much; the host took more
        (0.07, 0.06, "others"),
        (None, None, None),  # cannot be seen
    ],
)
def test_who_disturbed_a_round(others, stolen, who):
    assert Load(1.0, 2, others, stolen).disturbed == who


def test_a_tick_of_the_clock_does_not_disturb_a_short_round():
    assert Load(0.1, 2, 0.02, 0.0).disturbed is None
    assert Load(0.1, 2, 0.03, 0.0).disturbed == "others"


def test_disturbed_rounds_are_dropped_and_counted():
    rounds = [made(1), made(2), made(30, others=1.0), made(3), made(40, stolen=1.0)]
    result = summarize(rounds, wanted=4)
    figure = result.figures["a"]
    assert (figure.ms, figure.low, figure.high, figure.rounds) == (2.0, 1.5, 2.5, 3)
    assert figure.faults == 7
    assert figure.quiet
    assert (result.kept, result.dropped_others, result.dropped_stolen) == (3, 1, 1)
    assert (result.wanted, result.quiet, result.seen) == (4, True, True)


def test_without_a_quiet_round_the_least_disturbed_are_shown_and_marked():
    result = summarize([made(k, others=0.2 * k) for k in (5, 1, 3, 2, 4)], wanted=4)
    assert (result.kept, result.quiet, result.dropped_others) == (0, False, 5)
    assert result.figures["a"].ms == 2.0  # of 1, 2, 3
    assert not result.figures["a"].quiet


def test_where_the_load_cannot_be_seen_all_rounds_count():
    result = summarize([made(1, None, None), made(3, None, None)], wanted=2)
    assert (result.kept, result.seen, result.figures["a"].ms) == (2, False, 2.0)


def test_a_function_that_missed_rounds_has_figures_of_the_others():
    result = summarize([made(1), made(2, slow=9), made(3)], wanted=3)
    assert (result.figures["slow"].ms, result.figures["slow"].rounds) == (9.0, 1)
    assert result.figures["slow"].faults is None
    assert list(result.figures) == ["a", "slow"]


def test_a_round_survives_a_trip_between_processes():
    one = made(1.5, 0.1, None)
    assert Round.from_dict(one.to_dict()) == one


def test_quartiles():
    assert quartiles([4.0]) == (4.0, 4.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_slope_of_a_power_law():
    sizes = [1, 2, 4, 8]
    assert slope(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="two different sizes"):
        slope([2, 2], [1.0, 1.0])


def test_fast_functions_are_called_several_times_a_round():
    calls = calls_per_round({"fast": 1e-3, "slow": 5.0, "instant": 0.0}, span=0.3)
    assert calls == {"fast": 100, "slow": 1, "instant": 100}
    assert calls_per_round({"one": 0.04}, span=0.3) == {"one": 8}


def test_what_is_far_slower_than_most_is_slow():
    assert slow({"a": 0.010, "b": 0.012, "c": 0.200}) == {"c"}
    assert slow({"a": 1e-4, "b": 1e-4, "c": 1e-2}) == set()  # slower, but it costs no time
    assert slow({}) == set()
