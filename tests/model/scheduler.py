"""What Dask's scheduler does in the modelled world: calls to drain and retire workers, keys, tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.world import HOOK, STRANGER, Answer, Call, Frozen, Member, Outcome, Process, Target, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.world import Pod, Rules, World

Step = tuple[str, "World"]
"""What happens, for people, and what comes of it."""


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
    stuck = [t for t in targets if t.outcome is Outcome.PENDING and (t.uid,) in world.keys and not world.running()]
    call = Call(owner, kind, tuple(t._replace(outcome=Outcome.REFUSED) if t in stuck else t for t in targets))
    for target in stuck:
        world = _put_back(world, target)
    return world._replace(calls=(*world.calls, *kept(call)))


def unawaited(call: Call) -> tuple[Call, ...]:
    """What is left of a call whose answer nobody waits for."""
    return kept(call._replace(owner=0, old=False))


def kept(call: Call) -> tuple[Call, ...]:
    """The call, unless it is over and makes no difference any more.

    An answer to a hook has none: it asks again, if at all, when it likes.
    """
    return (call,) if 0 < call.owner < HOOK or not _is_over(call) else ()


def progress_steps(world: World) -> Iterator[Step]:
    """Calls that go on."""
    for index, call in enumerate(world.calls):
        for target in call.targets:
            did = f"the scheduler goes on with {call.kind} of {target.uid}"
            for how, (outcome, after) in _progress(world, call, target):
                yield f"{did}{how}", _with(after, index, target, outcome)


def answer_steps(world: World) -> Iterator[Step]:
    """Answers that arrive at an operator."""
    for index, call in enumerate(world.calls):
        if _is_over(call):
            yield f"the answer to {call.kind} arrives at {call.owner}", _answered(world, index, call)


def task_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Tasks that start and end."""
    waiting = world.tasks.count(STRANGER)
    if waiting:
        for pod in world.pods:
            if pod.member is Member.RUNNING and not pod.frozen:
                tasks = tuple(sorted((*world.tasks[1:], pod.uid)))
                yield f"a task starts on {pod.uid}", world._replace(tasks=tasks)
    for place in sorted(set(world.tasks) - {STRANGER} - being_removed(world)):
        pod_of = world.pod(place)
        if pod_of is not None and pod_of.frozen:
            continue
        tasks_left = list(world.tasks)
        tasks_left.remove(place)
        keys = (*world.keys, (place,)) if len(world.keys) < rules.keys + rules.tasks else world.keys
        yield f"a task ends on {place}", world._replace(tasks=tuple(tasks_left), keys=tuple(sorted(keys)))


def killed(world: World, pod: Pod) -> World:
    """A worker's process died: there is nothing left to be moved."""
    world = without_copies(over_for(world, pod.uid), pod.uid)
    return world.with_pod(pod._replace(member=Member.NO, restarted=True, frozen=Frozen.NO))


def over_for(world: World, uid: int) -> World:
    """Calls that name a worker which is gone list it at once: nothing else can come of them for it any more."""

    def over(target: Target) -> Target:
        return target._replace(outcome=Outcome.OK) if target.uid == uid and _is_pending(target) else target

    calls = (call._replace(targets=tuple(over(target) for target in call.targets)) for call in world.calls)
    return world._replace(calls=tuple(left for call in calls for left in kept(call)))


def without_copies(world: World, uid: int) -> World:
    """The world without what a worker has and does."""
    keys = [tuple(holder for holder in key if holder != uid) for key in world.keys]
    tasks = sorted(STRANGER if place == uid else place for place in world.tasks)
    return world._replace(keys=tuple(sorted(key for key in keys if key)), tasks=tuple(tasks))


def being_removed(world: World, *, by_hooks: bool = False) -> set[int]:
    """Workers that the scheduler is about to remove, which takes it half a second; `by_hooks`: what hooks asked for."""
    return {
        target.uid
        for call in world.calls
        if not by_hooks or call.owner >= HOOK
        for target in call.targets
        if target.outcome is Outcome.THROUGH
    }


def takes_no_time(world: World) -> bool:
    """Whether the scheduler is in the middle of what doesn't take long.

    That is the removal of a worker, and a call that nobody awaits any more, or whose answer may yet get lost, unless a
    worker in it stands still: that such a call is over after some time is what the operator goes by
    (`handover.GOES_ON`).
    """
    still = {pod.uid for pod in world.pods if pod.frozen}
    may_get_lost = world.budget.crashes or world.budget.faults
    unawaited = [call for call in world.calls if call.owner == 0 or (may_get_lost and call.owner < HOOK)]
    going_on = {target.uid for call in unawaited for target in call.targets if _is_pending(target)}
    return bool(being_removed(world)) or bool(going_on - still)


def _is_pending(target: Target) -> bool:
    return target.outcome in {Outcome.PENDING, Outcome.THROUGH}


def _is_over(call: Call) -> bool:
    return not any(_is_pending(target) for target in call.targets)


def _progress(world: World, call: Call, target: Target) -> Iterator[tuple[str, tuple[Outcome, World]]]:
    """One target's next phase: its keys get other copies, and only later it is removed.

    `distributed.active_memory_manager.RetireWorker`: where a running worker has a copy, too, the own one is dropped,
    unless a task there needs it. Where only workers that are leaving have copies, one more is made elsewhere, or the
    own one is dropped: all but the last of them, and one that is about to be removed by *another* call counts.
    """
    if not _is_pending(target):
        return
    pod = world.pod(target.uid)
    assert pod is not None, "calls list whoever is gone"
    if pod.frozen:
        return
    if target.outcome is Outcome.THROUGH:
        yield ", and removes it", (Outcome.OK, _removed(world, pod, target))
    else:
        through = Outcome.OK if call.kind == "drain" else Outcome.THROUGH
        leaving = {t.uid for t in call.targets if t.outcome is Outcome.THROUGH}
        for how, keeps in ((", and it keeps its copies", True), ("", False)):
            shed = world if keeps else _shed(world, pod.uid, leaving)
            if shed == world and not keeps:
                continue
            if _unsaved(shed, pod.uid) and not set(shed.running()) - {pod.uid}:
                yield f"{how}: refused", (Outcome.REFUSED, _put_back(shed, target))
            elif (moved := _moved(shed, pod.uid)) is not None:
                yield how, (through, moved)


def _shed(world: World, uid: int, leaving: set[int]) -> World:
    """Without the copies on the worker of keys that others have, too, and not only those that this call removes."""
    keys = [
        tuple(holder for holder in key if holder != uid) if uid in key and set(key) - {uid} - leaving else key
        for key in world.keys
    ]
    return world._replace(keys=tuple(sorted(keys)))


def _moved(world: World, uid: int) -> World | None:
    """With copies elsewhere of the keys that nobody else who stays has; None while nobody can take them."""
    for _ in range(_unsaved(world, uid)):
        load = {place: sum(place in key for key in world.keys) for place in _takers(world, uid)}
        if not load:
            return None
        taker = min(load, key=lambda place: (load[place], place))
        keys = list(world.keys)
        running = set(world.running()) - {uid}
        key = next(key for key in keys if uid in key and not running & set(key))
        keys[keys.index(key)] = tuple(sorted((*key, taker)))
        world = world._replace(keys=tuple(sorted(keys)))
    return world


def _takers(world: World, uid: int) -> list[int]:
    others = {uid} | {pod.uid for pod in world.pods if pod.frozen}
    return [place for place in world.running() if place not in others]


def _unsaved(world: World, uid: int) -> int:
    """How many keys on the worker have no copy on one that runs."""
    running = set(world.running()) - {uid}
    return sum(uid in key and not running & set(key) for key in world.keys)


def _removed(world: World, pod: Pod, target: Target) -> World:
    if pod.uid in world.tasks and not target.may_interrupt:
        raise Violation("ran twice", f"{pod.uid} was retired under a task")
    if (pod.uid,) in world.keys:
        raise Violation("lost", f"a key went with {pod.uid}: another call dropped the copy that was counted on")
    world = without_copies(world, pod.uid)
    return world.with_pod(pod._replace(member=Member.NO, process=Process.LEFT))


def _put_back(world: World, target: Target) -> World:
    pod = world.pod(target.uid)
    if target.uid in being_removed(world):
        return world
    return world if pod is None or not pod.member else world.with_pod(pod._replace(member=target.before))


def _with(world: World, index: int, target: Target, outcome: Outcome) -> World:
    call = world.calls[index]
    done = call._replace(targets=tuple(t._replace(outcome=outcome) if t == target else t for t in call.targets))
    world = world._replace(calls=(*world.calls[:index], *kept(done), *world.calls[index + 1 :]))
    pod = world.pod(target.uid)
    return world if pod is not None and pod.member else over_for(world, target.uid)


def _answered(world: World, index: int, call: Call) -> World:
    world = world._replace(calls=(*world.calls[:index], *world.calls[index + 1 :]))
    for operator in world.operators:
        if operator.number == call.owner:
            listed = tuple(target.uid for target in call.targets if target.outcome is Outcome.OK)
            answer = Answer(call.kind, tuple(target.uid for target in call.targets), listed)
            return world.with_operator(operator._replace(answers=tuple(sorted((*operator.answers, answer)))))
    return world
