"""Races: who gets more seeds, and that the looks do not spend more than the level."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import StatisticsError
from orchestrator.statistics.racing import Race, Standing, best_of, next_seeds

RACE = Race((3, 5, 9))


@given(st.integers(1, 20), st.integers(0, 30))
def test_shares_of_a_plan_sum_to_one(start: int, more: int) -> None:
    race = Race.planned(start, start + more)
    assert (race.looks[0], race.maximum) == (start, start + more)
    assert sum(race.share(look) for look in race.looks) == pytest.approx(1)


@pytest.mark.parametrize("looks", [(), (0, 2), (3, 3), (4, 2)])
def test_looks_that_do_not_grow_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(StatisticsError, match="must be seed counts that grow"):
        Race(looks)


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(StatisticsError, match="race from 5 to at most 3"):
        Race.planned(5, 3)
    with pytest.raises(StatisticsError, match="planned for at most 9"):
        RACE.share(10)


def test_seeds_between_looks_are_judged_by_the_later() -> None:
    assert RACE.share(4) == RACE.share(5)


def test_beaten_variants_get_no_more_and_references_do() -> None:
    asked = {"base": 3, "a": 3, "b": 3, "c": 3}
    standing = Standing(asked, frozenset({"base", "c"}), frozenset({"base"}))
    assert next_seeds(RACE, standing) == {"base": 5, "a": 5, "b": 5}


def test_one_that_was_behind_comes_to_the_look_of_the_others() -> None:
    standing = Standing({"base": 3, "a": 5, "b": 5}, frozenset(), frozenset({"base"}))
    assert next_seeds(RACE, standing) == {"base": 9, "a": 9, "b": 9}


@pytest.mark.parametrize(
    "standing",
    [
        Standing({"base": 3, "a": 3}, frozenset({"base"}), frozenset()),
        Standing({"base": 9, "a": 9}, frozenset(), frozenset({"base"})),
    ],
)
def test_a_race_ends(standing: Standing) -> None:
    assert next_seeds(RACE, standing) == {}


def test_best_is_among_those_with_most_seeds() -> None:
    nan = float("nan")
    assert best_of({"a": 3, "b": 5, "c": 5, "d": 9}, {"a": 9, "b": 1, "c": 2, "d": nan}) == "c"
    assert best_of({"a": 3}, {"a": nan}) is None
