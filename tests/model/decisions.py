"""What the operator decides in the modelled world: the real plan on real snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from dask_k8s_operator.domain import handover, planner, snapshot
from dask_k8s_operator.domain.actions import Create, DeletePod, Drain, Retire
from dask_k8s_operator.domain.cluster import Cluster, Retirement, Retiring, UpdateStrategy
from dask_k8s_operator.domain.manifests import scheduler_service
from dask_k8s_operator.domain.revision import worker_revision
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
from tests.model.sight import SeenCluster, as_set
from tests.model.world import STRANGER, Action, Base, Entry, Phase, Rules, Status, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_k8s_operator.domain.actions import Plan
    from tests.model.sight import SeenCalls, SeenDetail, SeenWorkers

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FRESH, OLD = NOW - timedelta(milliseconds=1), NOW - timedelta(hours=1)
DEADLINE = timedelta(minutes=10)
NOTHING = SeenCluster(0, 0, 0, Status(()), ())
ATTEMPTS = 3
"""How often a worker was asked for by the time that the status says so: often enough for a longer pause."""


@lru_cache(maxsize=100_000)
def needs_scheduler(rules: Rules, seen: SeenCluster) -> bool:
    """Whether the operator asks the scheduler for anything before it decides."""
    return planner.needs_scheduler(_cluster(rules, seen), _pods(rules, seen))


def _address(uid: int, hidden: frozenset[int]) -> str:
    """Where a worker listens; a hidden one's tells nothing of its pod."""
    return f"tcp://{'192.168' if uid in hidden else '10.0'}.{uid // 200}.{uid % 200}:9000"


def _uid_of(address: str) -> int:
    high, low = address.rpartition(":")[0].split(".")[-2:]
    return int(high) * 200 + int(low)


def _hidden(seen: SeenCluster) -> frozenset[int]:
    return frozenset(pod.uid for pod in seen.pods if pod.hidden)


class Decision(NamedTuple):
    """What comes of a look.

    Attributes:
        status: None where it stands as it is.
        actions: what to do.
        blocked: a reason is told why a scale-down doesn't go on.
    """

    status: Status | None
    actions: tuple[Action, ...]
    blocked: bool


def decide(rules: Rules, cluster: SeenCluster, calls: SeenCalls, detail: SeenDetail, workers: SeenWorkers) -> Decision:
    """What the real plan comes to."""
    return _decided(rules, cluster, calls, detail, workers)


def _decided_once(
    rules: Rules, cluster: SeenCluster, calls: SeenCalls, detail: SeenDetail, workers: SeenWorkers
) -> Decision:
    made = _snapshot(rules, cluster, calls, detail, workers)
    plan = planner.plan(made, NOW)
    peers = _digests(workers.listed or (), cluster)
    assert plan.status is not None
    status = _status(plan, peers, rules)
    creations = sum(isinstance(action, Create) for action in plan.actions)
    base = Base(cluster.rv, tuple(pod.uid for pod in cluster.pods), creations)
    entries = {entry.uid: entry for entry in status.entries}
    actions = [_action(a, rules, cluster, detail, entries, base) for a in plan.actions]
    _check_patience(actions, cluster, calls, entries)
    blocked = any(c["type"] == "ScaleDownBlocked" and c["status"] == "True" for c in plan.status["conditions"])
    return Decision(None if status == cluster.status else status, tuple(actions), blocked)


_decided = lru_cache(maxsize=500_000)(_decided_once)


def forget_decisions() -> None:
    """To be called when the planner has been changed."""
    if hasattr(_decided, "cache_clear"):
        _decided.cache_clear()
    needs_scheduler.cache_clear()


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
            limit = max(cluster.replicas, _heir(cluster, detail)) + (rules.surge if _is_rolling(cluster) else 0)
            return Action("create", name=action.name, base=base, limit=limit, template=cluster.template)
        case DeletePod():
            uid = int(action.uid)
            version = int(action.resource_version) if action.resource_version else -1
            overdue = rules.deadline and uid in entries and entries[uid].since
            return Action("delete", (uid,), limit=version, excused=(uid,) if overdue else ())
        case Drain() | Retire():
            kind = "drain" if isinstance(action, Drain) else "retire"
            uids = as_set(_uid_of(a) for a in action.addresses)
            leaving = {pod.uid for pod in cluster.pods if pod.deleted}
            late = tuple(u for u in uids if u in leaving or (u in entries and _is_late(entries[u], detail)))
            return Action(kind, uids, excused=late)
    raise AssertionError(action)


def _is_late(entry: Entry, detail: SeenDetail) -> bool:
    """Whether its tasks have had their time, or nobody can know of them."""
    return bool(entry.drained) or (not detail.known and (entry.since or not detail.asked))


def _heir(cluster: SeenCluster, detail: SeenDetail) -> int:
    """One worker is made though none are wanted, for what a pod holds that somebody deletes."""
    return int(any(pod.deleted and (pod.uid in detail.holding or not detail.known) for pod in cluster.pods))


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
            held_bytes={where(u): int(u in detail.holding) for u in (*detail.turns, STRANGER)},
            closable=tuple(where(u) for u in detail.turns),
            silent=frozenset(where(u) for u in detail.silent),
        )
        view = Listed(
            tuple(worker(u) for u in workers.listed),
            told if detail.known else Unreachable("it is busy") if detail.asked else None,
        )
    elif workers.asked:
        view = Unreachable("it is busy")
    return Snapshot(
        cluster=_cluster(rules, cluster),
        deployment=Owned(ours=True, ready=True),
        service=_service(),
        scheduler_pods=(_pod(0, Phase.STARTED, 0, deleted=False, revision=None),),
        worker_pods=_pods(rules, cluster),
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
        worker_template=_template(seen.template),
        retirement=Retirement(
            drain=timedelta(seconds=60), timeout=DEADLINE if rules.deadline else None, delete_on_timeout=rules.deadline
        ),
        retiring=tuple(_retiring(entry, _hidden(seen)) for entry in seen.status.entries),
        status={},
        update=UpdateStrategy(max_surge=rules.surge, max_unavailable=rules.unavailable),
    )


@lru_cache(maxsize=1)
def _service() -> Owned:
    made = scheduler_service(_cluster(Rules(workers=0, keys=0), NOTHING))
    return Owned(ours=True, metadata=made["metadata"], spec=made["spec"])


def _template(number: int) -> dict[str, dict[str, dict[str, str]]]:
    return {"metadata": {"labels": {"number": str(number)}}}


def _is_rolling(seen: SeenCluster) -> bool:
    return any(pod.template != seen.template and not pod.deleted for pod in seen.pods)


@lru_cache(maxsize=100)
def _revision(rules: Rules, template: int) -> str:
    return worker_revision(_cluster(rules, NOTHING._replace(template=template)))


def _pods(rules: Rules, seen: SeenCluster) -> tuple[snapshot.Pod, ...]:
    return tuple(
        _pod(pod.uid, pod.phase, pod.rv, deleted=pod.deleted, revision=_revision(rules, pod.template))
        for pod in seen.pods
    )


def _pod(uid: int, phase: Phase, rv: int, *, deleted: bool, revision: str | None) -> snapshot.Pod:
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
        revision=revision,
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
        attempts=0 if entry.asked is None else ATTEMPTS,
        peers=_digest(entry.peers, hidden) if entry.asked is not None else "",
        drained=None if drained is None else drained + moment,
        moved=entry.moved,
        refused=entry.refused,
    )


def _status(plan: Plan, peers: Mapping[str, tuple[int, ...]], rules: Rules) -> Status:
    assert plan.status is not None
    workers = plan.status["workers"]
    entries = tuple(_entry(Retiring.from_status(entry), peers, rules) for entry in workers["retiring"])
    return Status(entries)


def _entry(entry: Retiring, peers: Mapping[str, tuple[int, ...]], rules: Rules) -> Entry:
    def old(time: datetime | None) -> bool | None:
        return None if time is None else NOW - time > timedelta(minutes=1)

    return Entry(
        uid=int(entry.uid),
        addressed=bool(entry.addresses),
        since=bool(old(entry.since)) or not (rules.deadline or rules.faults),  # nothing else depends on it
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
