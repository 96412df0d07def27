"""`spec.suspend`: all pods of a Cluster are given back, as far as nothing is lost by it. Pure.

Its workers go as in any scale-down. The scheduler goes after the last of them, but not while it knows of a task: what
nobody has computed yet, and what somebody has computed and holds, it alone knows of. What the user has said of workers
whose data can't be moved (`spec.workers.retirement`) is said of that, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.conditions import SUSPENDED, Condition
from dask_k8s_operator.domain.schedulerupdate import may_hold_keys
from dask_k8s_operator.domain.snapshot import NotAsked, Unreachable
from dask_k8s_operator.domain.wording import about, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Pod, Snapshot

DATA_HELD = "DataHeld"
RETIRING = "Retiring"

SUSPENDED_WHY = "spec.suspend is true"

POLL = timedelta(seconds=5)
"""How often the scheduler is asked whether it has tasks."""


@dataclass(frozen=True)
class Suspension:
    """What becomes of a Cluster's scheduler.

    Attributes:
        schedulers: how many there are to be.
        why: a scheduler is to come or to go.
        condition: how far the Cluster is suspended; None: it isn't to be.
        again: when to look again.
    """

    schedulers: int
    why: str
    condition: Condition | None = None
    again: timedelta | None = None


def suspend(snapshot: Snapshot, *, blocked: Condition, now: datetime) -> Suspension:
    """Decide what becomes of the scheduler.

    Args:
        snapshot: what was read.
        blocked: the condition `ScaleDownBlocked`: whether workers stay, and why.
        now: the time.
    """
    cluster, deployment = snapshot.cluster, snapshot.deployment
    if not cluster.suspended:
        return Suspension(1, "there is to be a scheduler")
    leaving = _leaving((*snapshot.worker_pods, *snapshot.scheduler_pods))
    if deployment is None or not deployment.ours or not deployment.replicas:
        message = "all pods have been given back; spec.suspend: false brings them again"
        done = Condition(SUSPENDED, "True", SUSPENDED, message)
        return Suspension(0, SUSPENDED_WHY, leaving or done, POLL if leaving else None)
    overdue = _is_overdue(cluster, now)
    # By then those that had a deadline have been deleted. Nobody takes what they hold, and their preStop hooks would
    # try until the grace period is over; without a scheduler they end.
    given_up = overdue and all(pod.terminating for pod in snapshot.worker_pods)
    if snapshot.worker_pods and not given_up:
        if blocked.status == "True":
            return _waiting(DATA_HELD, blocked.message)
        return Suspension(1, "", _leaving(snapshot.worker_pods), POLL)
    if not any(may_hold_keys(pod, cluster) for pod in snapshot.scheduler_pods):
        return Suspension(0, f"{SUSPENDED_WHY}, and no scheduler runs", leaving, POLL)
    if not (held := _held(snapshot)):
        return Suspension(0, f"{SUSPENDED_WHY}, and the scheduler has no tasks", leaving, POLL)
    if overdue:
        return Suspension(0, "spec.workers.retirement says to delete what can't be retired in time", leaving, POLL)
    reason, message = held
    return _waiting(reason, f"{message}, so {_until(cluster)}")


def _held(snapshot: Snapshot) -> tuple[str, str] | None:
    """A reason and words for what would be lost with the scheduler; None: nothing."""
    work = snapshot.workload
    if isinstance(work, Unreachable):
        return "SchedulerUnreachable", f"whether the scheduler has tasks isn't known: {work.reason}"
    if isinstance(work, NotAsked):
        return "SchedulerNotReady", "whether the scheduler has tasks isn't known, as it isn't ready"
    if work.tasks:
        what = (
            f"the scheduler has {about(work.tasks, 'task')} that somebody has submitted or whose results somebody holds"
        )
        return DATA_HELD, f"{what} (cancel them, release the futures, close the clients)"
    return None


def _leaving(pods: Iterable[Pod]) -> Condition | None:
    names = sorted(pod.name for pod in pods)
    message = f"these pods are on their way out: {listed(names)}"
    return Condition(SUSPENDED, "False", RETIRING, message) if names else None


def _waiting(reason: str, message: str) -> Suspension:
    return Suspension(1, "", Condition(SUSPENDED, "False", reason, message), POLL)


def _until(cluster: Cluster) -> str:
    retirement = cluster.retirement
    if not retirement.delete_on_timeout or retirement.timeout is None:
        return "the scheduler stays"
    return f"the scheduler goes with them {retirement.timeout.total_seconds():.0f} s after the Cluster was suspended"


def _is_overdue(cluster: Cluster, now: datetime) -> bool:
    """Whether the user has set a deadline from when on data may be lost, and it has passed."""
    retirement = cluster.retirement
    if not retirement.delete_on_timeout or retirement.timeout is None:
        return False
    # Since when it has been so that the Cluster is to be suspended and isn't yet.
    found = (c for c in cluster.status.get("conditions", ()) if (c["type"], c["status"]) == (SUSPENDED, "False"))
    since = next((datetime.fromisoformat(condition["lastTransitionTime"]) for condition in found), now)
    return now >= since + retirement.timeout
