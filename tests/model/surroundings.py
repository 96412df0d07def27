"""What happens to a Cluster without its operator: the kubelet, Dask, the preStop hooks, users and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.model.world import (
    HOOK,
    STRANGER,
    Answer,
    Call,
    Member,
    Outcome,
    Phase,
    Pod,
    Process,
    Rules,
    Stage,
    Status,
    Target,
    Violation,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Step = tuple[str, World]
"""What happens, for people, and what comes of it."""


def natural_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What happens by itself, sooner or later."""
    for pod in world.pods:
        yield from _kubelet(world, pod, rules)
    yield from _scheduler(world)
    yield from _tasks(world, rules)


def hook_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What the hooks of pods that are being deleted ask for, once the operator has had its turn."""
    for pod in world.pods:
        owner = HOOK + pod.uid
        waits = any(call.owner == owner for call in world.calls)
        if rules.hook and pod.alone and pod.member and not pod.hidden and not waits:
            yield f"the hook of {pod.uid} asks", start_call(world, owner, "retire", (pod.uid,), excused=(pod.uid,))


def user_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What users, and the failures that nobody can prevent, may do."""
    if not world.budget.user:
        return
    world = world._replace(budget=world.budget._replace(user=world.budget.user - 1))
    if "scale" in rules.user:
        for replicas in range(rules.workers + 1):
            if replicas != world.replicas:
                status = world.status._replace(observed=False)
                yield f"a user scales to {replicas}", world._replace(replicas=replicas, rv=world.rv + 1, status=status)
    for pod in world.pods:
        yield from _done_to_a_pod(world, pod, rules)
    if "release" in rules.user:
        for key in sorted(set(world.keys)):
            keys = list(world.keys)
            keys.remove(key)
            yield f"a client releases a key of {key}", world._replace(keys=tuple(keys))
    if "submit" in rules.user and len(world.tasks) < rules.tasks:
        yield "a client submits a task", world._replace(tasks=(STRANGER, *world.tasks))


def _done_to_a_pod(world: World, pod: Pod, rules: Rules) -> Iterator[Step]:
    if "delete" in rules.user and not pod.deleter:
        yield f"a user deletes {pod.uid}", world.with_pod(pod._replace(deleter="user", rv=pod.rv + 1))
    if "kill" in rules.user and pod.member and not pod.deleter:
        yield f"the process of {pod.uid} is killed and starts again", _killed(world, pod)
    if "put" in rules.user and pod.member is Member.RUNNING and len(world.keys) < rules.keys:
        yield f"a client puts a key on {pod.uid}", world._replace(keys=tuple(sorted((*world.keys, (pod.uid,)))))


def time_passes(world: World) -> World:
    """The world once everything is older than every deadline."""

    def aged(part: Any) -> Any:
        return part._replace(status=_aged(part.status)) if hasattr(part, "status") else part

    return world._replace(
        status=_aged(world.status),
        pods=tuple(pod._replace(alone=bool(pod.deleter)) for pod in world.pods),
        calls=tuple(call._replace(old=0 < call.owner < HOOK) for call in world.calls),
        operators=tuple(
            o._replace(status=_aged(o.status) if o.status else None, seen=tuple(aged(part) for part in o.seen))
            for o in world.operators
        ),
    )


def start_call(world: World, owner: int, kind: str, uids: tuple[int, ...], *, excused: tuple[int, ...]) -> World:
    """The scheduler gets a request: all of the workers stop taking tasks and data, then it looks who can take theirs.

    `distributed.Scheduler.retire_workers` in 2026.8.
    """
    targets = []
    for uid in uids:
        pod = world.pod(uid)
        if pod is None or not pod.member:
            targets.append(Target(uid, Member.NO, Outcome.UNKNOWN, may_interrupt=True))
            continue
        targets.append(Target(uid, pod.member, Outcome.PENDING, may_interrupt=uid in excused))
        world = world.with_pod(pod._replace(member=Member.CLOSING))
    stuck = [t for t in targets if t.outcome is Outcome.PENDING and _sole(world, t.uid) and not world.running()]
    call = Call(owner, kind, tuple(t._replace(outcome=Outcome.REFUSED) if t in stuck else t for t in targets))
    for target in stuck:
        world = _put_back(world, target)
    return world._replace(calls=(*world.calls, call))


def unawaited(call: Call) -> tuple[Call, ...]:
    """What is left of a call whose answer nobody waits for."""
    over = all(target.outcome is not Outcome.PENDING for target in call.targets)
    return () if over else (call._replace(owner=0, old=False),)


def _kubelet(world: World, pod: Pod, rules: Rules) -> Iterator[Step]:
    if pod.deleter and (pod.process is not Process.UP or pod.phase is Phase.FINISHED):
        yield f"{pod.uid} is gone", _destroyed(world, pod, rules)
        return
    if pod.phase is Phase.FINISHED:
        return
    if pod.process is Process.NONE:
        yield f"the process of {pod.uid} starts", world.with_pod(pod._replace(process=Process.UP))
    if pod.process is Process.LEFT:
        finished = pod._replace(phase=Phase.FINISHED, rv=pod.rv + 1)
        yield f"{pod.uid} exits and is reported", world.with_pod(finished)
    if pod.process is Process.UP:
        if pod.phase is Phase.PENDING or pod.restarted:
            report = pod._replace(phase=Phase.STARTED, restarted=False, rv=pod.rv + 1)
            yield f"the kubelet reports the start of {pod.uid}", world.with_pod(report)
        if not pod.member and _may_register(world, pod, rules):
            yield f"the worker of {pod.uid} registers", world.with_pod(pod._replace(member=Member.RUNNING))
        if pod.deleter and (not rules.hook or not pod.member or pod.hidden):
            yield f"{pod.uid} gets its signal", _destroyed(world, pod, rules)


def _may_register(world: World, pod: Pod, rules: Rules) -> bool:
    """Starting takes a process longer than an operator needs from its look to its requests, see the assumptions."""
    for operator in world.operators:
        for action in operator.actions:
            if pod.uid in action.uids and (action.kind != "delete" or (not rules.hook and action.limit == pod.rv)):
                return False
    if rules.hook:
        return True
    looked_at = any(operator.stage not in {Stage.IDLE, Stage.ACT} for operator in world.operators)
    return pod.phase is Phase.STARTED and not pod.restarted and not pod.deleter and not looked_at


def _destroyed(world: World, pod: Pod, rules: Rules) -> World:
    lost = [key for key in world.keys if key == (pod.uid,)]
    if lost and pod.deleter == "operator":
        raise Violation("lost", f"{len(lost)} keys went with {pod.uid}")
    if lost and pod.deleter == "user" and rules.hook and not pod.hidden:
        raise Violation("lost", f"the hook of {pod.uid} let keys go")
    world = _without_copies(world, pod.uid)
    return world._replace(pods=tuple(other for other in world.pods if other.uid != pod.uid))


def _killed(world: World, pod: Pod) -> World:
    """Calls that name a worker which has died list it at once: there is nothing left to be moved."""
    calls = tuple(
        call._replace(
            targets=tuple(
                t._replace(outcome=Outcome.OK) if t.uid == pod.uid and t.outcome is Outcome.PENDING else t
                for t in call.targets
            )
        )
        for call in world.calls
    )
    world = world._replace(calls=tuple(kept for call in calls for kept in ((call,) if call.owner else unawaited(call))))
    return _without_copies(world, pod.uid).with_pod(pod._replace(member=Member.NO, restarted=True))


def _without_copies(world: World, uid: int) -> World:
    keys = [tuple(holder for holder in key if holder != uid) for key in world.keys]
    tasks = sorted(STRANGER if place == uid else place for place in world.tasks)
    return world._replace(keys=tuple(sorted(key for key in keys if key)), tasks=tuple(tasks))


def _scheduler(world: World) -> Iterator[Step]:
    for index, call in enumerate(world.calls):
        for target in call.targets:
            if target.outcome is Outcome.PENDING:
                yield f"the scheduler goes on with {call.kind} of {target.uid}", _progress(world, index, call, target)
        if all(target.outcome is not Outcome.PENDING for target in call.targets):
            yield f"the answer to {call.kind} arrives at {call.owner}", _answered(world, index, call)


def _progress(world: World, index: int, call: Call, target: Target) -> World:
    pod = world.pod(target.uid)
    outcome = Outcome.OK
    if pod is not None and pod.member:
        sole = _sole(world, pod.uid)
        if sole and not world.running():
            outcome = Outcome.REFUSED
            world = _put_back(world, target)
        else:
            for _ in range(sole):
                world = _copied(world, pod.uid)
            if call.kind == "retire":
                world = _retired(world, pod, target)
    done = call._replace(targets=tuple(t._replace(outcome=outcome) if t == target else t for t in call.targets))
    kept = (done,) if done.owner else unawaited(done)
    return world._replace(calls=(*world.calls[:index], *kept, *world.calls[index + 1 :]))


def _retired(world: World, pod: Pod, target: Target) -> World:
    if pod.uid in world.tasks and not target.may_interrupt:
        raise Violation("ran twice", f"{pod.uid} was retired under a task")
    world = _without_copies(world, pod.uid)
    return world.with_pod(pod._replace(member=Member.NO, process=Process.LEFT))


def _copied(world: World, uid: int) -> World:
    load = {place: sum(place in key for key in world.keys) for place in world.running()}
    taker = min(load, key=lambda place: (load[place], place))
    keys = list(world.keys)
    keys[keys.index((uid,))] = tuple(sorted((uid, taker)))
    return world._replace(keys=tuple(sorted(keys)))


def _put_back(world: World, target: Target) -> World:
    pod = world.pod(target.uid)
    return world if pod is None or not pod.member else world.with_pod(pod._replace(member=target.before))


def _sole(world: World, uid: int) -> int:
    return world.keys.count((uid,))


def _answered(world: World, index: int, call: Call) -> World:
    world = world._replace(calls=(*world.calls[:index], *world.calls[index + 1 :]))
    for operator in world.operators:
        if operator.number == call.owner:
            listed = tuple(target.uid for target in call.targets if target.outcome is Outcome.OK)
            answer = Answer(call.kind, tuple(target.uid for target in call.targets), listed)
            return world.with_operator(operator._replace(answers=tuple(sorted((*operator.answers, answer)))))
    return world


def _tasks(world: World, rules: Rules) -> Iterator[Step]:
    waiting = world.tasks.count(STRANGER)
    if waiting:
        for pod in world.pods:
            if pod.member is Member.RUNNING:
                tasks = tuple(sorted((*world.tasks[1:], pod.uid)))
                yield f"a task starts on {pod.uid}", world._replace(tasks=tasks)
    for place in sorted(set(world.tasks) - {STRANGER}):
        tasks_left = list(world.tasks)
        tasks_left.remove(place)
        keys = (*world.keys, (place,)) if len(world.keys) < rules.keys + rules.tasks else world.keys
        yield f"a task ends on {place}", world._replace(tasks=tuple(tasks_left), keys=tuple(sorted(keys)))


def _aged(status: Status) -> Status:
    entries = tuple(
        entry._replace(since=True, asked=entry.asked is not None or None, drained=entry.drained is not None or None)
        for entry in status.entries
    )
    return status._replace(entries=entries)
