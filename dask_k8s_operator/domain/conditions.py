"""The conditions of a Cluster: each a fact that a person can read and a program can wait for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names, trouble
from dask_k8s_operator.domain.blockage import named
from dask_k8s_operator.domain.retirement import Holdings
from dask_k8s_operator.domain.rollout import ROLLING, STALLED, progress
from dask_k8s_operator.domain.summary import STARTING
from dask_k8s_operator.domain.templates import CONDITION as TEMPLATE_VALID
from dask_k8s_operator.domain.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from dask_k8s_operator.domain.cluster import Cluster, Retiring
    from dask_k8s_operator.domain.snapshot import Pod, Snapshot
    from dask_k8s_operator.domain.templates import TemplateCheck

PROGRESSING = "Progressing"
CREATION_REFUSED = "CreationRefused"
ENDED_AT_ONCE = "EndedAtOnce"
HOOK_FAILED = "HookFailed"
REFUSED = "Refused"
NAME_TAKEN = "NameTaken"
SUSPENDED = "Suspended"
NO_TIME = timedelta(0)


@dataclass(frozen=True)
class Condition:
    """A condition by the API conventions: a type that is True, False or Unknown, a reason, and words."""

    type: str
    status: str
    reason: str
    message: str

    @classmethod
    def from_status(cls, condition: Mapping[str, Any]) -> Condition:
        """Read a condition of a status."""
        return cls(condition["type"], condition["status"], condition["reason"], condition["message"])


def ready(scheduler: Condition, workers: Condition) -> Condition:
    """`Ready`: the scheduler and all workers are."""
    for condition in (scheduler, workers):
        if condition.status != "True":
            return Condition("Ready", "False", condition.reason, condition.message)
    return Condition("Ready", "True", "AllReady", workers.message)


def scheduler_ready(snapshot: Snapshot, templates: TemplateCheck, *, now: datetime) -> Condition:
    """`SchedulerReady`: clients and workers can reach it; or why not."""
    kind = "SchedulerReady"
    name = names.scheduler_name(snapshot.cluster.name)
    owned = {"Deployment": snapshot.deployment, "Service": snapshot.service}
    if snapshot.foreign:
        return Condition(kind, "False", *_why_taken(snapshot))
    if snapshot.cluster.suspended and snapshot.deployment is not None and not snapshot.deployment.replicas:
        return Condition(kind, "False", SUSPENDED, "there is no scheduler while spec.suspend is true")
    if snapshot.deployment is not None and snapshot.deployment.ready and snapshot.service is not None:
        return Condition(kind, "True", "Available", f"the scheduler listens at {name}")
    refused = _still_refused(snapshot.cluster, kind)
    complaint = templates.against(names.ROLE_SCHEDULER, other_too=not snapshot.worker_pods)
    if None in owned.values() and complaint is not None:
        return Condition(kind, "False", complaint.reason, complaint.message)
    if None in owned.values() and refused is not None:
        return refused
    if troubled := _troubled(snapshot.scheduler_pods, now):
        return Condition(kind, "False", *troubled)
    if snapshot.deployment is not None and (trouble := snapshot.deployment.trouble):
        return Condition(kind, "False", trouble.reason, f"Deployment {name}: {trouble.message}")
    return Condition(kind, "False", STARTING, f"waiting for Deployment {name} to be available")


def workers_ready(
    snapshot: Snapshot, *, ready: int, missing: int, templates: TemplateCheck, now: datetime
) -> Condition:
    """`WorkersReady`: as many as are wanted; or what keeps them."""
    cluster = snapshot.cluster
    if cluster.suspended:
        return Condition("WorkersReady", "False", SUSPENDED, "no workers are wanted while spec.suspend is true")
    # Those that are too many are on their way out, or will be replaced.
    kind, count = "WorkersReady", f"{min(ready, cluster.replicas)} of {cluster.replicas} workers are ready"
    if snapshot.foreign and ready < cluster.replicas:
        reason, _ = _why_taken(snapshot)
        return Condition(kind, "False", reason, f"{count}; none is made while the scheduler's name is taken")
    complaint = templates.against(names.ROLE_WORKER, other_too=None in {snapshot.deployment, snapshot.service})
    if complaint is not None and missing:
        return Condition(kind, "False", complaint.reason, complaint.message)
    refused = _still_refused(cluster, kind)
    if ready < cluster.replicas and refused is not None and missing:
        return refused
    if ready < cluster.replicas and (troubled := _troubled(snapshot.worker_pods, now)):
        reason, message = troubled
        return Condition(kind, "False", reason, f"{count}; {message}")
    if ready < cluster.replicas and (ended := _ended_at_once(snapshot)):
        return Condition(kind, "False", ENDED_AT_ONCE, f"{count}; {ended}")
    before = _condition(cluster, kind)
    # The next one is being made, and nothing says that it will fare better.
    if ready < cluster.replicas and before is not None and before.reason == ENDED_AT_ONCE and _same_spec(cluster):
        return before
    if ready < cluster.replicas:
        return Condition(kind, "False", STARTING, count)
    return Condition(kind, "True", "AllReady", count)


def progressing(
    snapshot: Snapshot, *, missing: int, templates: TemplateCheck, blocked: Condition, now: datetime
) -> Condition:
    """`Progressing`: how far the workers follow the template."""
    complaint = templates.of(names.ROLE_WORKER)
    found = progress(
        snapshot,
        complaint=complaint.message if complaint is not None else None,
        blocked=blocked.message if blocked.status == "True" else None,
        now=now,
    )
    before = _condition(snapshot.cluster, PROGRESSING)
    refused = _still_refused(snapshot.cluster, PROGRESSING)
    if found.reason == ROLLING and refused is not None and missing:
        return refused
    # The next new worker is being made, and nothing says that it will fare better.
    stalled = before is not None and before.reason == STALLED and _same_spec(snapshot.cluster)
    if stalled and before is not None and not found.working:
        return before
    return Condition(PROGRESSING, found.status, found.reason, found.message)


def template_valid(snapshot: Snapshot, *, missing: int, templates: TemplateCheck) -> Condition:
    """`TemplateValid`: whether the API server takes what the templates give."""
    if templates.complaints:
        messages = dict.fromkeys(complaint.message for complaint in templates.complaints)
        return Condition(TEMPLATE_VALID, "False", templates.complaints[0].reason, "; ".join(messages))
    if templates.unanswered is not None:
        return Condition(TEMPLATE_VALID, "Unknown", "NotChecked", templates.unanswered)
    refused = _still_refused(snapshot.cluster, TEMPLATE_VALID)
    # Until all that the templates are for is there. True in between would be two writes for each try.
    if refused is not None and (missing or None in {snapshot.deployment, snapshot.service}):
        return refused
    return Condition(TEMPLATE_VALID, "True", "Valid", "the API server takes what the templates say")


def scale_down_blocked(cluster: Cluster, retiring: Iterable[Retiring], blocked: str | None) -> Condition:
    """`ScaleDownBlocked`: whether workers stay that are too many, and why."""
    if blocked is None:
        before = _condition(cluster, "ScaleDownBlocked")
        # While the scheduler is asked once more, what it said last still holds: no False for the seconds in between.
        if before is not None and before.status == "True" and any(entry.asked_again for entry in retiring):
            return before
        return Condition("ScaleDownBlocked", "False", "NothingBlocked", "no worker is kept against the replicas wanted")
    return Condition("ScaleDownBlocked", "True", "DataHeld", blocked)


def retiring(entries: Sequence[Retiring]) -> Condition:
    """`Retiring`: which workers are on their way out. Without figures that change while data moves."""
    if not entries:
        return Condition("Retiring", "False", "NobodyLeaves", "no worker is on its way out")
    pods = listed([entry.name for entry in entries])
    who = "1 worker hands over and leaves" if len(entries) == 1 else f"{len(entries)} workers hand over and leave"
    return Condition("Retiring", "True", "HandingOver", f"{who}: {pods}")


def handover_possible(snapshot: Snapshot, retiring: Iterable[Retiring]) -> Condition:
    """`HandoverPossible`: whether a worker whose pod somebody deletes can't hand its data over."""
    kind = "HandoverPossible"
    moved = {entry.uid for entry in retiring if entry.moved}  # the operator was quicker than the hook
    failed = [(p.name, p.handover_trouble) for p in snapshot.worker_pods if p.handover_trouble and p.uid not in moved]
    if failed:
        name, trouble = min(failed)
        return Condition(kind, "False", HOOK_FAILED, f"Pod {name} was deleted and kept its data to itself: {trouble}")
    before = _condition(snapshot.cluster, kind)
    if refused := _refused_departures(snapshot, retiring, before):
        return Condition(kind, "False", REFUSED, refused)
    # That pod is gone in a moment; what was wrong with it is wrong with the others, until the spec changes.
    if before is not None and before.reason == HOOK_FAILED and _same_spec(snapshot.cluster):
        return before
    message = "no worker whose pod was deleted has said that it could not hand its data over"
    return Condition(kind, "True", "NoFailure", message)


def _refused_departures(snapshot: Snapshot, retiring: Iterable[Retiring], before: Condition | None) -> str | None:
    """What is to be told of pods that somebody deletes and whose data nobody takes.

    Not after the first refusal: their replacements may need a moment.
    """
    leaving = {pod.uid: pod for pod in snapshot.worker_pods if pod.handing_over}
    again = [entry for entry in retiring if entry.uid in leaving and entry.asked_again]
    refused = [entry for entry in again if entry.refused]
    if again and not refused and before is not None and before.reason == REFUSED:
        return before.message  # it is being asked once more; what it said last still holds
    if not refused:
        return None
    ends = [time for entry in refused if (time := leaving[entry.uid].killed_at) is not None]
    when = f" at {min(ends):%Y-%m-%dT%H:%M:%SZ}" if ends else ""
    found = named(refused, Holdings.of(snapshot))
    return (
        f"somebody deletes pods, and the scheduler found nobody to take the data of {found}: it is lost when they are "
        f"killed{when}, unless you scale up or release what they hold (delete or gather the futures, close actors)"
    )


def _why_taken(snapshot: Snapshot) -> tuple[str, str]:
    """The reason and the message for a scheduler whose name is somebody else's."""
    cluster, found = snapshot.cluster.name, {"Deployment": snapshot.deployment, "Service": snapshot.service}
    taken = [(f"{kind} {names.scheduler_name(cluster)}", found[kind]) for kind in snapshot.foreign]
    # What doesn't go by itself comes first.
    what, owned = min(taken, key=lambda one: one[1] is not None and one[1].going)
    if owned is not None and owned.going:
        return STARTING, f"waiting until the {what} of an earlier Cluster of this name is gone"
    if owned is not None and owned.left_behind:
        selector = f"{names.LABEL_CLUSTER}={cluster}"
        message = f"the {what} is left from an earlier Cluster of this name, deleted without what belonged to it"
        return NAME_TAKEN, f"{message}: kubectl delete deployments,services,pods --selector={selector}"
    return NAME_TAKEN, f"there is a {what} that doesn't belong to this Cluster: delete it or rename the Cluster"


def _troubled(pods: Iterable[Pod], now: datetime) -> tuple[str, str] | None:
    """The reason and the message for the first pod that is in trouble, or else for the first that takes long."""
    live = sorted((pod for pod in pods if pod.live), key=lambda pod: pod.name)
    known = [(pod, pod.trouble) for pod in live if pod.trouble]
    slow = [(pod, pod.delay.trouble) for pod in live if pod.delay and pod.delay.left(now) <= NO_TIME]
    pod, found = next(iter((*known, *slow)), (None, None))
    return (found.reason, f"Pod {pod.name}: {found.message}") if pod and found else None


def _ended_at_once(snapshot: Snapshot) -> str | None:
    retiring = {entry.uid for entry in snapshot.cluster.retiring}
    found = sorted(pod.name for pod in snapshot.worker_pods if pod.ended_at_once and pod.uid not in retiring)
    return f"Pod {found[0]}: {trouble.ENDED_AT_ONCE}" if found else None


def _same_spec(cluster: Cluster) -> bool:
    return bool(cluster.status.get("observedGeneration") == cluster.generation)


def _still_refused(cluster: Cluster, kind: str) -> Condition | None:
    """The refusal that stands in the status, as long as the spec that caused it does."""
    found = _condition(cluster, kind)
    return found if found is not None and found.reason == CREATION_REFUSED and _same_spec(cluster) else None


def _condition(cluster: Cluster, kind: str) -> Condition | None:
    """A condition as it was read."""
    for condition in cluster.status.get("conditions", ()):
        if condition["type"] == kind:
            return Condition.from_status(condition)
    return None


def as_written(
    status: Mapping[str, Any], conditions: Iterable[Condition], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """As they stand in the status; the time of a transition stays while the status of a condition does."""
    before = {condition["type"]: condition for condition in status.get("conditions", ())}
    written = []
    for condition in conditions:
        old = before.get(condition.type)
        unchanged = old is not None and old["status"] == condition.status
        written.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"]
                if old is not None and unchanged
                else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "reason": condition.reason,
                "message": condition.message,
            }
        )
    return written
