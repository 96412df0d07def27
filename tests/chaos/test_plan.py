"""The same seed is the same sequence of actions, each within its limits, and each kind comes soon."""

from __future__ import annotations

from itertools import islice
from typing import get_args

import pytest

from integration.chaos import plan
from integration.chaos.plan import Victims, actions

HOUR = 3600.0
BUSY_SECONDS = 10.0
"""More than an action and what is looked at after it take on average, on a slow machine."""


def test_the_seed_alone_decides() -> None:
    assert list(islice(actions(7), 300)) == list(islice(actions(7), 300))
    assert list(islice(actions(7), 20)) != list(islice(actions(8), 20))


def test_an_hour_has_at_least_150_actions() -> None:
    first = list(islice(actions(1), 150))
    assert sum(action.wait for action in first) + 150 * BUSY_SECONDS < HOUR
    assert [action.number for action in first] == list(range(1, 151))


def test_every_kind_comes_within_the_first_five_minutes() -> None:
    early = {type(action.fault) for action in islice(actions(1), 17)}
    assert early == set(get_args(plan.Fault))


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_asked_that_could_lose_data_or_leave_no_worker(seed: int) -> None:
    for action in islice(actions(seed), 200):
        match action.fault:
            case plan.Scale(replicas):
                assert 1 <= replicas <= 8
            case plan.Pause(victims, seconds):
                assert victims.count == 1
                assert 0 < seconds <= 20
            case plan.StopApiServer(seconds) | plan.Drain(seconds):
                assert 0 < seconds <= 15
            case _:
                pass


def test_victims_are_counted_round_in_the_order_of_their_names() -> None:
    names = ["c", "a", "b"]
    assert Victims(first=1, count=1).among(names) == ["b"]
    assert Victims(first=5, count=2).among(names) == ["c", "a"]
    assert Victims(first=1, count=9).among(names) == ["b", "c", "a"]
    assert Victims(first=2, count=None).among(names) == ["c", "a", "b"]
    assert Victims(first=2, count=None).among([]) == []
