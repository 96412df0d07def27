"""Every state that can be reached from the beginnings of a world, breadth first."""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model.liveness import Rest
from tests.model.operators import ALONE, fault_steps, late_steps, operator_steps
from tests.model.surroundings import hook_steps, natural_steps, time_passes, user_steps
from tests.model.world import (
    Budget,
    Member,
    Operator,
    Phase,
    Pod,
    Process,
    Rules,
    Stage,
    Status,
    Violation,
    World,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.model.surroundings import Step

SECOND = 2
"""The number of an operator that is there for one pass only."""


@dataclass(frozen=True)
class Found:
    """What an exploration came to.

    Attributes:
        states: how many different ones.
        steps: how many transitions between them.
        rounds: the most that it took to come to rest.
        seconds: how long the exploration took.
        violation: what went wrong first, and the events that lead there; None if nothing did.
    """

    states: int
    steps: int
    rounds: int
    seconds: float
    violation: Violation | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.states} states, {self.steps} steps, at most {self.rounds} rounds to rest, {self.seconds:.1f} s"
        return told if self.violation is None else "\n  ".join([f"{told}: {self.violation}", *self.trace])


def beginnings(rules: Rules) -> Iterator[World]:
    """Worlds at rest: keys in every place, up to the names of keys, and each pod registered that isn't pending."""
    uids = range(1, rules.workers + 1)
    started = tuple(uid for uid in uids if uid <= rules.workers - rules.pending)
    operators = (Operator(ALONE), Operator(SECOND, passes=1)) if rules.second else (Operator(ALONE),)
    for places in itertools.combinations_with_replacement(started, rules.keys if started else 0):
        yield World(
            replicas=rules.workers,
            rv=0,
            status=Status(observed=True, entries=(), blocked="", live=rules.workers, ready=len(started)),
            pods=tuple(_pod(uid, started=uid in started, hidden=rules.hidden and uid == 1) for uid in uids),
            keys=tuple((place,) for place in places),
            tasks=(),
            calls=(),
            operators=operators,
            late=(),
            budget=Budget(rules.actions, rules.crashes, rules.faults),
            stranger=rules.stranger,
            next_uid=rules.workers + 1,
        )


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that may happen next."""
    yield from operator_steps(world, rules)
    yield from natural_steps(world, rules)
    yield from hook_steps(world, rules)
    yield from user_steps(world, rules)
    yield from fault_steps(world, rules)
    yield from late_steps(world, rules)
    if all(operator.stage is Stage.IDLE for operator in world.operators):
        # In the middle of a pass it makes no difference: its plan has been made, at one moment.
        yield "time passes", time_passes(world)


def quiet(world: World, rules: Rules) -> bool:
    """Whether only time, a pass or a hook can change anything by itself.

    From here on it's enough to see that such worlds come to rest: every other one becomes one of them by steps that
    are explored as well.
    """
    idle = all(operator.stage is Stage.IDLE for operator in world.operators)
    return idle and not world.late and next(natural_steps(world, rules), None) is None


def explore(rules: Rules, *, most: int | None = None, progress: Callable[[int, int], None] | None = None) -> Found:
    """Go through all states.

    Args:
        rules: the bounds.
        most: stop after so many states.
        progress: called every now and then with the number of states found, and of those not gone on from.
    """
    begun = time.monotonic()
    rest = Rest(rules)
    came_from: dict[int, tuple[int, str]] = {}
    queue: deque[tuple[int, World]] = deque()
    count = 0
    for world in beginnings(rules):
        key = hash(canonical(world))
        came_from[key] = (0, f"at first: {_told(world)}")
        queue.append((key, world))
    key, label = 0, ""
    try:
        while queue and (most is None or len(came_from) < most):
            key, world = queue.popleft()
            if quiet(world, rules):
                label = "(left alone)"
                rest.check(world)
            label = "(the next step)"
            for step, after in steps(world, rules):
                count += 1
                reached = hash(canonical(after))
                if reached not in came_from:
                    came_from[reached] = (key, step)
                    queue.append((reached, after))
                    if progress is not None and len(came_from) % 10_000 == 0:
                        progress(len(came_from), len(queue))
                label = f"(after {step})"
    except Violation as violation:
        trace = (*_trace(came_from, key), label)
        return Found(len(came_from), count, rest.longest, time.monotonic() - begun, violation, trace)
    return Found(len(came_from), count, rest.longest, time.monotonic() - begun)


def _trace(came_from: dict[int, tuple[int, str]], key: int) -> list[str]:
    labels = []
    while key:
        key, label = came_from[key]
        labels.append(label)
    return labels[::-1]


def _told(world: World) -> str:
    return f"{len(world.pods)} workers, keys on {[key[0] for key in world.keys]}"


def _pod(uid: int, *, started: bool, hidden: bool) -> Pod:
    if not started:
        return Pod(uid, "", None, Process.NONE, Phase.PENDING, Member.NO)
    return Pod(uid, "", None, Process.UP, Phase.STARTED, Member.RUNNING, hidden=hidden)
