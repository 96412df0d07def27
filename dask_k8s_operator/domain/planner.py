"""The decision: what one look at a Cluster and its surroundings calls for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain import names, schedulerupdate
from dask_k8s_operator.domain.actions import Action, Create, DeletePod, Plan
from dask_k8s_operator.domain.blockage import why_blocked
from dask_k8s_operator.domain.cluster import Cluster, Retiring
from dask_k8s_operator.domain.conditions import NO_TIME, scale_down_blocked
from dask_k8s_operator.domain.handover import can_be_taken_back, learn, requests, under_way
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service, worker_pod
from dask_k8s_operator.domain.retirement import Holdings
from dask_k8s_operator.domain.revision import outdated
from dask_k8s_operator.domain.rollout import is_rolling, plain, roll
from dask_k8s_operator.domain.scaling import scale
from dask_k8s_operator.domain.snapshot import QUICK_EXIT
from dask_k8s_operator.domain.status import cluster_status
from dask_k8s_operator.domain.suspension import suspend
from dask_k8s_operator.domain.templates import ask_again_after, with_faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask_k8s_operator.domain.snapshot import Pod, Snapshot
    from dask_k8s_operator.domain.templates import TemplateCheck

RESYNC = timedelta(minutes=5)
"""When a Cluster is looked at again though nothing happened: events can be lost."""

POLL = timedelta(seconds=5)
"""When it is looked at again while something is awaited that no event tells, such as the scheduler's answer."""

FOREIGN = timedelta(seconds=30)
"""When it is looked at again while somebody else's objects have the names of its own."""

OVERDUE_GRACE_SECONDS = 5
"""How long a pod may take to end that is deleted with its data, since the time for handing that over is up. With the
grace period of its template, 300 s by default, its preStop hook would go on asking for what has been refused."""


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide what is to be done, from what is there alone.

    Args:
        snapshot: what was read.
        now: the time, in UTC.
    """
    if snapshot.cluster.terminating:
        # The garbage collector removes everything that the Cluster owns; nothing is made or asked for any more.
        return Plan(status=None, actions=(), requeue_after=RESYNC)
    templates = with_faults(snapshot.cluster, snapshot.templates)
    scaling = scale(snapshot, now)
    workers = _plan_workers(snapshot, templates, now, soon=scaling.replicas_of(snapshot.cluster))
    blocked = scale_down_blocked(snapshot.cluster, workers.retiring, workers.blocked)
    suspension = suspend(snapshot, blocked=blocked, now=now)
    creations = _creations(
        snapshot, templates, missing=workers.missing, why=workers.why_missing, schedulers=suspension.schedulers
    )
    update = schedulerupdate.decide(snapshot, templates, suspension, now)
    status = cluster_status(
        snapshot,
        retiring=workers.retiring,
        ending=workers.ending,
        missing=workers.missing,
        blocked=blocked,
        suspension=suspension,
        templates=templates,
        scaling=scaling,
        update=update,
        now=now,
    )
    # No event tells that what others have made is gone.
    foreign = FOREIGN if snapshot.foreign else None
    asking = (ask_again_after(snapshot.cluster, templates, now), scaling.again, suspension.again, update.again, foreign)
    again = (workers.requeue_after, *asking, *_slow(snapshot, now))
    return Plan(
        status=None if status == snapshot.cluster.status else status,
        actions=(*workers.actions, *creations, *update.actions, *([scaling.action] if scaling.action else [])),
        requeue_after=min(time for time in again if time is not None),
    )


def needs_scheduler(cluster: Cluster, worker_pods: tuple[Pod, ...]) -> bool:
    """Whether the plan depends on what the scheduler says: nothing else should wait for a slow one."""
    live = sum(pod.live for pod in worker_pods)
    if cluster.retiring or live > cluster.wanted or any(pod.handing_over for pod in worker_pods):
        return True
    return is_rolling(cluster, worker_pods)


@dataclass(frozen=True)
class _WorkerPlan:
    actions: tuple[Action, ...]
    retiring: tuple[Retiring, ...]
    ending: tuple[Retiring, ...]
    missing: int
    why_missing: str
    blocked: str | None
    requeue_after: timedelta


def _plan_workers(snapshot: Snapshot, templates: TemplateCheck, now: datetime, *, soon: int) -> _WorkerPlan:
    """Decide who comes and who goes.

    Args:
        snapshot: what was read.
        templates: what is known of them.
        now: the time.
        soon: how many are wanted once this plan is carried out. Nobody comes or goes who won't be wanted or will.
    """
    holdings = Holdings.of(snapshot)
    old = outdated(snapshot.cluster, snapshot.worker_pods)
    # Without a template that gives pods, nobody could take the place of those that go.
    rolling = is_rolling(snapshot.cluster, snapshot.worker_pods) and templates.of(names.ROLE_WORKER) is None
    live = {pod.uid: pod for pod in snapshot.worker_pods if pod.live}
    departing = {pod.uid: pod for pod in snapshot.worker_pods if _departs(pod, snapshot, holdings)}
    ending = {pod.uid for pod in snapshot.worker_pods if pod.terminating} - departing.keys()
    there = live.keys() | departing.keys() | ending
    known = [learn(entry, snapshot.calls, now) for entry in snapshot.cluster.retiring if entry.uid in there]
    snapshot = replace(snapshot, calls=under_way(known, snapshot.calls, holdings, now))
    departures = _departures(known, departing, holdings, now)
    entries = [entry for entry in known if entry.uid in live]
    staying = [pod for uid, pod in live.items() if uid not in {entry.uid for entry in entries}]
    resting = [pod for pod in snapshot.worker_pods if _rests(pod, snapshot.cluster, now)]
    usable = [
        entry.uid
        for entry in entries
        if can_be_taken_back(entry, snapshot.calls, holdings) and not (rolling and entry.uid in old)
    ]
    heir = _needs_heir(snapshot, holdings)
    least, most = sorted((snapshot.cluster.wanted, soon))
    target = max(min(max(len(staying) + len(usable), least), most), int(heir))
    replaced = old if rolling else frozenset[str]()
    if rolling:
        leaving = sum(entry.uid in old for entry in entries)
        turnover = roll(snapshot.cluster, staying, holdings, target=target, old=old, leaving=leaving)
    else:
        turnover = plain(staying, holdings, target=target, old=old)
    choice = turnover.choice
    taken_back = set(usable[: turnover.wanted])
    entries = [entry for entry in entries if entry.uid not in taken_back]
    entries += [_entry(pod, holdings, now) for pod in choice.retire]

    deletions = [
        *(_delete(pod, "it has finished") for pod in _finished(snapshot) if pod not in resting),
        *(_delete(pod, f"{_why_goes(pod.uid, replaced)}, and {reason}") for pod, reason in choice.free),
        *_delete_confirmed(entries, live, holdings, snapshot.cluster, now, replaced=replaced),
    ]
    deleted = frozenset(deletion.uid for deletion in deletions)
    waiting = [entry for entry in entries if entry.uid not in deleted]
    asking = requests(
        [*waiting, *departures],
        snapshot.cluster,
        snapshot.calls,
        holdings,
        now,
        leaving=frozenset(departing),
        gone=deleted,
        replaced=replaced,
    )
    entries = [asking.entries.get(entry.uid, entry) for entry in (*entries, *departures)]
    waiting = [asking.entries.get(entry.uid, entry) for entry in waiting]
    let_go = tuple(entry for entry in known if entry.uid in ending and entry.asked is not None)
    return _WorkerPlan(
        actions=(*deletions, *asking.actions),
        retiring=tuple(sorted(entries, key=lambda entry: entry.name)),
        ending=let_go,
        why_missing=_why_missing(snapshot.cluster, heir=heir, rolling=rolling and len(staying) >= target),
        missing=max(turnover.wanted - len(taken_back) - len(resting), 0),
        blocked=why_blocked(
            snapshot,
            holdings,
            waiting,
            unchosen=turnover.excess - len(choice.free) - len(choice.retire),
            now=now,
        ),
        requeue_after=POLL if entries or let_go or resting or heir or turnover.excess or rolling else RESYNC,
    )


def _departures(
    known: Iterable[Retiring], departing: Mapping[str, Pod], holdings: Holdings, now: datetime
) -> list[Retiring]:
    """Those that others delete: what is remembered of them, and new entries for the rest."""
    remembered = [entry for entry in known if entry.uid in departing]
    uids = {entry.uid for entry in remembered}
    return remembered + [_entry(pod, holdings, now) for uid, pod in departing.items() if uid not in uids]


def _delete_confirmed(
    entries: Iterable[Retiring],
    live: Mapping[str, Pod],
    holdings: Holdings,
    cluster: Cluster,
    now: datetime,
    *,
    replaced: frozenset[str],
) -> list[DeletePod]:
    """The deletions of those that are done with."""
    found = (_delete_retiring(live[entry.uid], entry, holdings, cluster, now, replaced=replaced) for entry in entries)
    return [deletion for deletion in found if deletion]


def _departs(pod: Pod, snapshot: Snapshot, holdings: Holdings) -> bool:
    """Whether somebody deletes a pod whose worker is registered, or was when the scheduler last answered."""
    was = not holdings.listed and pod.uid in {entry.uid for entry in snapshot.cluster.retiring}
    return (pod.handing_over and was) or _is_registered_though_deleted(pod, holdings)


def _is_registered_though_deleted(pod: Pod, holdings: Holdings) -> bool:
    """It may be, too, before the kubelet has reported the start: it would take the data of others that are to go."""
    return pod.terminating and not pod.finished and bool(holdings.registered.get(pod.uid))


def _needs_heir(snapshot: Snapshot, holdings: Holdings) -> bool:
    """Whether one worker is wanted though none are, to take the data of a pod that somebody else deletes.

    With no replicas wanted, workers may still be there because nobody could take what they hold. When such a pod is
    deleted or evicted, its preStop hook needs somebody to hand that to before the grace period is over.
    """
    cluster = snapshot.cluster
    if cluster.wanted > 0 or cluster.retirement.delete_on_timeout:
        return False  # somebody is there, or will be; or the user has said that such data may go
    return any(
        _is_registered_though_deleted(pod, holdings) and holdings.held_bytes(pod.uid) != 0
        for pod in snapshot.worker_pods
    )


def _delete_retiring(
    pod: Pod, entry: Retiring, holdings: Holdings, cluster: Cluster, now: datetime, *, replaced: frozenset[str]
) -> DeletePod | None:
    """The deletion of a pod that is on its way out, once there is a reason that it may go."""
    why = _why_goes(pod.uid, replaced)
    if reason := holdings.why_deletable(pod, entry):
        return _delete(pod, f"{why}, and {reason}")
    if _is_overdue(entry, cluster, now) and (reason := holdings.why_deletable(pod, entry, overdue=True)):
        return replace(_delete(pod, f"{why}, and {reason}"), grace_seconds=OVERDUE_GRACE_SECONDS)
    return None


def _is_overdue(entry: Retiring, cluster: Cluster, now: datetime) -> bool:
    timeout = cluster.retirement.timeout
    return cluster.retirement.delete_on_timeout and timeout is not None and now >= entry.since + timeout


def _slow(snapshot: Snapshot, now: datetime) -> Iterator[timedelta]:
    """When it becomes worth telling that pods aren't ready yet."""
    for pod in (*snapshot.scheduler_pods, *snapshot.worker_pods):
        if pod.live and pod.delay and (left := pod.delay.left(now)) > NO_TIME:
            yield left


def _creations(
    snapshot: Snapshot, templates: TemplateCheck, *, missing: int, why: str, schedulers: int
) -> list[Create]:
    """What is made, of what is missing: nothing that the API server would refuse, and no half of a new Cluster."""
    found: list[Create] = []
    if snapshot.foreign:
        # Workers would join whatever scheduler is behind the name, and the selector of a Service would pick the pods
        # of an earlier Cluster, which go but are still there.
        return found
    if templates.against(names.ROLE_SCHEDULER, other_too=not snapshot.worker_pods) is None:
        found += _missing_scheduler(snapshot, schedulers)
    if templates.against(names.ROLE_WORKER, other_too=None in {snapshot.deployment, snapshot.service}) is None:
        found += _missing_workers(snapshot, missing, why)
    return found


def _missing_scheduler(snapshot: Snapshot, schedulers: int) -> list[Create]:
    cluster = snapshot.cluster
    missing = []
    if snapshot.deployment is None:
        missing.append(Create(scheduler_deployment(cluster, replicas=schedulers), "the Cluster has no scheduler"))
    if snapshot.service is None:
        missing.append(Create(scheduler_service(cluster), "the scheduler has no Service"))
    return missing


def _missing_workers(snapshot: Snapshot, missing: int, why: str) -> list[Create]:
    cluster = snapshot.cluster
    seen = [cluster.uid, cluster.resource_version, *(pod.uid for pod in snapshot.worker_pods)]
    return [Create(worker_pod(cluster, name), why) for name in names.worker_names(cluster.name, seen, missing)]


def _why_missing(cluster: Cluster, *, heir: bool, rolling: bool) -> str:
    if heir:
        return "somebody deletes a pod, and nobody else is there to take its data"
    if rolling:
        return "to take the place of one that was made from an earlier template"
    return f"fewer workers than the {cluster.wanted} wanted"


def _why_goes(uid: str, replaced: frozenset[str]) -> str:
    return "made from an earlier template" if uid in replaced else "more workers than wanted"


def _entry(pod: Pod, holdings: Holdings, now: datetime) -> Retiring:
    addresses = tuple(sorted(holdings.addresses_of([pod.uid])))
    return Retiring(name=pod.name, uid=pod.uid, addresses=addresses, since=now)


def _finished(snapshot: Snapshot) -> list[Pod]:
    return [pod for pod in snapshot.worker_pods if pod.finished and not pod.terminating]


def _rests(pod: Pod, cluster: Cluster, now: datetime) -> bool:
    """Whether a finished pod keeps its place for a moment, because its worker ended as soon as it began."""
    if not pod.ended_at_once or pod.uid in {entry.uid for entry in cluster.retiring}:
        return False
    return now < (pod.finished_at or pod.created) + QUICK_EXIT


def _delete(pod: Pod, reason: str) -> DeletePod:
    return DeletePod(name=pod.name, uid=pod.uid, resource_version=pod.resource_version, reason=reason)
