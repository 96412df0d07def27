"""How changes of `spec.scheduler`, and what others change, reach the scheduler that is there. Pure.

With a scheduler go all keys of its Cluster. So what restarts it waits for the moment that the spec asks for, and what
doesn't is done at once: its Service, and that there is one scheduler and no second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.actions import Apply, Repair, TakeOver
from dask_k8s_operator.domain.cluster import SchedulerStrategy
from dask_k8s_operator.domain.conditions import Condition
from dask_k8s_operator.domain.manifests import SCHEDULER_ALONE, scheduler_deployment, scheduler_service
from dask_k8s_operator.domain.ownership import covers, last_written, owned_fields, taken_over
from dask_k8s_operator.domain.revision import is_scheduler_outdated, scheduler_revision
from dask_k8s_operator.domain.snapshot import NotAsked, Unreachable
from dask_k8s_operator.domain.wording import about

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Owned, Pod, Snapshot
    from dask_k8s_operator.domain.suspension import Suspension
    from dask_k8s_operator.domain.templates import TemplateCheck

CONDITION = "SchedulerUpdated"
CHANGE_REFUSED = "ChangeRefused"

POLL = timedelta(seconds=5)
"""How often the scheduler is asked whether it has tasks, and for how long it must have had none."""

QUIET = timedelta(seconds=10)
"""Where others insist on the same fields, the operator doesn't answer sooner than this after it last wrote."""

_Write = Apply | Repair | TakeOver

_OTHERS = "others have changed fields that are the operator's"
_NONE_RUNS = "and no scheduler runs that could hold anything"
_UNREACHABLE = "SchedulerUnreachable"


@dataclass(frozen=True)
class SchedulerUpdate:
    """What is to be done with the scheduler that is there.

    Attributes:
        condition: how far it follows the spec.
        actions: what is to be written to its Deployment and its Service.
        no_tasks_since: since when it has had no tasks, to be remembered while its restart waits for that.
        awaited: the uids of the pods that somebody is to delete first, to be remembered until it is replaced.
        again: when to look again.
    """

    condition: Condition
    actions: tuple[_Write, ...] = ()
    no_tasks_since: datetime | None = None
    awaited: frozenset[str] = frozenset()
    again: timedelta | None = None


def awaits_idleness(cluster: Cluster, deployment: Owned) -> bool:
    """Whether it depends on what the scheduler says of its tasks when it is replaced."""
    when_idle = cluster.scheduler_update is SchedulerStrategy.WHEN_IDLE
    # With OnDelete, the pod that was to be deleted may be gone, and the next one may have keys by now.
    successor = cluster.scheduler_update is SchedulerStrategy.ON_DELETE and bool(_awaited(cluster))
    return (when_idle or successor) and deployment.ours and _why_due(cluster, deployment) is not None


def no_tasks_since(cluster: Cluster) -> datetime | None:
    """Since when the scheduler has had no tasks, as far as each look since then told, while its restart waits."""
    found = cluster.status.get("scheduler", {}).get("noTasksSince")
    return datetime.fromisoformat(found) if found else None


def decide(snapshot: Snapshot, templates: TemplateCheck, suspension: Suspension, now: datetime) -> SchedulerUpdate:
    """Decide what becomes of the scheduler's Deployment and Service.

    Args:
        snapshot: what was read.
        templates: what is known of the templates; while something is wrong with the scheduler's, it stays as it is.
        suspension: whether there is to be a scheduler.
        now: the time.
    """
    cluster, complaint = snapshot.cluster, templates.of(names.ROLE_SCHEDULER)
    deployment, service = (owned if owned and owned.ours else None for owned in (snapshot.deployment, snapshot.service))
    if deployment is None:
        update = SchedulerUpdate(Condition(CONDITION, "Unknown", "NotCreated", "there is no scheduler yet"))
    elif complaint is not None:
        message = f"the scheduler stays as it is: {complaint.message}"
        update = SchedulerUpdate(Condition(CONDITION, "False", "TemplateRefused", message))
    else:
        update = _follow(snapshot, deployment, now)
    writes: list[_Write | timedelta] = []
    if deployment is not None:
        # What is put back might stand against what is applied: one after the other.
        wanted = _repair(cluster, deployment, suspension) or next(iter(update.actions), None)
        writes += _in_turn(cluster, "Deployment", deployment, wanted, now)
    if service is not None:
        wanted = _change_service(cluster, service) if complaint is None else None
        writes += _in_turn(cluster, "Service", service, wanted, now)
    actions = tuple(write for write in writes if not isinstance(write, timedelta))
    again = [update.again, *(write for write in writes if isinstance(write, timedelta))]
    return replace(
        update,
        actions=actions,
        condition=_still_refused(cluster, actions) or update.condition,
        again=min((time for time in again if time is not None), default=None),
    )


def _follow(snapshot: Snapshot, found: Owned, now: datetime) -> SchedulerUpdate:
    """How the scheduler's pod comes to be what the spec says."""
    cluster = snapshot.cluster
    why = _why_due(cluster, found)
    if why is None:
        message = f"the scheduler is of revision {scheduler_revision(cluster)}"
        return SchedulerUpdate(Condition(CONDITION, "True", "UpToDate", message))
    running = [pod for pod in snapshot.scheduler_pods if may_hold_keys(pod, cluster)]
    if cluster.scheduler_update is SchedulerStrategy.ON_DELETE:
        return _follow_on_delete(snapshot, found, running, why, now)
    if not running:
        return _apply(cluster, found, f"{why}, {_NONE_RUNS}")
    if cluster.scheduler_update is SchedulerStrategy.RECREATE:
        return _apply(cluster, found, why)
    return _follow_when_idle(snapshot, found, why, now)


def _follow_on_delete(
    snapshot: Snapshot, found: Owned, running: Sequence[Pod], why: str, now: datetime
) -> SchedulerUpdate:
    """Wait until the pod that ran when the change came is gone, even if nobody saw it go."""
    awaited = _awaited(snapshot.cluster) or frozenset(pod.uid for pod in running)
    still = sorted(pod.name for pod in running if pod.uid in awaited)
    if still:
        message = f"{why}: the scheduler is replaced once somebody deletes Pod {', '.join(still)}"
        update = SchedulerUpdate(Condition(CONDITION, "False", "WaitingForDeletion", message))
    elif not running:
        update = _apply(snapshot.cluster, found, f"{why}, {_NONE_RUNS}")
    else:
        # The one in its place has been running for nobody knows how long.
        update = _follow_when_idle(snapshot, found, f"{why}, and its pod was deleted", now)
    return replace(update, awaited=awaited)


def _follow_when_idle(snapshot: Snapshot, found: Owned, why: str, now: datetime) -> SchedulerUpdate:
    cluster, work = snapshot.cluster, snapshot.workload
    then = f"{why}: the scheduler restarts once it has no tasks"
    if isinstance(work, NotAsked | Unreachable):
        reason = work.reason if isinstance(work, Unreachable) else "it isn't ready"
        message = f"{then}, and it can't be asked for them: {reason}; to restart it all the same, delete its pod"
        return SchedulerUpdate(Condition(CONDITION, "Unknown", _UNREACHABLE, message), again=POLL)
    if work.tasks:
        message = f"{then}; it has {about(work.tasks, 'task')} now"
        return SchedulerUpdate(Condition(CONDITION, "False", "WaitingForIdle", message), again=POLL)
    # Between two computations of one program, there may be none for a moment. Clocks differ: never later than now.
    since = no_tasks_since(cluster) or now
    since = min(max(since, work.submitted or since), now)
    if now - since >= POLL:
        return replace(_apply(cluster, found, f"{why}, and the scheduler has no tasks"), no_tasks_since=since)
    message = f"{then}; it has none now, and is asked once more"
    return SchedulerUpdate(Condition(CONDITION, "False", "WaitingForIdle", message), no_tasks_since=since, again=POLL)


def _awaited(cluster: Cluster) -> frozenset[str]:
    return frozenset(cluster.status.get("scheduler", {}).get("awaitedPods", ()))


def _why_due(cluster: Cluster, deployment: Owned) -> str | None:
    """Why the scheduler isn't what the spec says; None: it is, or differs by an operator's defaults alone."""
    if is_scheduler_outdated(cluster, deployment):
        return "spec.scheduler.template or spec.image has changed"
    applied, fields = deployment.annotations.get(names.ANNOTATION_APPLIED), owned_fields(deployment.managed)
    if applied is None or not fields:
        return None
    desired = scheduler_deployment(cluster)
    if applied != desired["metadata"]["annotations"][names.ANNOTATION_APPLIED]:
        return None
    return None if covers(fields, {"spec": {"template": desired["spec"]["template"]}}) else _OTHERS


def may_hold_keys(pod: Pod, cluster: Cluster) -> bool:
    """Whether a scheduler's pod may know of keys: its process runs, and clients and workers may have found it."""
    if not pod.live or not pod.started:
        return False
    return pod.reachable or bool(cluster.scheduler_service.get("publishNotReadyAddresses"))


def _apply(cluster: Cluster, found: Owned, why: str) -> SchedulerUpdate:
    # What is repaired comes before: by now, there are as many as there are to be.
    desired = scheduler_deployment(cluster, replicas=found.replicas)
    action = Apply(desired, found.uid, found.resource_version, why)
    return SchedulerUpdate(Condition(CONDITION, "False", "Replacing", f"{why}: it is replaced now"), (action,))


def _repair(cluster: Cluster, found: Owned, suspension: Suspension) -> Repair | None:
    """What puts a Deployment back without touching its pod template."""
    labels = names.labels(cluster.name, names.ROLE_SCHEDULER)
    alone = {**SCHEDULER_ALONE, "replicas": suspension.schedulers}
    strategy = found.spec.get("strategy", SCHEDULER_ALONE["strategy"])
    is_alone = {"replicas": found.replicas, "strategy": {"type": strategy["type"]}} == alone
    if is_alone and labels.items() <= found.metadata.get("labels", labels).items():
        return None
    # What belongs to another type of strategy must go with it.
    strategy = {**SCHEDULER_ALONE["strategy"], "rollingUpdate": None}
    patch = {"metadata": {"labels": labels}, "spec": {**alone, "strategy": strategy}}
    name = names.scheduler_name(cluster.name)
    why = _OTHERS if bool(found.replicas) == bool(suspension.schedulers) else suspension.why
    return Repair("Deployment", name, patch, found.uid, found.resource_version, why)


def _change_service(cluster: Cluster, found: Owned) -> Apply | None:
    desired = scheduler_service(cluster)
    metadata = desired["metadata"]
    if found.annotations.get(names.ANNOTATION_APPLIED) != metadata["annotations"][names.ANNOTATION_APPLIED]:
        why = "it isn't what the spec says"
    elif not covers(owned_fields(found.managed), _managed_part(desired)):
        why = _OTHERS
    else:
        return None
    return Apply(desired, found.uid, found.resource_version, why)


def _managed_part(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is kept in managedFields: not what says which object it is."""
    metadata = {key: manifest["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
    return {"metadata": metadata, "spec": manifest["spec"]}


def _in_turn(
    cluster: Cluster, kind: str, found: Owned, change: _Write | None, now: datetime
) -> Iterator[_Write | timedelta]:
    """What to write to an object now, or how long to wait with it."""
    if (entries := taken_over(found.managed)) is not None:
        why = "what it is to be is applied from now on, so that what is dropped goes"
        yield TakeOver(kind, names.scheduler_name(cluster.name), entries, found.resource_version, why)
        return
    last = last_written(found.managed)
    # What a person has just asked for need not wait.
    fresh = cluster.status.get("observedGeneration") != cluster.generation
    if change is not None:
        yield change if fresh or last is None or last + QUIET <= now else last + QUIET - now


def _still_refused(cluster: Cluster, actions: Sequence[_Write]) -> Condition | None:
    """The refusal that stands in the status, while what was refused is tried again."""
    if not actions or cluster.status.get("observedGeneration") != cluster.generation:
        return None
    found = (c for c in cluster.status.get("conditions", ()) if (c["type"], c["reason"]) == (CONDITION, CHANGE_REFUSED))
    return next(map(Condition.from_status, found), None)
