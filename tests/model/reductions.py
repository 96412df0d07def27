"""Steps whose order makes no difference, taken in one order only: far fewer states, and no behaviour is missed.

Each reduction below is an argument of the same kind: every run of the world without it can be changed, by exchanging
neighbouring steps that don't influence each other, into one that is left, which breaks the same promises.
`test_reductions.py` compares both ways where that can be done, and the mutations are caught with these.

They hold for one operator whose requests arrive or don't (`possible`). With two, or late creations, everything is
explored.

**A pass is one step as far as it can be.** Between a look and the write of the status, whatever changes the Cluster
makes the write a conflict, and the pass has done nothing: the same as no pass. Everything else in between neither
reads nor changes what is written, and may as well come before the look or after the write. Creations come next, at
once: nobody but a later look and the new pod's own steps depends on a new pod, and there are never fewer live pods to
check it against than at the start. So do deletions of finished pods, which nothing but the API server has any more.
What comes of a deletion of any other pod or of a call depends on when the request arrives, so those are steps of
their own.

**A crash comes right after the last request that the operator makes.** From then on it only receives answers, and
what it knows is forgotten: the same as if they had come to nobody. So it's decided with the look which of the
requests that are made at once are still made (`_doomed`), and between the others at each. A crash without any request
since the last one is one of these. A status whose write never arrives is no pass.

**What nobody sees comes last.** The kubelet's reports, pods that vanish, answers that arrive at the operator, changes
of the spec, and deletions by users where a hook keeps the worker for now, are seen by nobody but a later look, or
once time passes. None of them makes any other step possible or changes what one does. So between two looks (or
passings of time) all others come first, and these after them: once one has been taken (`World.unseen`), only more of
these follow until the next look. While the operator still has requests to make, they wait altogether, unless they are
about a pod that it is about to delete. Processes that are killed and worlds without hooks are left out of this:
there, a report makes it possible to register.

A process that has not started yet isn't told from one that is starting, see `world.Process`; and an answer to a hook
isn't awaited, see `scheduler.kept`.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from tests.model.operators import act, crashed, finish, given_up, look, poor_looks, requests, unanswered_steps, write
from tests.model.scheduler import answer_steps, progress_steps, takes_no_time, task_steps
from tests.model.surroundings import (
    client_steps,
    delete_steps,
    hook_steps,
    report_steps,
    spec_steps,
    time_passes,
    worker_steps,
)
from tests.model.world import Phase, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.scheduler import Step
    from tests.model.world import Action, Operator, Pod, Rules, World


def possible(rules: Rules) -> bool:
    """Whether the arguments hold in these worlds."""
    return rules.reduced and not rules.second and not rules.late


def reduced_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What may happen next, as far as it has to be looked at."""
    (operator,) = world.operators
    if operator.stage is Stage.ACT:
        yield from _requests(world, operator, rules)
        yield from _urgent(world, rules)
        yield from _unhurried(world, rules, within=_about_to_be_deleted(world, operator))
        return
    for label, after in _passes(world, operator, rules):
        seen = after._replace(unseen=False)
        if seen._replace(unseen=world.unseen) != world:
            yield label, seen
    if not world.unseen:
        yield from _urgent(world, rules)
    if operator.stage is Stage.IDLE and not takes_no_time(world):
        later = time_passes(world)
        if later != world:
            yield "time passes", later._replace(unseen=False)
    yield from _unhurried(world, rules)


def _lazy(rules: Rules) -> bool:
    return rules.hook and "kill" not in rules.user


def _passes(world: World, operator: Operator, rules: Rules) -> Iterator[Step]:
    yield from _from_look("operator: looks", look(world, operator, rules), rules)
    if world.budget.faults:
        less = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
        for label, after in poor_looks(less, operator, rules):
            yield from _from_look(label, after, rules)


def _from_look(label: str, world: World, rules: Rules) -> Iterator[Step]:
    """What a look leads to at once, and where it's lost or cut short."""
    (operator,) = world.operators
    if operator.stage is not Stage.ACT:
        yield label, world  # it reads on, or there is nothing to do
        return
    if operator.status is not None:
        label, world = f"{label}, writes the status", write(world, operator)
        (operator,) = world.operators
        if world.budget.faults:
            less = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
            yield f"{label}, hears nothing", less.with_operator(given_up(operator))
    at_once = [a for a in operator.actions if _can_be_at_once(world, a)]
    yield from _done(label, world, at_once, rules)
    if world.budget.crashes:
        less = world._replace(budget=world.budget._replace(crashes=world.budget.crashes - 1))
        yield from _doomed(label, less, at_once, rules)


def _can_be_at_once(world: World, action: Action) -> bool:
    if action.kind != "delete":
        return action.kind == "create"
    pod = world.pod(action.uids[0])
    return pod is None or pod.phase is Phase.FINISHED


def _done(label: str, world: World, actions: list[Action], rules: Rules) -> Iterator[Step]:
    """Carry all of these out, but for those that get lost."""
    for count in range(min(len(actions), world.budget.faults) + 1):
        for lost in _some(actions, count):
            less = world._replace(budget=world.budget._replace(faults=world.budget.faults - count))
            after = _carry_out(less, actions, lost, rules)
            yield (f"{label}, {', '.join(_named(a) for a in lost)} lost" if lost else label), after


def _doomed(label: str, world: World, actions: list[Action], rules: Rules) -> Iterator[Step]:
    """Carry some out, and be killed before the others; what is left over can still be one of the other requests."""
    for count in range(len(actions) + 1):
        for lost in _some(actions, count):
            after = _carry_out(world, actions, lost, rules)
            how = f"{label}{', all but ' + ', '.join(_named(a) for a in lost) if lost else ''}"
            yield f"{how}, is killed", crashed(after)
            (operator,) = after.operators
            if operator.stage is Stage.ACT:
                yield f"{how}, will be killed", after.with_operator(operator._replace(passes=DOOMED))


DOOMED = 1
"""The number of passes that is left to an operator that is killed within this one."""


def _some(actions: list[Action], count: int) -> Iterator[tuple[Action, ...]]:
    """So many of the actions, but of creations, which are all alike, the last ones."""
    creations = [action for action in actions if action.kind == "create"]
    for some in combinations(actions, count):
        made = [action for action in some if action.kind == "create"]
        if made == creations[len(creations) - len(made) :]:
            yield some


def _carry_out(world: World, actions: list[Action], lost: tuple[Action, ...], rules: Rules) -> World:
    for action in actions:
        (operator,) = world.operators
        changed = world if action in lost else act(world, operator, action, rules)
        world = finish(changed, operator.number, action)
    return world


def _requests(world: World, operator: Operator, rules: Rules) -> Iterator[Step]:
    """The requests that are left of a pass, one by one."""
    for action in requests(world, operator):
        label = f"operator: {_named(action)}"
        done = act(world, operator, action, rules)
        if operator.passes == DOOMED:
            yield f"{label}, is killed", crashed(done)
            if len(operator.actions) > 1:
                yield label, finish(done, operator.number, action)
        else:
            yield label, finish(done, operator.number, action)
            if world.budget.faults:
                less = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
                yield f"{label} never arrives", finish(less, operator.number, action)


def _urgent(world: World, rules: Rules) -> Iterator[Step]:
    """What may make a difference to others at once."""
    yield from progress_steps(world)
    yield from task_steps(world, rules)
    for pod in world.pods:
        yield from worker_steps(world, pod, rules)
        if not _lazy(rules):
            yield from report_steps(world, pod, rules)
    yield from hook_steps(world, rules)
    yield from client_steps(world, rules)
    yield from delete_steps(world, tuple(pod for pod in world.pods if not _goes_later(pod, rules)), rules)


def _unhurried(world: World, rules: Rules, within: tuple[Pod, ...] | None = None) -> Iterator[Step]:
    """What makes none before the next look or passing of time; only about some pods, where these are given."""
    pods = world.pods if within is None else within
    found = list(delete_steps(world, tuple(pod for pod in pods if _goes_later(pod, rules)), rules))
    if _lazy(rules):
        for pod in pods:
            found += report_steps(world, pod, rules)
    if within is None:
        found += spec_steps(world, rules)
        found += answer_steps(world)
        if world.budget.faults:
            less = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
            found += unanswered_steps(less)
    unseen = within is None and _lazy(rules)
    for label, after in found:
        yield label, after._replace(unseen=unseen)


def _goes_later(pod: Pod, rules: Rules) -> bool:
    return _lazy(rules) and not (pod.hidden and pod.member)


def _about_to_be_deleted(world: World, operator: Operator) -> tuple[Pod, ...]:
    uids = {uid for action in operator.actions if action.kind == "delete" for uid in action.uids}
    return tuple(pod for pod in world.pods if pod.uid in uids)


def _named(action: Action) -> str:
    return f"{action.kind} {action.uids or action.name}"
