"""What happens to a Cluster without its operator: the kubelet, the preStop hooks, users and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.model.scheduler import (
    answer_steps,
    being_removed,
    killed,
    over_for,
    progress_steps,
    start_call,
    task_steps,
    without_copies,
)
from tests.model.world import HOOK, STRANGER, Frozen, Member, Phase, Process, Stage, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.scheduler import Step
    from tests.model.world import Pod, Rules, Status, World


def natural_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What happens by itself, sooner or later."""
    for pod in world.pods:
        yield from report_steps(world, pod, rules)
        yield from worker_steps(world, pod, rules)
    yield from progress_steps(world)
    yield from answer_steps(world)
    yield from task_steps(world, rules)


def report_steps(world: World, pod: Pod, rules: Rules) -> Iterator[Step]:
    """What the kubelet does for a pod, as far as it doesn't concern the scheduler."""
    if pod.phase is Phase.FINISHED:
        return
    elif pod.process is Process.LEFT:
        finished = pod._replace(phase=Phase.FINISHED, rv=pod.rv + 1)
        yield f"{pod.uid} exits and is reported", world.with_pod(finished)
    else:
        if pod.phase is Phase.PENDING or pod.restarted:
            report = pod._replace(phase=Phase.STARTED, restarted=False, rv=pod.rv + 1)
            yield f"the kubelet reports the start of {pod.uid}", world.with_pod(report)
        if pod.deleter and not pod.member:
            yield f"{pod.uid} gets its signal", _destroyed(world, pod, rules)


def worker_steps(world: World, pod: Pod, rules: Rules) -> Iterator[Step]:
    """What a pod's worker does that concerns the scheduler."""
    if pod.process is not Process.UP or pod.phase is Phase.FINISHED:
        return
    if pod.frozen:
        yield f"{pod.uid} goes on", world.with_pod(pod._replace(frozen=Frozen.NO))
    if not pod.member and _may_register(world, pod, rules):
        yield f"the worker of {pod.uid} registers", world.with_pod(pod._replace(member=Member.RUNNING))
    if pod.deleter and pod.member and (not rules.hook or pod.hidden):
        yield f"{pod.uid} gets its signal", _destroyed(world, pod, rules)


def hook_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What the hooks of pods that are being deleted ask for, once the operator has had its turn."""
    for pod in world.pods:
        owner = HOOK + pod.uid
        waits = being_removed(world) or any(call.owner == owner for call in world.calls)
        if rules.hook and pod.alone and pod.member and not pod.hidden and not waits:
            yield f"the hook of {pod.uid} asks", start_call(world, owner, "retire", (pod.uid,), excused=(pod.uid,))


def user_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What users, and the failures that nobody can prevent, may do."""
    yield from spec_steps(world, rules)
    yield from delete_steps(world, world.pods, rules)
    yield from client_steps(world, rules)


def spec_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What users do to the Cluster."""
    if not world.budget.user:
        return
    world = _spent(world)
    changed = world._replace(rv=world.rv + 1)
    if "scale" in rules.user:
        for replicas in range(rules.workers + 1):
            if replicas != world.replicas:
                yield f"a user scales to {replicas}", changed._replace(replicas=replicas)
    if "edit" in rules.user:
        yield "a user changes the template", changed._replace(template=1 - world.template)


def delete_steps(world: World, pods: tuple[Pod, ...], rules: Rules) -> Iterator[Step]:
    """Some pods that users may delete."""
    if "delete" in rules.user and world.budget.user:
        world = _spent(world)
        for pod in pods:
            if not pod.deleter:
                yield f"a user deletes {pod.uid}", world.with_pod(pod._replace(deleter="user", rv=pod.rv + 1))


def client_steps(world: World, rules: Rules) -> Iterator[Step]:
    """What users do to the scheduler and its workers, and what happens to those."""
    if not world.budget.user:
        return
    world = _spent(world)
    for pod in world.pods:
        yield from _done_to_a_worker(world, pod, rules)
    if "release" in rules.user:
        for key in sorted(set(world.keys)):
            keys = list(world.keys)
            keys.remove(key)
            yield f"a client releases a key of {key}", world._replace(keys=tuple(keys))
    if "submit" in rules.user and len(world.tasks) < rules.tasks:
        yield "a client submits a task", world._replace(tasks=(STRANGER, *world.tasks))


def time_passes(world: World) -> World:
    """The world once everything is older than every deadline."""

    def aged(part: Any) -> Any:
        return part._replace(status=_aged(part.status)) if hasattr(part, "status") else part

    return world._replace(
        status=_aged(world.status),
        pods=tuple(
            pod._replace(alone=bool(pod.deleter), frozen=Frozen.SILENT if pod.frozen else Frozen.NO)
            for pod in world.pods
        ),
        calls=tuple(call._replace(old=0 < call.owner < HOOK) for call in world.calls),
        operators=tuple(
            o._replace(status=_aged(o.status) if o.status else None, seen=tuple(aged(part) for part in o.seen))
            for o in world.operators
        ),
    )


def _spent(world: World) -> World:
    return world._replace(budget=world.budget._replace(user=world.budget.user - 1))


def _done_to_a_worker(world: World, pod: Pod, rules: Rules) -> Iterator[Step]:
    if "kill" in rules.user and pod.member and not pod.deleter:
        yield f"the process of {pod.uid} is killed and starts again", killed(world, pod)
    if "put" in rules.user and pod.member is Member.RUNNING and len(world.keys) < rules.keys:
        yield f"a client puts a key on {pod.uid}", world._replace(keys=tuple(sorted((*world.keys, (pod.uid,)))))
    if "freeze" in rules.user and pod.member and not pod.frozen:
        yield f"{pod.uid} freezes", world.with_pod(pod._replace(frozen=Frozen.YES))


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
    world = without_copies(over_for(world, pod.uid), pod.uid)
    return world._replace(pods=tuple(other for other in world.pods if other.uid != pod.uid))


def _aged(status: Status) -> Status:
    entries = tuple(
        entry._replace(since=True, asked=entry.asked is not None or None, drained=entry.drained is not None or None)
        for entry in status.entries
    )
    return status._replace(entries=entries)
