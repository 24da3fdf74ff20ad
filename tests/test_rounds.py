"""Towards a target: what the next round asks, by what the ones before yielded, against made-up worlds."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.recipe import Round
from pipelines.rounds import Aim, Done, Stop, deadline_of, following, forecast

START = datetime(2026, 11, 25, 22, 30, tzinfo=UTC)


def night(aim, seeds, asks, made, new, seconds=lambda asked: asked / 100, most=400):
    """Rounds to the end in a world where a round of so many rows makes and keeps what ``made`` and ``new`` say."""
    done, now = [], START
    for number in range(1, most):
        found = following(aim, done, seeds, asks, now)
        if isinstance(found, Stop):
            return done, found, now
        asked = found.take[1] * found.draws
        kept = sum(one.new for one in done)
        items = made(asked) if asks[found.chain] else 0
        fresh = new(items, kept) if asks[found.chain] else asked
        took = seconds(asked)
        now += timedelta(seconds=took)
        done.append(Done(found, number, items, fresh, took, took if items else 0.0))
    raise AssertionError("the rounds do not end")


def rows(count):
    return Aim(count, None, None, 20.0)


@given(
    target=st.integers(1, 20_000),
    seeds=st.integers(1, 3000),
    hops=st.integers(0, 3),
    fan_out=st.integers(1, 4),
    share=st.floats(0.2, 1.0),
    given_=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_target_that_can_be_reached_is_reached_and_hardly_passed(
    target, seeds, hops, fan_out, share, given_, seed
) -> None:
    rng = random.Random(seed)
    asks = [not given_, *[True] * (hops + given_)]

    def new(items, kept):
        return round(items * share * rng.uniform(0.9, 1.0))

    done, stop, _ = night(rows(target), seeds, asks, lambda asked: asked * fan_out, new)
    found = sum(one.new for one in done)
    assert stop.reason == "rows" and found >= target
    given_rows = sum(one.new for one in done if not one.made)
    assert found <= max(given_rows, target * 1.3) + 400 * fan_out  # a first round knows nothing of what rows yield
    asked = [
        (one.round.chain, one.round.source, one.round.draw + n, row)
        for one in done
        for n in range(one.round.draws)
        for row in range(one.round.take[0], sum(one.round.take))
    ]
    assert len(asked) == len(set(asked)), "a row is asked twice for the same sample"


def test_hops_follow_each_other_and_take_what_the_one_before_kept():
    done, _, _ = night(rows(2000), 50, [True, True, True], lambda asked: 2 * asked, lambda items, kept: items // 2)
    first = [(one.round.chain, one.round.source, one.round.take) for one in done[:3]]
    assert first == [(0, 0, (0, 50)), (1, 1, (0, 50)), (2, 2, (0, 50))]
    assert done[3].round.draw == 1


def test_what_is_given_is_taken_once_and_asked_again_for_every_sample():
    done, _, _ = night(rows(1000), 30, [False, True], lambda asked: asked, lambda items, kept: items // 2)
    assert [one.round.chain for one in done].count(0) == 1
    assert {one.round.source for one in done[1:]} == {1}
    assert len({one.round.draw for one in done[1:]}) > 3


def test_few_rows_are_asked_for_many_samples_at_once():
    done, stop, _ = night(rows(3000), 5, [True], lambda asked: asked, lambda items, kept: items)
    assert stop.reason == "rows"
    assert len(done) < 40


def test_an_exhausted_input_ends_the_run_and_says_so():
    done, stop, _ = night(
        rows(10_000), 500, [True], lambda asked: asked, lambda items, kept: max(0, min(items, 700 - kept))
    )
    assert stop.reason == "saturated" and "target.least_new=20" in stop.says
    assert sum(one.new for one in done) == 700
    assert sum(one.made for one in done) < 6000


def test_rows_that_are_all_turned_away_end_the_run_soon():
    done, stop, _ = night(rows(1000), 8, [True, True], lambda asked: asked, lambda items, kept: 0)
    assert stop.reason == "saturated"
    assert len(done) < 20


def test_an_input_without_a_usable_row_ends_the_run():
    _, stop, _ = night(rows(10), 0, [True], lambda asked: asked, lambda items, kept: items)
    assert stop.reason == "saturated"


@given(st.floats(5, 20_000), st.floats(0.001, 2.0), st.one_of(st.none(), st.integers(1, 5000)))
def test_a_deadline_is_kept_and_its_time_used(seconds, each, target):
    aim = Aim(target, START + timedelta(seconds=seconds), None, 0.0)
    done, stop, end = night(
        aim, 10**6, [True], lambda asked: asked, lambda items, kept: items, lambda asked: each * asked
    )
    first = done[0].seconds if done else 0.0
    assert end <= aim.deadline or len(done) == 1, "only a first round, of unknown speed, may pass it"
    if stop.reason == "deadline" and seconds > 100 * each * 16 and len(done) > 1:
        assert (end - START).total_seconds() >= 0.5 * seconds or first > seconds


def test_gpu_hours_bound_the_time_of_generation():
    aim = Aim(None, None, 1000.0, 0.0)
    done, stop, _ = night(aim, 10**6, [True], lambda asked: asked, lambda items, kept: items)
    assert stop.reason == "gpu_hours"
    assert 800 <= sum(one.device_seconds for one in done) <= 1000


def test_a_falling_share_of_new_rows_is_forecast_on_rounds_that_were_held_out():
    """A world with 20,000 different answers: the next is new with the probability that it was not drawn yet."""
    rng = random.Random(1)

    def new(items, kept):
        fresh = 0
        for _ in range(items):
            fresh += rng.random() > (kept + fresh) / 20_000
        return fresh

    done, _, _ = night(Aim(19_000, None, None, 20.0), 2000, [True], lambda asked: asked, new)
    errors = []
    for number in range(3, len(done)):
        expected = forecast(done[:number], [True], done[number].made)
        errors.append(abs(expected - 1000 * done[number].new / done[number].made))
    assert sum(errors) / len(errors) < 30


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("23:15", "2026-11-25T23:15:00+00:00"),
        ("07:00", "2026-11-26T07:00:00+00:00"),
        ("07:00 Europe/Berlin", "2026-11-26T07:00:00+01:00"),
        ("2026-12-01T06:00+02:00", "2026-12-01T06:00:00+02:00"),
    ],
)
def test_a_time_of_day_is_its_next_occurrence(text, when, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    assert deadline_of(text, START) == datetime.fromisoformat(when)


def test_a_run_that_has_begun_may_name_a_time_that_is_over():
    over = "2020-01-01T00:00+00:00"
    assert deadline_of(over, START, begun=True) == datetime.fromisoformat(over)


def test_a_zone_may_be_an_offset():
    assert deadline_of("07:00+01:00", START).utcoffset().total_seconds() == 3600
    for text in ("07:00 Europe", "0001-01-01T00:00", "07:00 +99:99"):
        with pytest.raises(UserError, match="target.deadline="):
            deadline_of(text, START)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("750", "put the time in quotes"),
        ("25:00", "is no time"),
        ("seven", "is no time"),
        ("07:00 Mars/Olympus", "unknown time zone Mars/Olympus"),
        ("2020-01-01T00:00+00:00", "is over"),
    ],
)
def test_what_is_no_time_to_come_is_refused_with_the_fix(text, says):
    with pytest.raises(UserError, match=says):
        deadline_of(text, START)


def test_a_round_of_the_few_rows_that_were_left_over_says_little_of_the_next():
    """120 rows brought half as many, the last 4 none: the next round is as the 120 would have it."""
    first = Done(Round(0, 0, (0, 120)), 1, made=120, new=60, seconds=1.2, device_seconds=1.2)
    last = Done(Round(0, 0, (120, 4)), 2, made=4, new=0, seconds=1.2, device_seconds=1.2)
    found = following(rows(110), [first, last], 124, [True], START)
    assert found.draw == 1 and 90 <= found.take[1] * found.draws <= 124
    assert forecast([first, last], [True], 100) == pytest.approx(500)


def test_rounds_that_failed_say_nothing_of_what_is_new():
    """Three samples whose calls all broke: the run goes on to max_failed, and is not called saturated."""
    broken = [Done(Round(0, 0, (0, 60), draw), draw + 1, 0, 0, 1.0, 1.0, failed=60) for draw in range(3)]
    assert not isinstance(following(rows(200), broken, 60, [True], START), Stop)


def test_a_saturated_run_says_what_became_of_the_others():
    lost = {"over_max_new_per_hop": 900, "duplicate": 98}
    done = [Done(Round(0, 0, (0, 1000)), 1, 1000, 2, 1.0, 1.0, lost=lost)]
    says = following(rows(200), done, 1000, [True], START).says
    assert "2 of the latest 1,000 items were new (the others: over_max_new_per_hop 900, duplicate 98)" in says


def test_the_budget_counts_devices_as_they_were():
    """An hour on 8 devices and half an hour on 4 leave nothing of 10 hours; no round is affordable."""
    aim = Aim(None, None, 10 * 3600, 0.0)
    done = [
        Done(Round(0, 0, (0, 1000), devices=8), 1, 1000, 900, 3600.0, 8 * 3600.0),
        Done(Round(0, 0, (1000, 500), devices=4), 2, 500, 450, 1800.0, 4 * 1800.0),
    ]
    assert following(aim, done, 9000, [True], START).reason == "gpu_hours"


def test_samples_that_brought_nothing_count_once_they_are_through():
    """Three samples without a new row end a run, and the third counts when all of its rows were asked."""

    def barren(draw, take):
        return Done(Round(0, 0, take, draw), 2, made=50, new=0, seconds=1.0, device_seconds=1.0)

    begun = [barren(0, (0, 50)), barren(0, (50, 50)), barren(1, (0, 100)), barren(2, (0, 10))]
    assert not isinstance(following(rows(10), begun, 100, [True], START), Stop)
    through = [*begun, barren(2, (10, 90))]
    assert following(rows(10), through, 100, [True], START).says.startswith("saturated: 3 samples")
