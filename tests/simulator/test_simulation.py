"""What the simulator counts, on loads that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.simulator.comparison import compare, overall, summarize
from tests.simulator.dask import Job, Task
from tests.simulator.figures import best_possible, run
from tests.simulator.loads import Load
from tests.simulator.plot import draw
from tests.simulator.reliability import WINDOWS, Ratios, at_equal_delay
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator
from tests.simulator.simulation import Rule, World
from tests.simulator.table import reliability, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def load(*jobs: Job, startup: float = 10.0, maximum: int = 20) -> Load:
    return Load("by hand", jobs, (startup, startup), maximum)


def job(count: int, seconds: float, *, at: float = 0.0, size: int = 0) -> Job:
    return Job(at, tuple(Task("f", seconds, size=size) for _ in range(count)))


class Scripted(Rule):
    """Does something at given seconds."""

    name = "scripted"
    every = 1.0

    def __init__(self, script: Mapping[float, Callable[[World], None]]) -> None:
        self._script = script

    def look(self, world: World) -> None:
        if world.now in self._script:
            self._script[world.now](world)


def make(count: int) -> Callable[[World], None]:
    return lambda world: world.create(count)


def retire(count: int) -> Callable[[World], None]:
    def leave(world: World) -> None:
        for pod in world.live[:count]:
            world.retire(pod)

    return leave


def drain(count: int) -> Callable[[World], None]:
    def leave(world: World) -> None:
        for pod in world.live[:count]:
            world.drain(pod)

    return leave


def test_counts_what_is_wasted_and_how_late_it_was() -> None:
    """Two workers take 10 s to start, 20 s to compute what four would have had after 10 s, and have 5 s to spare."""
    by_hand = load(job(4, 10.0))
    outcome = run(by_hand, Scripted({0: make(2), 35: retire(2)}), best_possible(by_hand))
    assert outcome.figures.wasted == 2 * 35 - 40
    assert outcome.figures.delay == 30 - 10
    assert (outcome.figures.flaps, outcome.figures.rerun) == (0, 0)
    assert outcome.workers[-1] == (35.0, 0, 0)
    assert max(pods for _, pods, _ in outcome.workers) == 2
    assert next(second for second, _, ready in outcome.workers if ready == 2) == 10


@pytest.mark.parametrize(
    ("leave", "rerun", "done", "wasted"),
    [
        # What it has done of the task is lost, and the other one does it when it is done with its own.
        (retire, 1, 30, 15 + 30 + 5 - 20),
        # It goes once its task is done.
        (drain, 0, 20, 20 + 35 - 20),
    ],
)
def test_a_worker_that_leaves_busy(
    leave: Callable[[int], Callable[[World], None]], rerun: int, done: float, wasted: float
) -> None:
    by_hand = load(job(2, 10.0))
    outcome = run(by_hand, Scripted({0: make(2), 15: leave(1), 35: retire(1)}), best_possible(by_hand))
    assert outcome.figures.rerun == rerun
    assert outcome.figures.delay == done - 10
    assert outcome.figures.wasted == wasted


@pytest.mark.parametrize(("second", "flaps"), [(140, 3), (141, 0)])
def test_a_flap_is_a_worker_made_soon_after_another_went(second: float, flaps: int) -> None:
    by_hand = load(job(1, 1.0), job(1, 1.0, at=200.0))
    script = {0: make(5), 20: retire(3), second: make(9 if flaps == 0 else 3), 300: retire(20)}
    assert run(by_hand, Scripted(script), best_possible(by_hand)).figures.flaps == flaps


def test_the_last_worker_with_data_stays() -> None:
    by_hand = load(Job(0.0, (Task("f", 1.0),), held=100.0))
    world = World(by_hand)
    world.run(Scripted({0: make(2), 20: retire(2), 50: retire(1), 112: retire(1)}))
    assert [pod.deleted for pod in world.pods] == [20, 112]


def test_who_leaves_something_undone_gets_no_figures() -> None:
    by_hand = load(job(1, 1.0))
    with pytest.raises(AssertionError, match="scripted left 1 jobs of by hand undone"):
        run(by_hand, Scripted({}), best_possible(by_hand))


def test_dask_kubernetes_goes_down_by_a_quarter_every_fifteen_seconds() -> None:
    by_hand = load(job(400, 1.0), startup=0.5)
    outcome = run(by_hand, DaskKubernetes(), best_possible(by_hand))
    pods_at = {second: pods for second, pods, _ in outcome.workers}
    falling = [(second, pods) for second, pods in pods_at.items() if second > 20]
    assert [pods for _, pods in falling] == [15, 12, 9, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [second for second, _ in falling] == [falling[0][0] + 15 * step for step in range(11)]


@pytest.mark.parametrize(
    ("rule", "working", "starting", "rerun"),
    [
        # Its issue 659: the scheduler chooses, and knows only those that have registered.
        pytest.param(DaskKubernetes, 1, 8, 3, id="dask-kubernetes"),
        pytest.param(Operator, 4, 0, 0, id="this operator"),
        pytest.param(Adaptive, 4, 0, 0, id="Adaptive"),
    ],
)
def test_who_goes_when_there_is_less_to_do_while_workers_start(
    rule: type[Rule], working: int, starting: int, rerun: int
) -> None:
    """Four workers have a task each, and eight more, which take long to start, were made for others that are done."""
    world = World(load(job(4, 1000.0), startup=1.0))
    made = rule()

    def more(world: World) -> None:
        world.load = replace(world.load, startup=(1000.0, 1000.0))
        world.create(8)
        if not isinstance(made, Adaptive):
            made._replicas = 12  # type: ignore[attr-defined]

    seconds = [10.0] if rule is DaskKubernetes else [float(second) for second in range(10, 70, 5)]
    world.run(Scripted({0: make(4), 5: more} | dict.fromkeys(seconds, made.look)), until=70.0)
    assert len(world.scheduler.workers) == working
    assert len([pod for pod in world.live if pod.ready is None]) == starting
    assert world.scheduler.rerun == rerun


def test_the_window_that_wastes_least_while_nobody_waits_longer() -> None:
    """After one job, each second of it is wasted. Before a second one, a short one has people wait."""
    once = at_equal_delay(compare([load(job(400, 0.5))]))
    assert once["by hand", "dask-kubernetes"] is not None
    assert once["by hand", "dask-kubernetes"][0] == min(WINDOWS)
    twice = at_equal_delay(compare([load(job(400, 0.5), job(400, 0.5, at=40.0))]))
    assert twice["by hand", "dask-kubernetes"] is not None
    assert twice["by hand", "dask-kubernetes"][0] == 20


def test_the_second_table_has_the_range_of_each_ratio() -> None:
    ratios = {("f", "x"): Ratios([0.5, 0.75], [1.0, 1.5], ahead=1), ("g", "x"): Ratios([1.0], [0.9], ahead=0)}
    told = reliability(ratios, {("f", "x"): (20, 0.6), ("g", "x"): None}).splitlines()[2:]
    assert told == [
        "| f | x | 50% to 75% | 100% to 150% | 1 of 2 | 60% with 20 s |",
        "| g | x | 100% to 100% | 90% to 90% | 0 of 1 | never |",
    ]


def test_adaptive_lets_a_worker_go_at_the_third_look() -> None:
    by_hand = load(job(40, 10.0), startup=0.5, maximum=4)
    outcome = run(by_hand, Adaptive(), best_possible(by_hand))
    assert outcome.workers[-1] == (103.0, 0, 0)  # idle at 101, 102 and 103


def test_the_table_has_the_means_and_a_picture_is_small(tmp_path: Path) -> None:
    compared = compare([load(job(40, 2.0)), load(job(80, 2.0))])
    (summary,) = summarize(compared)
    wasted = [one.outcomes["Dask's Adaptive"].figures.wasted for one in compared]
    assert summary.figures["Dask's Adaptive"].wasted == sum(wasted) / 2
    assert wasted[0] != wasted[1]
    assert overall([summary]).figures == summary.figures
    assert f"| | Dask's Adaptive | {sum(wasted) / 2:.0f} |" in table([summary])

    (picture,) = draw(compared, tmp_path)
    assert picture.name == "autoscaling-by-hand.png"
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000
    assert draw(compared, tmp_path)[0].read_bytes() == content
