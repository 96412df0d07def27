"""Whether nobody uses a Cluster, and for how long nobody has (`spec.idle`). Pure.

A Cluster is in use while its scheduler knows any task: one that runs or waits, or one whose result or error somebody
holds. Data that was scattered and datasets that are published are tasks, too. The scheduler's own idea of idleness
(`idle-timeout`) is not asked: it ignores data that clients hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.cluster import Idle, IdleAction
from dask_k8s_operator.domain.conditions import Condition
from dask_k8s_operator.domain.snapshot import NotAsked, Unreachable
from dask_k8s_operator.domain.workload import Workload

if TYPE_CHECKING:
    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Snapshot

CONDITION = "Idle"

_SOONEST, _LATEST = timedelta(seconds=5), timedelta(seconds=30)
"""When to look again whether somebody uses it: ten times within the time that counts, but no more or less often."""


@dataclass(frozen=True)
class Verdict:
    """What a look says.

    Attributes:
        since: since when nobody has used the Cluster, to be remembered; None: somebody does, or nobody knows.
        over: that is long enough, and it was looked whether anybody did in between.
        condition: the same for a person.
        again: when to look again.
    """

    since: datetime | None
    over: bool
    condition: Condition
    again: timedelta | None


def sleeps(cluster: Cluster) -> bool:
    """Whether no workers are wanted, as none should be while nobody uses it."""
    return cluster.idle is not None and cluster.idle.action is IdleAction.SCALE_TO_ZERO and cluster.replicas == 0


def is_due(cluster: Cluster, now: datetime) -> bool:
    """Whether, by what is remembered, nobody has used it for long enough."""
    since = _remembered(cluster)
    return cluster.idle is not None and since is not None and now >= since + cluster.idle.after


def judge(idle: Idle, snapshot: Snapshot, now: datetime) -> Verdict:
    """Say whether nobody uses the Cluster."""
    cluster, work = snapshot.cluster, snapshot.workload
    often = min(max(idle.after / 10, _SOONEST), _LATEST)
    if sleeps(cluster):
        condition = Condition(CONDITION, "True", "ScaledToZero", _asleep(snapshot))
        return Verdict(None, over=False, condition=condition, again=None)
    objection = _objection(idle, snapshot)
    if objection and snapshot.rivals.names:
        return Verdict(None, over=False, condition=objection, again=often)
    if isinstance(work, NotAsked):
        condition = Condition(CONDITION, "Unknown", "Starting", "the scheduler isn't ready")
        return Verdict(None, over=False, condition=condition, again=None)
    if isinstance(work, Unreachable):
        condition = Condition(CONDITION, "Unknown", "SchedulerUnreachable", work.reason)
        return Verdict(None, over=False, condition=condition, again=often)
    if work.tasks:
        message = "there are tasks, or results or data that somebody holds"
        return Verdict(None, over=False, condition=Condition(CONDITION, "False", "InUse", message), again=often)
    since = _since(cluster, work.submitted, now)
    if objection:
        return Verdict(since, over=False, condition=objection, again=often)
    over = now >= since + idle.after and work.question.submissions
    then = "is deleted" if idle.action is IdleAction.DELETE else "is scaled to zero"
    message = f"{unused(since)}; it {then} after {idle.after.total_seconds():g} s of that"
    left = max(since + idle.after - now, timedelta(0))
    return Verdict(since, over, Condition(CONDITION, "True", "Unused", message), again=min(left, often))


def still_unused(since: datetime, work: Workload) -> bool:
    """Whether, by the newest answer, nobody has used it since then."""
    return not work.tasks and work.unanswered is None and (work.submitted is None or work.submitted <= since)


def unused(since: datetime) -> str:
    """How long nobody has used it, in words that don't change with the time."""
    return f"nobody has used the Cluster since {since:%Y-%m-%dT%H:%M:%SZ}"


def _objection(idle: Idle, snapshot: Snapshot) -> Condition | None:
    """Why nothing is done, however long nobody has used it."""
    if idle.action is IdleAction.SCALE_TO_ZERO:
        told = snapshot.rivals.objection("spec.idle", "have that one scale to zero, or take spec.idle out")
        return Condition(CONDITION, *told) if told else None
    work = snapshot.workload
    if isinstance(work, Workload) and work.unanswered is not None:
        message = f"it can't be asked whether work came and went between two looks: {work.unanswered}"
        return Condition(CONDITION, "Unknown", "SchedulerUnreachable", message)
    return None


def _asleep(snapshot: Snapshot) -> str:
    if kept := sum(pod.live for pod in snapshot.worker_pods):
        return (
            f"no workers are wanted, and {kept} are still there: the condition ScaleDownBlocked says if they must stay"
        )
    return "there are no workers: kubectl scale, or spec.workers.autoscale once there are tasks, brings some"


def _since(cluster: Cluster, submitted: datetime | None, now: datetime) -> datetime:
    """Since when nobody has used it, given that nobody does now."""
    if cluster.status.get("observedGeneration") != cluster.generation:
        return now  # somebody has changed the spec, so as to use it: no workers that were just asked for go
    since = _remembered(cluster) or now
    # Work that came and went between two looks. Clocks differ: never later than now.
    return min(max(since, submitted or since), now)


def _remembered(cluster: Cluster) -> datetime | None:
    found = cluster.status.get("idleSince")
    return datetime.fromisoformat(found) if found else None
