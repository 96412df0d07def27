"""What the operator does in the modelled world: the real plan on real snapshots, one request at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_k8s_operator.domain import handover, planner, snapshot
from dask_k8s_operator.domain.actions import Create, DeletePod, Drain, Retire
from dask_k8s_operator.domain.cluster import Cluster, Retirement, Retiring
from dask_k8s_operator.domain.manifests import scheduler_service
from dask_k8s_operator.domain.snapshot import (
    Detail,
    Listed,
    NotAsked,
    Owned,
    RetireCalls,
    Snapshot,
    Unreachable,
    Worker,
)
from tests.model.surroundings import start_call, unawaited
from tests.model.world import (
    STRANGER,
    Action,
    Base,
    Entry,
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
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask_k8s_operator.domain.actions import Plan
    from tests.model.surroundings import Step

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FRESH, OLD = NOW - timedelta(milliseconds=1), NOW - timedelta(hours=1)
DEADLINE = timedelta(minutes=10)
ALONE = 1
"""The number of the operator that there always is."""


class SeenCluster(NamedTuple):
    """The Cluster and its pods as they were read: of each pod uid, phase, resourceVersion and whether it is deleted."""

    rv: int
    replicas: int
    status: Status
    pods: tuple[tuple[int, Phase, int, bool, bool], ...]

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        yield from (pod[0] for pod in self.pods)
        yield from (entry.uid for entry in self.status.entries)

    def renamed(self, order: Mapping[int, int], alive: Mapping[int, int], rv: int) -> Any:
        """The same in terms of what it has in common with what is there now."""
        entries = tuple((order[e.uid], *e[1:8], tuple(order.get(u) for u in e.peers)) for e in self.status.entries)
        pods = tuple((order[p[0]], p[1], alive.get(p[0]) == p[2], p[3], p[4]) for p in self.pods)
        return self.rv == rv, self.replicas, self.status[0], entries, self.status[2:], pods


class SeenCalls(NamedTuple):
    """The operator's own register of calls."""

    in_flight: tuple[int, ...] = ()
    stalled: tuple[int, ...] = ()
    drained: tuple[int, ...] = ()
    moved: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        for part in self:
            yield from part

    def renamed(self, order: Mapping[int, int], _alive: Mapping[int, int], _rv: int) -> Any:
        """The same by rank."""
        return tuple(tuple(order[uid] for uid in part) for part in self)


class SeenDetail(NamedTuple):
    """What the scheduler's RPC port told; `known` is False where it can't be used."""

    known: bool
    running: tuple[int, ...] = ()
    executing: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        yield from self.turns
        yield from self.running
        yield from self.executing

    def renamed(self, order: Mapping[int, int], _alive: Mapping[int, int], _rv: int) -> Any:
        """The same by rank."""
        return self.known, *(tuple(order[uid] for uid in part) for part in self[1:])


class SeenWorkers(NamedTuple):
    """The scheduler's list; None where it gave none, or wasn't asked."""

    listed: tuple[int, ...] | None
    asked: bool = True


def operator_steps(world: World, rules: Rules) -> Iterator[Step]:
    """The next requests of each operator, as they go well."""
    for operator in world.operators:
        if operator.stage is Stage.IDLE and operator.passes == 0:
            continue
        if operator.stage is not Stage.ACT:
            yield f"operator {operator.number}: looks", _look(world, operator, rules)
        elif operator.status is not None:
            yield f"operator {operator.number}: writes the status", _write(world, operator)
        else:
            for action in _next(operator.actions):
                did = f"operator {operator.number}: {action.kind} {action.uids or action.name}"
                yield did, _finish(_act(world, operator, action, rules), operator.number, action)


def _next(actions: tuple[Action, ...]) -> Iterator[Action]:
    """The actions whose turn it may be: any, but new pods are all alike, so one of those will do."""
    created = False
    for action in actions:
        if action.kind != "create" or not created:
            yield action
        created = created or action.kind == "create"


def fault_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Crashes, lost requests and lost answers, as long as there is a budget for them."""
    if world.budget.crashes:
        less = world._replace(budget=world.budget._replace(crashes=world.budget.crashes - 1))
        first = world.operators[0]
        if first.stage is not Stage.IDLE or first.answers or any(c.owner == first.number for c in world.calls):
            yield "operator 1: is killed and started again", _orphaned(less.with_operator(Operator(ALONE)), ALONE)
    if not world.budget.faults:
        return
    world = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
    for index, call in enumerate(world.calls):
        if call.owner in {operator.number for operator in world.operators}:
            calls = (*world.calls[:index], *unawaited(call), *world.calls[index + 1 :])
            yield f"operator {call.owner}: gets no answer to {call.kind}", world._replace(calls=calls)
    for operator in world.operators:
        yield from _lost(world, operator, rules)


def _lost(world: World, operator: Operator, rules: Rules) -> Iterator[Step]:
    who = f"operator {operator.number}"
    given_up = operator._replace(stage=Stage.IDLE, seen=(), status=None, settles=frozenset(), actions=())
    if operator.stage is not Stage.ACT:
        if not (operator.stage is Stage.IDLE and operator.passes == 0):
            yield f"{who}: looks, and the scheduler doesn't answer", _look(world, operator, rules, answers=False)
    elif operator.status is not None:
        yield f"{who}: its status never arrives", world.with_operator(given_up)
        if operator.rv == world.rv:
            yield f"{who}: writes the status, hears nothing", _write(world, operator).with_operator(given_up)
    else:
        for action in _next(operator.actions):
            if action.kind in {"create", "delete"}:
                lost = _finish(world, operator.number, action)
                yield f"{who}: {action.kind} never arrives", lost
                if rules.late and action.kind == "create":
                    yield f"{who}: {action.kind} {action.name} is late", lost._replace(late=(*lost.late, action))


def late_steps(world: World, rules: Rules) -> Iterator[Step]:
    """Creations that arrive when nobody expects them any more."""
    for action in world.late:
        late = tuple(other for other in world.late if other is not action)
        yield f"the late create {action.name} arrives", _create(world._replace(late=late), action, rules)


def _look(world: World, operator: Operator, rules: Rules, *, answers: bool = True) -> World:
    """Read on: one thing at a time where `rules.split`, else all that is left."""
    while operator.stage is not Stage.ACT:
        if operator.stage is Stage.IDLE:
            part: Any = _see_cluster(world)
            operator = operator._replace(stage=Stage.PODS, seen=(part,))
        elif operator.stage is Stage.PODS:
            operator = operator._replace(stage=Stage.CALLS, seen=(*operator.seen, _see_calls(world, operator)))
            if not _needs_scheduler(rules, operator.seen[0]):
                silence = (SeenDetail(known=False), SeenWorkers(None, asked=False))
                return _decide(world, operator._replace(seen=(*operator.seen, *silence)), rules)
        elif operator.stage is Stage.CALLS and answers:
            operator = operator._replace(stage=Stage.DETAIL, seen=(*operator.seen, _see_detail(world, rules)))
        else:
            listed = tuple(p.uid for p in world.pods if p.member)
            seen = SeenWorkers((STRANGER, *listed) if world.stranger else listed) if answers else SeenWorkers(None)
            parts = operator.seen if operator.stage is Stage.DETAIL else (*operator.seen, SeenDetail(known=False))
            return _decide(world, operator._replace(seen=(*parts, seen)), rules)
        if rules.split and answers:
            break
    return world.with_operator(operator)


def _decide(world: World, operator: Operator, rules: Rules) -> World:
    status, actions = decide(rules, *operator.seen)
    calls: SeenCalls = operator.seen[1]
    settles = frozenset(calls.drained + calls.moved + calls.refused) - frozenset(calls.in_flight)
    operator = operator._replace(
        stage=Stage.ACT, rv=operator.seen[0].rv, seen=(), status=status, settles=settles, actions=actions
    )
    if status is None:
        operator = _settled(operator)
    return _ended(world.with_operator(operator), operator.number)


def _write(world: World, operator: Operator) -> World:
    if operator.rv != world.rv:
        given_up = operator._replace(status=None, settles=frozenset(), actions=())
        return _ended(world.with_operator(given_up), operator.number)
    assert operator.status is not None
    world = world._replace(status=operator.status, rv=world.rv + 1)
    operator = _settled(operator._replace(status=None, rv=world.rv))
    return _ended(world.with_operator(operator), operator.number)


def _settled(operator: Operator) -> Operator:
    kept = tuple(answer for answer in operator.answers if not set(answer.uids) <= operator.settles)
    return operator._replace(answers=kept, settles=frozenset())


def _finish(world: World, number: int, action: Action) -> World:
    operator = next(o for o in world.operators if o.number == number)
    left = list(operator.actions)
    left.remove(action)
    return _ended(world.with_operator(operator._replace(actions=tuple(left))), number)


def _ended(world: World, number: int) -> World:
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


def _act(world: World, operator: Operator, action: Action, rules: Rules) -> World:
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
    new = Pod(world.next_uid, action.name, base, Process.NONE, Phase.PENDING, Member.NO)
    world = world._replace(pods=(*world.pods, new), next_uid=world.next_uid + 1)
    retiring = {entry.uid for entry in world.status.entries}
    live = sum(not p.deleter and p.phase is not Phase.FINISHED and p.uid not in retiring for p in world.pods)
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


def _see_cluster(world: World) -> SeenCluster:
    pods = tuple((p.uid, p.phase, p.rv, bool(p.deleter), p.hidden) for p in world.pods)
    return SeenCluster(world.rv, world.replicas, world.status, pods)


def _see_calls(world: World, operator: Operator) -> SeenCalls:
    own = [call for call in world.calls if call.owner == operator.number]
    return SeenCalls(
        in_flight=_sorted(t.uid for call in own for t in call.targets),
        stalled=_sorted(t.uid for call in own if call.old for t in call.targets),
        drained=_sorted(uid for answer in operator.answers if answer.kind == "drain" for uid in answer.listed),
        moved=_sorted(uid for answer in operator.answers if answer.kind == "retire" for uid in answer.listed),
        refused=_sorted(uid for answer in operator.answers for uid in answer.uids if uid not in answer.listed),
    )


def _see_detail(world: World, rules: Rules) -> SeenDetail:
    if not rules.rpc:
        return SeenDetail(known=False)
    load = {p.uid: sum(p.uid in key for key in world.keys) for p in world.pods if p.member}
    executing = tuple(sorted(set(world.tasks) & set(load)))
    turns = sorted(load, key=lambda uid: (uid in executing, load[uid], uid))
    return SeenDetail(known=True, running=tuple(sorted(world.running())), executing=executing, turns=tuple(turns))


def _sorted(uids: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(uids)))


@lru_cache(maxsize=100_000)
def _needs_scheduler(rules: Rules, seen: SeenCluster) -> bool:
    return planner.needs_scheduler(_cluster(rules, seen), _pods(seen))


def _address(uid: int, hidden: frozenset[int]) -> str:
    """Where a worker listens; a hidden one's tells nothing of its pod."""
    return f"tcp://{'192.168' if uid in hidden else '10.0'}.{uid // 200}.{uid % 200}:9000"


def _uid_of(address: str) -> int:
    high, low = address.rpartition(":")[0].split(".")[-2:]
    return int(high) * 200 + int(low)


def _hidden(seen: SeenCluster) -> frozenset[int]:
    return frozenset(pod[0] for pod in seen.pods if pod[4])


def decide(
    rules: Rules, cluster: SeenCluster, calls: SeenCalls, detail: SeenDetail, workers: SeenWorkers
) -> tuple[Status | None, tuple[Action, ...]]:
    """The real plan's status, None where it stands as it is, and its actions."""
    return _decided(rules, cluster, calls, detail, workers)


def _decided_once(
    rules: Rules, cluster: SeenCluster, calls: SeenCalls, detail: SeenDetail, workers: SeenWorkers
) -> tuple[Status | None, tuple[Action, ...]]:
    made = _snapshot(rules, cluster, calls, detail, workers)
    plan = planner.plan(made, NOW)
    peers = _digests(workers.listed or (), cluster)
    assert plan.status is not None
    status = _status(plan, peers, rules)
    creations = sum(isinstance(action, Create) for action in plan.actions)
    base = Base(cluster.rv, tuple(pod[0] for pod in cluster.pods), creations)
    entries = {entry.uid: entry for entry in status.entries}
    actions = [_action(a, rules, cluster, detail, entries, base) for a in plan.actions]
    _check_patience(actions, cluster, calls, entries)
    return None if status == cluster.status else status, tuple(actions)


_decided = lru_cache(maxsize=500_000)(_decided_once)


def forget_decisions() -> None:
    """To be called when the planner has been changed."""
    if hasattr(_decided, "cache_clear"):
        _decided.cache_clear()
    _needs_scheduler.cache_clear()


def _check_patience(
    actions: list[Action], cluster: SeenCluster, calls: SeenCalls, entries: Mapping[int, Entry]
) -> None:
    """Raise where a worker is asked for again at once, though nobody new could take its data."""
    before = {entry.uid: entry for entry in cluster.status.entries}
    for action in actions:
        for uid in action.uids if action.kind in {"drain", "retire"} else ():
            old = before.get(uid)
            just_asked = old is not None and old.asked is False and old.peers == entries[uid].peers
            if just_asked and (uid in calls.refused or before[uid].refused):
                raise Violation("spins", f"{action.kind} of {uid} right after a refusal")


def _action(  # noqa: PLR0917 -- all that was seen, and what was made of it
    action: object,
    rules: Rules,
    cluster: SeenCluster,
    detail: SeenDetail,
    entries: Mapping[int, Entry],
    base: Base,
) -> Action:
    match action:
        case Create():
            return Action("create", name=action.name, base=base, limit=cluster.replicas)
        case DeletePod():
            uid = int(action.uid)
            version = int(action.resource_version) if action.resource_version else -1
            overdue = rules.deadline and uid in entries and entries[uid].since
            return Action("delete", (uid,), limit=version, excused=(uid,) if overdue else ())
        case Drain() | Retire():
            kind = "drain" if isinstance(action, Drain) else "retire"
            uids = _sorted(_uid_of(a) for a in action.addresses)
            late = tuple(u for u in uids if not detail.known or (u in entries and entries[u].drained))
            return Action(kind, uids, excused=late)
    raise AssertionError(action)


def _snapshot(
    rules: Rules, cluster: SeenCluster, calls: SeenCalls, detail: SeenDetail, workers: SeenWorkers
) -> Snapshot:
    hidden = _hidden(cluster)

    def where(uid: int) -> str:
        return _address(uid, hidden)

    def worker(uid: int) -> Worker:
        return Worker("other" if uid == STRANGER or uid in hidden else _name(uid), where(uid))

    view: snapshot.SchedulerView = NotAsked()
    if workers.listed is not None:
        told = Detail(
            running=frozenset(where(u) for u in detail.running),
            executing={where(u): int(u in detail.executing) for u in detail.turns},
            held_bytes=dict.fromkeys((where(u) for u in workers.listed), 0),
            closable=tuple(where(u) for u in detail.turns),
        )
        view = Listed(tuple(worker(u) for u in workers.listed), told if detail.known else None)
    elif workers.asked:
        view = Unreachable("it is busy")
    return Snapshot(
        cluster=_cluster(rules, cluster),
        deployment=Owned(ours=True, ready=True),
        service=_service(),
        scheduler_pods=(_pod(0, Phase.STARTED, 0, deleted=False),),
        worker_pods=_pods(cluster),
        scheduler=view,
        calls=RetireCalls(*(frozenset(where(u) for u in part) for part in calls)),
    )


def _cluster(rules: Rules, seen: SeenCluster) -> Cluster:
    return Cluster(
        namespace="default",
        name="c",
        uid="cluster",
        resource_version=str(seen.rv),
        generation=1,
        terminating=False,
        image="image",
        scheduler_template={},
        scheduler_service={},
        replicas=seen.replicas,
        worker_template={},
        retirement=Retirement(
            drain=timedelta(seconds=60), timeout=DEADLINE if rules.deadline else None, delete_on_timeout=rules.deadline
        ),
        retiring=tuple(_retiring(entry, _hidden(seen)) for entry in seen.status.entries),
        status={},
    )


@lru_cache(maxsize=1)
def _service() -> Owned:
    nothing = SeenCluster(0, 0, Status(observed=False, entries=(), blocked="", live=0, ready=0), ())
    made = scheduler_service(_cluster(Rules(workers=0, keys=0), nothing))
    return Owned(ours=True, metadata=made["metadata"], spec=made["spec"])


def _pods(seen: SeenCluster) -> tuple[snapshot.Pod, ...]:
    return tuple(_pod(uid, phase, rv, deleted=deleted) for uid, phase, rv, deleted, _ in seen.pods)


def _pod(uid: int, phase: Phase, rv: int, *, deleted: bool) -> snapshot.Pod:
    return snapshot.Pod(
        name=_name(uid),
        uid=str(uid),
        resource_version=str(rv),
        ip=_address(uid, frozenset())[6:-5] if phase is not Phase.PENDING else None,
        created=OLD + timedelta(seconds=uid),
        started=phase is not Phase.PENDING,
        ready=phase is Phase.STARTED,
        finished=phase is Phase.FINISHED,
        terminating=deleted,
        ran_seconds=3600,
        finished_at=NOW if phase is Phase.FINISHED else None,
    )


def _name(uid: int) -> str:
    return f"c-worker-{uid:04}"


def _retiring(entry: Entry, hidden: frozenset[int]) -> Retiring:
    def time(old: bool | None) -> datetime | None:
        return None if old is None else OLD if old else FRESH

    drained, moment = time(entry.drained), timedelta(microseconds=1 - entry.sequence)
    return Retiring(
        name=_name(entry.uid),
        uid=str(entry.uid),
        addresses=(_address(entry.uid, hidden),) if entry.addressed else (),
        since=OLD if entry.since else FRESH,
        asked=time(entry.asked),
        attempts=0 if entry.asked is None else 1,
        peers=_digest(entry.peers, hidden) if entry.asked is not None else "",
        drained=None if drained is None else drained + moment,
        moved=entry.moved,
        refused=entry.refused,
    )


def _status(plan: Plan, peers: Mapping[str, tuple[int, ...]], rules: Rules) -> Status:
    assert plan.status is not None
    workers = plan.status["workers"]
    conditions = {condition["type"]: condition for condition in plan.status["conditions"]}
    entries = tuple(_entry(Retiring.from_status(entry), peers, rules) for entry in workers["retiring"])
    blocked = "blocked" if conditions["ScaleDownBlocked"]["status"] == "True" else ""
    return Status(observed=True, entries=entries, blocked=blocked, live=workers["count"], ready=workers["ready"])


def _entry(entry: Retiring, peers: Mapping[str, tuple[int, ...]], rules: Rules) -> Entry:
    def old(time: datetime | None) -> bool | None:
        return None if time is None else NOW - time > timedelta(minutes=1)

    return Entry(
        uid=int(entry.uid),
        addressed=bool(entry.addresses),
        since=bool(old(entry.since)) or not rules.deadline,  # nothing else depends on it
        asked=old(entry.asked),
        drained=old(entry.drained),
        sequence=_order(entry.asked, entry.drained),
        moved=entry.moved,
        refused=entry.refused,
        peers=peers[entry.peers],
    )


def _order(asked: datetime | None, drained: datetime | None) -> int:
    if asked is None or drained is None:
        return 0
    return 1 + (asked > drained) - (asked < drained)


def _digests(listed: tuple[int, ...], cluster: SeenCluster) -> dict[str, tuple[int, ...]]:
    """What each digest that can stand in a status now was made of."""
    hidden = _hidden(cluster)
    known = {_digest(entry.peers, hidden): entry.peers for entry in cluster.status.entries}
    for count in range(len(listed) + 1):
        known |= {_digest(some, hidden): some for some in combinations(listed, count)}
    return {**known, "": ()}


@lru_cache(maxsize=10_000)
def _digest(uids: tuple[int, ...], hidden: frozenset[int]) -> str:
    return handover.digest(frozenset(_address(uid, hidden) for uid in uids))
