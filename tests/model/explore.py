"""Every state that can be reached from the beginnings of a world, breadth first."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model.canonical import canonical
from tests.model.invariants import check_rollout
from tests.model.liveness import Rest
from tests.model.operators import ALONE, fault_steps, late_steps, operator_steps
from tests.model.reductions import possible, reduced_steps
from tests.model.scheduler import takes_no_time
from tests.model.surroundings import hook_steps, natural_steps, time_passes, user_steps
from tests.model.world import Budget, Member, Operator, Phase, Pod, Process, Rules, Stage, Status, Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.model.scheduler import Step

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
        waiting: how many states it hasn't gone on from, because it was to stop.
        violation: what went wrong first, and the events that lead there; None if nothing did.
    """

    states: int
    steps: int
    rounds: int
    seconds: float
    waiting: int = 0
    violation: Violation | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.states} states, {self.steps} steps, at most {self.rounds} rounds to rest, {self.seconds:.1f} s"
        told += f", and {self.waiting} states not gone on from" if self.waiting else ""
        return told if self.violation is None else "\n  ".join([f"{told}: {self.violation}", *self.trace])


def beginnings(rules: Rules) -> Iterator[World]:
    """Worlds at rest: keys in every place, up to the names of keys, and each pod registered that isn't pending."""
    uids = range(1, rules.workers + 1)
    started = tuple(uid for uid in uids if uid <= rules.workers - rules.pending)
    operators = (Operator(ALONE), Operator(SECOND, passes=1)) if rules.second else (Operator(ALONE),)
    holders = list(itertools.combinations(started, min(rules.copies, len(started)))) if started else []
    for places in itertools.combinations_with_replacement(holders, rules.keys if started else 0):
        yield World(
            replicas=rules.workers,
            rv=0,
            status=Status(()),
            pods=tuple(_pod(uid, started=uid in started, hidden=rules.hidden and uid == 1) for uid in uids),
            keys=places,
            tasks=(),
            calls=(),
            operators=operators,
            late=(),
            budget=Budget(rules.actions, rules.crashes, rules.faults),
            stranger=rules.stranger,
            next_uid=rules.workers + 1,
        )


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """What may happen next; where that can be done, without those that another order of the same steps makes up for."""
    return reduced_steps(world, rules) if possible(rules) else all_steps(world, rules)


def all_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that may happen next."""
    yield from operator_steps(world, rules)
    yield from natural_steps(world, rules)
    yield from hook_steps(world, rules)
    yield from user_steps(world, rules)
    yield from fault_steps(world, rules)
    yield from late_steps(world, rules)
    if all(operator.stage is Stage.IDLE for operator in world.operators) and not takes_no_time(world):
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
    came_from: dict[int, int] = {}
    first = {_key(world): world for world in beginnings(rules)}
    queue = deque(first.items())
    came_from.update(dict.fromkeys(first, 0))
    count = 0
    key, label = 0, ""
    try:
        while queue and (most is None or len(came_from) < most):
            key, world = queue.popleft()
            check_rollout(world, rules)
            if quiet(world, rules):
                label = "(left alone)"
                rest.check(world)
            label = "(the next step)"
            for step, after in steps(world, rules):
                count += 1
                reached = _key(after)
                # Whatever may follow where something is still to be seen, may follow where nothing is, too.
                if reached not in came_from and not (after.unseen and _key(after._replace(unseen=False)) in came_from):
                    came_from[reached] = key
                    queue.append((reached, after))
                    if progress is not None and len(came_from) % 10_000 == 0:
                        progress(len(came_from), len(queue))
                label = f"(after {step})"
    except Violation as violation:
        trace = (*_trace(came_from, key, first, rules), label)
        waited = time.monotonic() - begun
        return Found(len(came_from), count, rest.longest, waited, len(queue), violation, trace)
    return Found(len(came_from), count, rest.longest, time.monotonic() - begun, len(queue))


def _trace(came_from: dict[int, int], key: int, first: dict[int, World], rules: Rules) -> Iterator[str]:
    """What happened on the way to a state. Only who came from where is remembered, so it happens once more."""
    keys = [key]
    while came_from[keys[-1]]:
        keys.append(came_from[keys[-1]])
    world = first[keys.pop()]
    yield f"at first: {_told(world)}"
    for passed in reversed(keys):
        step, world = next((step, after) for step, after in _so_far(steps(world, rules)) if _key(after) == passed)
        yield step


def _key(world: World) -> int:
    return hash((world.unseen, canonical(world)))


def _so_far(some: Iterable[Step]) -> Iterator[Step]:
    """Steps until one is a violation."""
    with contextlib.suppress(Violation):
        yield from some


def _told(world: World) -> str:
    return f"{len(world.pods)} workers, keys on {list(world.keys)}"


def _pod(uid: int, *, started: bool, hidden: bool) -> Pod:
    if not started:
        return Pod(uid, "", None, Process.UP, Phase.PENDING, Member.NO)
    return Pod(uid, "", None, Process.UP, Phase.STARTED, Member.RUNNING, hidden=hidden)
