"""What a rule made of a load: what was wasted, how long people waited, and how often it changed its mind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.simulator.simulation import Rule, World

if TYPE_CHECKING:
    from tests.simulator.loads import Load
    from tests.simulator.simulation import Pod

FLAP_SECONDS = 120.0
"""A worker that is made so soon after another was removed need not have been."""


@dataclass(frozen=True)
class Figures:
    """The outcome of one load under one rule.

    Attributes:
        wasted: worker-seconds, from creation to deletion, that led to no result.
        delay: seconds by which jobs were done later than by as many workers as help, there from the start; the mean.
        flaps: how many workers were made within two minutes of another's removal.
        rerun: tasks that were cut short and began anew.
    """

    wasted: float
    delay: float
    flaps: float
    rerun: float


@dataclass(frozen=True)
class Outcome:
    """A load under one rule.

    Attributes:
        figures: in short.
        workers: at each change: the second, how many pods there are, and how many of them are ready.
    """

    figures: Figures
    workers: list[tuple[float, int, int]]


class Oracle(Rule):
    """Knows the future: workers are there the moment they are of use, and gone the moment they aren't."""

    name = "oracle"
    every = 0.25

    def look(self, world: World) -> None:
        """Have as many workers as there are tasks that they could compute."""
        useful = min(-(-world.scheduler.ready // world.load.threads), world.load.maximum)
        world.create(useful - len(world.live))
        surplus = len(world.live) - useful
        if surplus <= 0:
            return
        names = {pod.name: pod for pod in world.live if pod.ready is not None}
        for name in world.scheduler.workers_to_close(n=len(names))[:surplus]:
            if not world.scheduler.workers[name].executing:
                world.retire(names[name])


@dataclass(frozen=True)
class Best:
    """What the oracle makes of a load.

    Attributes:
        done: when each job was done, by its place in the order of submission.
        workers: as in an `Outcome`.
    """

    done: dict[int, float]
    workers: list[tuple[float, int, int]]


def best_possible(load: Load) -> Best:
    """What can be had without any delay."""
    world = World(replace(load, startup=(0.0, 0.0)))
    world.run(Oracle())
    return Best(world.scheduler.done, _over_time(world))


def run(load: Load, rule: Rule, best: Best) -> Outcome:
    """Put a load under a rule.

    Args:
        load: what is computed.
        rule: a fresh one.
        best: what the oracle made of it.

    Raises:
        AssertionError: not all was done in the end.
    """
    world = World(load)
    world.run(rule)
    done = world.scheduler.done
    if done.keys() != best.done.keys():
        raise AssertionError(f"{rule.name} left {len(best.done) - len(done)} jobs of {load.name} undone")
    figures = Figures(
        wasted=_unused(world),
        delay=sum(done[job] - best.done[job] for job in done) / len(done),
        flaps=_flaps(world),
        rerun=world.scheduler.rerun,
    )
    return Outcome(figures, _over_time(world))


def _unused(world: World) -> float:
    present = sum(_end(world, pod) - pod.created for pod in world.pods)
    return present - world.scheduler.worked / world.load.threads


def _end(world: World, pod: Pod) -> float:
    return world.now if pod.deleted is None else pod.deleted


def _flaps(world: World) -> int:
    removed = sorted(pod.deleted for pod in world.pods if pod.deleted is not None)
    count = 0
    for created in sorted(pod.created for pod in world.pods):
        before = next((second for second in removed if created - FLAP_SECONDS <= second <= created), None)
        if before is not None:
            removed.remove(before)
            count += 1
    return count


def _over_time(world: World) -> list[tuple[float, int, int]]:
    changes: list[tuple[float, int, int]] = []
    for pod in world.pods:
        gone = _end(world, pod)
        changes += [(pod.created, 1, 0), (gone, -1, 0 if pod.ready is None else -1)]
        if pod.ready is not None:
            changes.append((pod.ready, 0, 1))
    pods = ready = 0
    series = [(0.0, 0, 0)]
    for second, more, more_ready in sorted(changes):
        pods, ready = pods + more, ready + more_ready
        series.append((second, pods, ready))
    return series
