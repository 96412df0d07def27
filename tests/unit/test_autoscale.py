"""How many workers the built-in autoscaler wants, and when it changes its mind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s_operator.domain.autoscale import (
    REMEMBERED,
    Autoscale,
    Decision,
    Demand,
    Level,
    Memory,
    Pace,
    Workforce,
    decide,
    hold,
)
from tests.unit.builders import at, finished, pending, pod

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW = 60


def spec(*, minimum: int = 0, maximum: int = 20, up: float = 0, down: float | None = WINDOW) -> Autoscale:
    window = None if down is None else timedelta(seconds=down)
    return Autoscale(minimum=minimum, maximum=maximum, up_window=timedelta(seconds=up), down_window=window)


def workforce(ready: int = 0, starting: tuple[float, ...] = (), startup: float | None = None) -> Workforce:
    took = None if startup is None else timedelta(seconds=startup)
    return Workforce(ready=ready, starting=tuple(timedelta(seconds=age) for age in starting), startup=took)


def decided(
    target: int,
    replicas: int,
    *,
    by: Autoscale | None = None,
    memory: Memory | None = None,
    second: float = 0,
    force: Workforce | None = None,
) -> Decision:
    return decide(
        by or spec(),
        Demand(target),
        force or workforce(replicas),
        replicas=replicas,
        memory=memory or Memory(),
        now=at(second),
    )


def over_time(looks: Sequence[tuple[float, int]], *, replicas: int, by: Autoscale | None = None) -> list[int]:
    """The replicas after each look at (second, target), remembering only what a status can hold."""
    seen, memory = [], Memory()
    for second, target in looks:
        found = decided(target, replicas, by=by, memory=memory, second=second)
        replicas, memory = found.replicas, Memory.from_status(found.memory.to_status())
        seen.append(replicas)
    return seen


@pytest.mark.parametrize(
    ("target", "replicas", "wanted"),
    [
        (1, 0, 1),  # from nothing
        (7, 0, 7),
        (7, 3, 7),
        (99, 3, 20),  # no more than the maximum
        (3, 3, 3),
        (0, 0, 0),
        (0, 3, 3),  # held
    ],
)
def test_follows_a_rising_target_at_once_and_holds_a_falling_one(target: int, replicas: int, wanted: int) -> None:
    assert decided(target, replicas).replicas == wanted


@pytest.mark.parametrize(
    ("replicas", "wanted"),
    [(0, 2), (1, 2), (2, 2), (21, 20), (200, 20)],
)
def test_leaves_its_bounds_to_nobody(replicas: int, wanted: int) -> None:
    found = decided(0, replicas, by=spec(minimum=2))
    assert found.replicas == wanted
    if replicas != wanted:
        assert found.reason == "spec.workers.autoscale allows 2 to 20 workers"


def test_says_why() -> None:
    assert decided(7, 3).reason == "the scheduler asks for 7 workers"
    assert decided(7, 7).reason == "the scheduler asks for 7 workers"
    waited = Memory(enough=(Level(2, at(-60)),))
    assert decided(2, 7, memory=waited).reason == "the scheduler asks for no more than 2 workers for 60 s"


@pytest.mark.parametrize(
    ("looks", "replicas"),
    [
        # A minute of less.
        ([(0, 2), (30, 2), (59, 2), (60, 2)], [10, 10, 10, 2]),
        # To the highest of the last minute, then to the next.
        ([(0, 2), (20, 6), (40, 2), (59, 2), (60, 2), (99, 2), (100, 2)], [10, 10, 10, 10, 6, 6, 2]),
        # A moment of more starts it anew.
        ([(0, 2), (50, 10), (55, 2), (60, 2), (114, 2), (115, 2)], [10, 10, 10, 10, 10, 2]),
        # Down a staircase, a minute late, with no step missed.
        (
            [(0, 8), (10, 6), (20, 4), (30, 2), (60, 0), (70, 0), (80, 0), (90, 0), (119, 0), (120, 0)],
            [10, 10, 10, 10, 8, 6, 4, 2, 2, 0],
        ),
        # Of a longer staircase a late step may be missed, but none comes early.
        (
            [*((step, 9 - step) for step in range(8)), (60, 1), (61, 1), (62, 1), (63, 1), (64, 1), (66, 1), (67, 1)],
            [10] * 8 + [9, 8, 7, 6, 6, 6, 2],
        ),
        # Up in the middle of it: what was enough isn't any more.
        ([(0, 2), (59, 12), (60, 2), (119, 2), (120, 2)], [10, 12, 12, 12, 2]),
    ],
)
def test_holds_a_falling_target_for_the_window(looks: list[tuple[float, int]], replicas: list[int]) -> None:
    assert over_time(looks, replicas=10) == replicas


def test_a_rising_target_can_be_made_to_wait_too() -> None:
    looks = [(0, 5), (9, 9), (10, 9), (18, 9), (19, 9), (30, 15), (35, 12), (39, 20), (40, 20)]
    assert over_time(looks, replicas=2, by=spec(up=10)) == [2, 2, 5, 5, 9, 9, 9, 9, 12]


def test_what_somebody_else_writes_is_where_it_goes_on_from() -> None:
    """`kubectl scale` up lasts for the window, and down for as long as nobody asks for more."""
    settled = decided(3, 3)
    raised = decided(3, 9, memory=settled.memory)
    assert raised.replicas == 9
    assert decided(3, 9, memory=raised.memory, second=WINDOW - 1).replicas == 9
    assert decided(3, 9, memory=raised.memory, second=WINDOW).replicas == 3
    assert decided(3, 1, memory=settled.memory).replicas == 3


def test_what_has_been_enough_once_is_forgotten_when_it_is_what_there_is() -> None:
    waited = decided(2, 9, memory=Memory(enough=(Level(4, at(-WINDOW)), Level(2, at(-5))), replicas=9))
    assert waited.replicas == 4
    after = decided(2, 4, memory=waited.memory)
    assert after.replicas == 4
    assert after.memory == Memory(enough=(Level(2, at(-5)),), replicas=4)
    assert decided(4, 4, memory=waited.memory).memory == Memory()


@pytest.mark.parametrize(
    ("memory", "target", "wanted"),
    [
        (Memory(enough=(Level(4, at(-WINDOW)), Level(2, at(-5))), replicas=9), 2, 4),
        (Memory(wanted=(Level(12, at(-WINDOW)), Level(15, at(-5))), replicas=9), 15, 12),
    ],
)
def test_what_was_decided_is_not_forgotten_before_it_is_written(memory: Memory, target: int, wanted: int) -> None:
    by = spec(up=WINDOW)
    first = decided(target, 9, by=by, memory=memory)
    assert first.replicas == wanted
    again = decided(target, 9, by=by, memory=Memory.from_status(first.memory.to_status()), second=1)
    assert again.replicas == wanted, "somebody else's write came first, or the operator was killed"
    assert decided(9, 9, by=by, memory=first.memory, second=1).replicas == 9, "it isn't so any more"


def test_a_number_that_somebody_raises_lasts_for_the_window_though_less_was_decided_for_the_one_before() -> None:
    first = decided(2, 9, memory=Memory(enough=(Level(2, at(-WINDOW)),), replicas=9))
    assert first.replicas == 2
    raised = decided(2, 12, memory=first.memory, second=1)
    assert raised.replicas == 12
    assert decided(2, 12, memory=raised.memory, second=WINDOW).replicas == 12
    assert decided(2, 12, memory=raised.memory, second=WINDOW + 1).replicas == 2


def test_nothing_is_remembered_of_what_is_as_it_should_be() -> None:
    assert decided(3, 3).memory == Memory()
    assert decided(9, 3).memory == Memory()


def test_the_same_answer_changes_nothing_that_is_remembered() -> None:
    first = decided(3, 9)
    assert decided(3, 9, memory=first.memory, second=30).memory == first.memory


@pytest.mark.parametrize(
    ("starting", "startup", "seconds"),
    [
        ((), None, 3),
        ((), 2, 3),
        ((), 80, 60),
        ((), 4000, 150),
        # It is known already that the image is slow.
        ((40, 100), None, 75),
        ((100,), 40, 75),
    ],
)
def test_holds_for_a_part_of_how_long_a_worker_takes_to_start(
    starting: tuple[float, ...], startup: float | None, seconds: float
) -> None:
    pace = None if startup is None else Pace(timedelta(seconds=startup))
    assert hold(spec(down=None), workforce(3, starting), pace) == timedelta(seconds=seconds)
    assert hold(spec(down=7), workforce(3, starting), pace) == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("demand", "force", "wanted"),
    [
        # Four workers will have done it by the time that a fifth has started and worked for three quarters as long.
        (Demand(20, patient=12, lasting=4, threads=1), workforce(4), 4),
        # They will have left one worker's work of 105 s, for three to do in 45 s.
        (Demand(20, patient=12, lasting=5, threads=1), workforce(4), 7),
        (Demand(20, patient=6, lasting=5, threads=1), workforce(4), 6),
        (Demand(5, patient=12, lasting=5, threads=1), workforce(4), 5),
        # Two have been starting for half of the time that it takes: they will work for 75 s each.
        (Demand(20, patient=12, lasting=6, threads=1), workforce(4, starting=(30, 30)), 8),
        # Late by a bit, they count. By so much, nobody can say.
        (Demand(20, patient=20, lasting=6, threads=1), workforce(4, starting=(119, 119)), 6),
        (Demand(20, patient=20, lasting=6, threads=1), workforce(4, starting=(121, 121)), 11),
        # Where the RPC port can't be asked.
        (Demand(20, threads=1), workforce(4), 20),
    ],
)
def test_makes_no_worker_that_would_come_too_late(demand: Demand, force: Workforce, wanted: int) -> None:
    minute = Memory(pace=Pace(timedelta(seconds=60)))
    replicas = force.ready + len(force.starting)
    found = decide(spec(), demand, force, replicas=replicas, memory=minute, now=at(0))
    assert found.replicas == wanted
    assert found.memory == minute  # fewer would not be enough


def test_without_workers_the_scheduler_asks_for_threads() -> None:
    memory = Memory(pace=Pace(timedelta(seconds=4), threads=4))
    asked = [
        decide(spec(), Demand(17, threads=threads), workforce(), replicas=0, memory=memory, now=at(0)).replicas
        for threads in (None, 4.0)
    ]
    assert asked == [5, 17]


def test_learns_how_workers_start_and_keeps_that_when_they_are_gone() -> None:
    learnt = Memory().learn(workforce(2, startup=70), threads=2.4)
    assert learnt.pace == Pace(timedelta(seconds=70), threads=2)
    assert Memory.from_status(learnt.to_status()) == learnt
    assert learnt.learn(workforce(0), threads=None) == learnt
    assert learnt.learn(workforce(1, startup=9), threads=None).pace == Pace(timedelta(seconds=9), threads=2)
    assert Memory(enough=(Level(1, at(0)),), pace=learnt.pace).forget_levels() == learnt
    assert Memory().learn(workforce(1, startup=7200), threads=None).pace == Pace(timedelta(minutes=15))


def test_reads_the_workforce_from_the_pods() -> None:
    seen = [
        pod("a", age=100, startup=timedelta(seconds=10)),
        pod("b", age=100, startup=timedelta(seconds=30)),
        pod("c", age=100, startup=timedelta(seconds=40)),
        pod("i", age=100, startup=timedelta(seconds=50)),
        pod("j", age=9000),  # has been unready since it started
        pod("d", age=20, ready=False),
        pending("e", age=5),
        pod("f", age=3, terminating=True, startup=timedelta(seconds=2)),
        finished("g"),
        pending("h", age=-1),  # by a clock that is ahead of ours
    ]
    ages = (timedelta(seconds=20), timedelta(seconds=5), timedelta(0))
    assert Workforce.of(seen, at(0)) == Workforce(ready=5, starting=ages, startup=timedelta(seconds=30))
    assert Workforce.of([], at(0)) == Workforce(ready=0)


bounds = st.tuples(st.integers(0, 6), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
looks_of_targets = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 20)), min_size=1, max_size=40)


class Run:
    """A long series of looks, with what was asked for and what was decided at each."""

    def __init__(self, steps: list[tuple[int, int]], by: Autoscale, replicas: int) -> None:
        self.times: list[float] = []
        self.needs: list[int] = []
        self.replicas = [replicas]
        self.memories = [Memory()]
        second = 0.0
        for gap, target in steps:
            second += gap
            found = decided(target, self.replicas[-1], by=by, memory=self.memories[-1], second=second)
            self.times.append(second)
            self.needs.append(min(max(target, by.minimum), by.maximum))
            self.replicas.append(found.replicas)
            self.memories.append(Memory.from_status(found.memory.to_status()))


@given(steps=looks_of_targets, bounds=bounds, replicas=st.integers(0, 25), up=st.sampled_from([0, 30]))
def test_stays_in_its_bounds_and_remembers_little(
    steps: list[tuple[int, int]], bounds: tuple[int, int], replicas: int, up: int
) -> None:
    minimum, maximum = bounds
    run = Run(steps, spec(minimum=minimum, maximum=maximum, up=up), replicas)
    assert all(minimum <= replicas <= maximum for replicas in run.replicas[1:])
    for memory in run.memories:
        assert len(memory.enough) + len(memory.wanted) <= REMEMBERED + 1


@given(steps=looks_of_targets, replicas=st.integers(0, 20))
def test_no_step_down_below_what_was_asked_for_within_the_window(steps: list[tuple[int, int]], replicas: int) -> None:
    run = Run(steps, spec(), replicas)
    for index, (before, after) in enumerate(zip(run.replicas, run.replicas[1:], strict=False)):
        if after < before:
            recent = [n for t, n in zip(run.times, run.needs, strict=True) if run.times[index] - WINDOW < t]
            assert after >= max(recent[: len(recent) - (len(run.times) - 1 - index)])
            assert run.times[index] - run.times[0] >= WINDOW


@given(steps=looks_of_targets, replicas=st.integers(0, 20))
def test_there_are_always_as_many_as_are_asked_for(steps: list[tuple[int, int]], replicas: int) -> None:
    run = Run(steps, spec(), replicas)
    assert all(after >= need for after, need in zip(run.replicas[1:], run.needs, strict=True))


@given(steps=looks_of_targets, target=st.integers(0, 20), replicas=st.integers(0, 20))
def test_comes_down_to_a_target_that_stays(steps: list[tuple[int, int]], target: int, replicas: int) -> None:
    run = Run([*steps, *[(5, target)] * 14], spec(), replicas)
    assert run.replicas[-1] == target
