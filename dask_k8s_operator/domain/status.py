"""The status of a Cluster: what is there, what is remembered, and conditions that a person can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import conditions, names, schedulerupdate
from dask_k8s_operator.domain.conditions import CREATION_REFUSED, PROGRESSING, SUSPENDED, Condition
from dask_k8s_operator.domain.revision import (
    first_revision,
    first_scheduler_revision,
    outdated,
    scheduler_revision,
    worker_revision,
)
from dask_k8s_operator.domain.rollout import ROLLING
from dask_k8s_operator.domain.summary import summary
from dask_k8s_operator.domain.templates import CONDITION as TEMPLATE_VALID
from dask_k8s_operator.domain.templates import INVALID_SPEC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from dask_k8s_operator.domain.actions import Create
    from dask_k8s_operator.domain.cluster import Cluster, Retiring
    from dask_k8s_operator.domain.scaling import Scaling
    from dask_k8s_operator.domain.schedulerupdate import SchedulerUpdate
    from dask_k8s_operator.domain.snapshot import Snapshot
    from dask_k8s_operator.domain.suspension import Suspension
    from dask_k8s_operator.domain.templates import TemplateCheck


@dataclass(frozen=True)
class Refusal:
    """The API server's answer to a creation or a change that it refused.

    Attributes:
        kind: of the object: Deployment, Service or Pod.
        message: in the server's own words, a pod's name left out.
        invalid: the object itself is at fault, not a quota or a permission.
        change: the object is there, and stays as it is.
    """

    kind: str
    message: str
    invalid: bool
    change: bool = False

    @classmethod
    def of(cls, creation: Create, message: str, *, invalid: bool) -> Refusal:
        """What to remember of a refused creation.

        Each try to make a worker has another name. With that in the message, each try would change the status, and the
        event about it would set off the next one at once, past any backoff.
        """
        if creation.kind == "Pod":
            message = message.replace(creation.name, f"{creation.name.rpartition('-')[0]}-…")
        return cls(kind=creation.kind, message=message, invalid=invalid)


def cluster_status(
    snapshot: Snapshot,
    *,
    retiring: Sequence[Retiring],
    ending: Sequence[Retiring],
    missing: int,
    blocked: Condition,
    suspension: Suspension,
    templates: TemplateCheck,
    scaling: Scaling,
    update: SchedulerUpdate,
    now: datetime,
) -> dict[str, Any]:
    """The whole status.

    Args:
        snapshot: what was read.
        retiring: the pods that are to be remembered as on their way out.
        ending: those that the scheduler was asked for and doesn't have any more, remembered until their pods are gone.
        missing: how many workers are about to be created.
        blocked: whether a scale-down doesn't go on.
        suspension: how far the Cluster is suspended.
        templates: what is known of the templates.
        scaling: what the Cluster is to do about its own size.
        update: what is to be done with the scheduler that is there.
        now: for the transition times of conditions that change.
    """
    cluster = snapshot.cluster
    live = [pod for pod in snapshot.worker_pods if pod.live]
    ready = sum(pod.ready for pod in live)
    entries = [entry.to_status() for entry in sorted((*retiring, *ending), key=lambda entry: entry.name)]
    scheduler_ready = conditions.scheduler_ready(snapshot, templates, now=now)
    workers_ready = conditions.workers_ready(snapshot, ready=ready, missing=missing, templates=templates, now=now)
    told = [
        conditions.ready(scheduler_ready, workers_ready),
        scheduler_ready,
        workers_ready,
        conditions.progressing(snapshot, missing=missing, templates=templates, blocked=blocked, now=now),
        update.condition,
        conditions.template_valid(snapshot, missing=missing, templates=templates),
        conditions.retiring(retiring),
        blocked,
        conditions.handover_possible(snapshot, (*retiring, *ending)),
        *scaling.conditions,
        *([suspension.condition] if suspension.condition else []),
    ]
    return {
        "observedGeneration": cluster.generation,
        "state": summary(told),
        "scheduler": {
            "address": names.scheduler_address(cluster.name, cluster.namespace),
            "dashboard": names.dashboard_address(cluster.name, cluster.namespace),
            "state": _scheduler_state(scheduler_ready),
            "revision": scheduler_revision(cluster),
            "firstRevision": first_scheduler_revision(cluster),
            **({} if update.no_tasks_since is None else {"noTasksSince": update.no_tasks_since.isoformat()}),
            **({"awaitedPods": sorted(update.awaited)} if update.awaited else {}),
        },
        "workers": {
            "count": len(live),
            "ready": ready,
            "updated": len(live) - len(outdated(cluster, snapshot.worker_pods)),
            "revision": worker_revision(cluster),
            "firstRevision": first_revision(cluster),
            "selector": names.selector(cluster.name, names.ROLE_WORKER),
            "retiring": entries,
            "retiringCount": len(entries),
            **({} if scaling.memory is None else {"autoscale": scaling.memory.to_status()}),
        },
        **({} if scaling.idle_since is None else {"idleSince": scaling.idle_since.isoformat()}),
        "conditions": conditions.as_written(cluster.status, told, generation=cluster.generation, now=now),
    }


def _scheduler_state(found: Condition) -> str:
    if found.status == "True":
        return "Ready"
    return SUSPENDED if found.reason == SUSPENDED else "Pending"


def with_refusals(status: Mapping[str, Any], refusals: Iterable[Refusal], *, now: datetime) -> dict[str, Any]:
    """The status once it is known which creations and changes the API server refused."""
    known = {c["type"]: Condition.from_status(c) for c in status["conditions"]}
    for refusal in refusals:
        if refusal.change:
            message = f"the API server refused to change the {refusal.kind}: {refusal.message}"
            known[schedulerupdate.CONDITION] = Condition(
                schedulerupdate.CONDITION, "False", schedulerupdate.CHANGE_REFUSED, message
            )
            continue
        ready = "WorkersReady" if refusal.kind == "Pod" else "SchedulerReady"
        message = f"the API server refused to create the {refusal.kind}: {refusal.message}"
        if known[ready].status != "True":  # one more than wanted, in a rollout, is nothing that anybody misses
            known[ready] = Condition(ready, "False", CREATION_REFUSED, message)
        if refusal.kind == "Pod" and known[PROGRESSING].reason in {ROLLING, CREATION_REFUSED}:
            known[PROGRESSING] = Condition(
                PROGRESSING, "False", CREATION_REFUSED, f"the workers stay as they are: {message}"
            )
        if refusal.invalid:
            known[TEMPLATE_VALID] = Condition(TEMPLATE_VALID, "False", CREATION_REFUSED, message)
    known["Ready"] = conditions.ready(known["SchedulerReady"], known["WorkersReady"])
    generation = status["observedGeneration"]
    written = conditions.as_written(status, known.values(), generation=generation, now=now)
    return {**status, "state": summary(known.values()), "conditions": written}


def unreadable_status(cluster: Cluster, reason: str, *, now: datetime) -> dict[str, Any]:
    """The status of a Cluster whose spec can't be read: what else it says stays as it is.

    Args:
        cluster: with the status as it was read.
        reason: why it can't.
        now: for the transition times.
    """
    known = {c["type"]: Condition.from_status(c) for c in cluster.status.get("conditions", ())}
    known |= {kind: Condition(kind, "False", INVALID_SPEC, reason) for kind in ("Ready", TEMPLATE_VALID)}
    generation = cluster.generation
    written = conditions.as_written(cluster.status, known.values(), generation=generation, now=now)
    told = {"observedGeneration": generation, "state": summary(known.values()), "conditions": written}
    return {**cluster.status, **told}


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What turns a status into another by a JSON merge patch, which keeps every field that it doesn't name.

    https://www.rfc-editor.org/rfc/rfc7386
    """
    gone: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    return gone | {
        key: merge_patch(before.get(key) or {}, value) if isinstance(value, dict) else value
        for key, value in after.items()
    }
