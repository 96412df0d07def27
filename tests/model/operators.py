"""What the operator does in the modelled world: it looks, decides, writes the status, and makes its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.model.decisions import decide, needs_scheduler
from tests.model.scheduler import being_removed, start_call, unawaited
from tests.model.sight import SeenDetail, SeenWorkers, see_calls, see_cluster, see_detail, see_workers
from tests.model.world import Member, Operator, Phase, Pod, Process, Stage, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.scheduler import Step
    from tests.model.sight import SeenCalls
    from tests.model.world import Action, Rules, World

ALONE = 1
"""The number of the operator that there always is."""


def operator_steps(world: World, rules: Rules) -> Iterator[Step]:
    """The next requests of each operator, as they go well."""
    for operator in world.operators:
        if operator.stage is Stage.IDLE and operator.passes == 0:
            continue
        if operator.stage is not Stage.ACT:
            yield f"operator {operator.number}: looks", look(world, operator, rules)
        elif operator.status is not None:
            yield f"operator {operator.number}: writes the status", write(world, operator)
        else:
            for action in requests(world, operator):
                did = f"operator {operator.number}: {action.kind} {action.uids or action.name}"
                yield did, finish(act(world, operator, action, rules), operator.number, action)


def fault_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Crashes, lost requests and lost answers, as long as there is a budget for them."""
    if world.budget.crashes:
        less = world._replace(budget=world.budget._replace(crashes=world.budget.crashes - 1))
        yield "operator 1: is killed and started again", crashed(less)
    if not world.budget.faults:
        return
    world = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
    yield from unanswered_steps(world)
    for operator in world.operators:
        if operator.stage is not Stage.ACT:
            yield from poor_looks(world, operator, rules)
        else:
            yield from _lost(world, operator, rules)


def unanswered_steps(world: World) -> Iterator[Step]:
    """Calls whose answer an operator stops waiting for."""
    for index, call in enumerate(world.calls):
        if call.owner in {operator.number for operator in world.operators}:
            calls = (*world.calls[:index], *unawaited(call), *world.calls[index + 1 :])
            yield f"operator {call.owner}: gets no answer to {call.kind}", world._replace(calls=calls)


def poor_looks(world: World, operator: Operator, rules: Rules) -> Iterator[Step]:
    """Looks at a scheduler that doesn't answer, or whose RPC port doesn't."""
    if operator.stage is Stage.IDLE and operator.passes == 0:
        return
    who = f"operator {operator.number}"
    yield f"{who}: looks, and the scheduler doesn't answer", look(world, operator, rules, answers=False)
    if rules.rpc and operator.stage is not Stage.DETAIL:
        yield f"{who}: looks, and the RPC port doesn't answer", look(world, operator, rules, rpc=False)


def crashed(world: World) -> World:
    """The world once the first operator was killed and started again: it has forgotten everything."""
    return _orphaned(world.with_operator(Operator(ALONE)), ALONE)


def given_up(operator: Operator) -> Operator:
    """The operator once it has given its pass up."""
    return operator._replace(stage=Stage.IDLE, seen=(), rv=-1, status=None, settles=frozenset(), actions=())


def requests(world: World, operator: Operator) -> Iterator[Action]:
    """What it may ask for next: anything that is left, but new pods are all alike, so one of those will do.

    Neither it nor a hook asks the scheduler in the half second in which that is about to remove a worker for a hook.
    """
    created, hold = False, being_removed(world, by_hooks=True)
    for action in operator.actions:
        if action.kind == "delete" or (action.kind == "create" and not created) or (_is_call(action) and not hold):
            yield action
        created = created or action.kind == "create"


def _is_call(action: Action) -> bool:
    return action.kind in {"drain", "retire"}


def _lost(world: World, operator: Operator, rules: Rules) -> Iterator[Step]:
    who = f"operator {operator.number}"
    if operator.status is not None:
        yield f"{who}: its status never arrives", world.with_operator(given_up(operator))
        if operator.rv == world.rv:
            written = write(world, operator)
            yield f"{who}: writes the status, hears nothing", written.with_operator(given_up(operator))
        return
    for action in requests(world, operator):
        lost = finish(world, operator.number, action)
        yield f"{who}: {action.kind} never arrives", lost
        if rules.late and action.kind == "create":
            yield f"{who}: {action.kind} {action.name} is late", lost._replace(late=(*lost.late, action))


def late_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Creations that arrive when nobody expects them any more."""
    for action in world.late:
        late = tuple(other for other in world.late if other is not action)
        yield f"the late create {action.name} arrives", _create(world._replace(late=late), action, rules)


def look(world: World, operator: Operator, rules: Rules, *, answers: bool = True, rpc: bool = True) -> World:
    """Read on: one thing at a time where `rules.split`, else all that is left."""
    while operator.stage is not Stage.ACT:
        if operator.stage is Stage.IDLE:
            part: Any = see_cluster(world)
            operator = operator._replace(stage=Stage.PODS, seen=(part,))
        elif operator.stage is Stage.PODS:
            operator = operator._replace(stage=Stage.CALLS, seen=(*operator.seen, see_calls(world, operator)))
            if not needs_scheduler(rules, operator.seen[0]):
                silence = (SeenDetail(known=False), SeenWorkers(None, asked=False))
                return _decide(world, operator._replace(seen=(*operator.seen, *silence)), rules)
        elif operator.stage is Stage.CALLS and answers:
            told = see_detail(world, rules) if rpc else SeenDetail(known=False)
            operator = operator._replace(stage=Stage.DETAIL, seen=(*operator.seen, told))
        else:
            seen = see_workers(world) if answers else SeenWorkers(None)
            parts = operator.seen if operator.stage is Stage.DETAIL else (*operator.seen, SeenDetail(known=False))
            return _decide(world, operator._replace(seen=(*parts, seen)), rules)
        if rules.split and answers and rpc:
            break
    return world.with_operator(operator)


def _decide(world: World, operator: Operator, rules: Rules) -> World:
    status, actions, blocked = decide(rules, *operator.seen)
    world = world._replace(blocked=blocked)
    calls: SeenCalls = operator.seen[1]
    settles = frozenset(calls.drained + calls.moved + calls.refused) - frozenset(calls.in_flight)
    operator = operator._replace(
        stage=Stage.ACT, rv=operator.seen[0].rv, seen=(), status=status, settles=settles, actions=actions
    )
    if status is None:
        operator = _settled(operator)
    return ended(world.with_operator(operator), operator.number)


def write(world: World, operator: Operator) -> World:
    """Write the status, unless somebody has written the Cluster since it was read: then the pass is over."""
    if operator.rv != world.rv:
        loser = operator._replace(status=None, settles=frozenset(), actions=())
        return ended(world.with_operator(loser), operator.number)
    assert operator.status is not None
    world = world._replace(status=operator.status, rv=world.rv + 1)
    operator = _settled(operator._replace(status=None, rv=world.rv))
    return ended(world.with_operator(operator), operator.number)


def _settled(operator: Operator) -> Operator:
    kept = tuple(answer for answer in operator.answers if not set(answer.uids) <= operator.settles)
    return operator._replace(answers=kept, settles=frozenset())


def finish(world: World, number: int, action: Action) -> World:
    """The world once an operator is done with an action."""
    operator = next(o for o in world.operators if o.number == number)
    left = list(operator.actions)
    left.remove(action)
    return ended(world.with_operator(operator._replace(actions=tuple(left))), number)


def ended(world: World, number: int) -> World:
    """The pass is over once there is nothing left to do."""
    operator = next(o for o in world.operators if o.number == number)
    if operator.status is not None or operator.actions:
        return world
    passes = None if operator.passes is None else operator.passes - 1
    world = world.with_operator(operator._replace(stage=Stage.IDLE, rv=-1, passes=passes))
    return world if passes != 0 else _orphaned(world.with_operator(Operator(number, passes=0)), number)


def _orphaned(world: World, number: int) -> World:
    return world._replace(
        calls=tuple(kept for call in world.calls for kept in (unawaited(call) if call.owner == number else (call,)))
    )


def act(world: World, operator: Operator, action: Action, rules: Rules) -> World:
    """Carry an action out.

    Raises:
        Violation: it must not be.
    """
    if action.kind == "create":
        return _create(world, action, rules)
    if action.kind == "delete":
        return _delete(world, action)
    recorded = {entry.uid for entry in world.status.entries if entry.asked is not None}
    for uid in action.uids:
        if uid not in recorded and len(world.operators) == 1:
            raise Violation("not recorded", f"{action.kind} of {uid}")
        for call in world.calls:
            if call.owner == operator.number and any(target.uid == uid for target in call.targets):
                raise Violation("asked twice", f"{action.kind} of {uid} while {call.kind} is under way")
    return start_call(world, operator.number, action.kind, action.uids, excused=action.excused)


def _create(world: World, action: Action, rules: Rules) -> World:
    if any(pod.name == action.name for pod in world.pods):
        return world
    base = action.base
    assert base is not None
    new = Pod(world.next_uid, action.name, base, Process.UP, Phase.PENDING, Member.NO, template=action.template)
    world = world._replace(pods=(*world.pods, new), next_uid=world.next_uid + 1)
    retiring = {entry.uid for entry in world.status.entries}
    present = [pod for pod in world.pods if not pod.deleter and pod.phase is not Phase.FINISHED]
    live = sum(pod.uid not in retiring for pod in present)
    alone = len(world.operators) == 1 and not rules.late
    if alone and live > action.limit:
        raise Violation("too many", f"{live} pods where {action.limit} were wanted")
    if sum(pod.base == base for pod in world.pods) > base.missing:
        raise Violation("too many", f"{base.missing} pods were missing, and more were made for that")
    return world


def _delete(world: World, action: Action) -> World:
    pod = world.pod(action.uids[0])
    if pod is None or action.limit not in {-1, pod.rv} or pod.deleter:
        return world
    return world.with_pod(pod._replace(deleter="excused" if action.excused else "operator", rv=pod.rv + 1))
