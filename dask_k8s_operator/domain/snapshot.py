"""What one reconcile sees: frozen values made from fresh reads of the API server and the scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.rivals import Rivals
from dask_k8s_operator.domain.templates import TemplateCheck
from dask_k8s_operator.domain.trouble import (
    Delay,
    Trouble,
    deployment_trouble,
    find_delay,
    find_trouble,
    handover_trouble,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.workload import Workload


QUICK_EXIT = timedelta(seconds=10)
"""A worker that ends within this time is replaced only this long after, lest a wrong command spins."""

LONGEST_BOOT = timedelta(minutes=15)
"""A worker that became ready this long after its process began has been ready before, and unready in between."""


@dataclass(frozen=True, order=True)
class Worker:
    """A worker as the scheduler lists it (`/api/v1/get_workers`)."""

    name: str
    address: str

    @property
    def host(self) -> str:
        """The host part of the address, which for a pod is its IP."""
        return urlsplit(self.address).hostname or ""


@dataclass(frozen=True)
class Pod:
    """What matters of a pod of the Cluster.

    Attributes:
        started: a process of the pod's Dask container has run at some time.
        finished: no process of its Dask container will ever run again; others beside it may.
        terminating: somebody has asked for its deletion.
        killed_at: when its grace period ends, once somebody has.
        ran_seconds: how long the Dask container of a finished pod ran, where the kubelet reports it.
        finished_at: when it ended.
        startup: how long it took from its creation until it was ready for the first time; None: it isn't, or nobody
            knows that any more.
        trouble: what keeps its containers from running.
        delay: what it waits for, though nothing is known to be wrong.
        handover_trouble: why its preStop hook could not hand its data over, where it had to say so.
        reachable: its process runs, and has been ready, so that others may have found it through a Service.
    """

    name: str
    uid: str
    resource_version: str
    ip: str | None
    created: datetime
    started: bool
    ready: bool
    finished: bool
    terminating: bool
    deletion_cost: int = 0
    ran_seconds: float | None = None
    finished_at: datetime | None = None
    startup: timedelta | None = None
    trouble: Trouble | None = None
    delay: Delay | None = None
    killed_at: datetime | None = None
    handover_trouble: str | None = None
    revision: str | None = None
    reachable: bool = True

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], *, container: str) -> Pod:
        """Read a pod as the API server gives it.

        Args:
            manifest: the pod's JSON.
            container: the name of its Dask container, "scheduler" or "worker".
        """
        metadata, status = manifest["metadata"], manifest.get("status", {})
        state = _container_status(status, container)
        current, last = state.get("state", {}), state.get("lastState", {})
        past = {"running", "terminated"} & (current.keys() | last.keys())
        ended = current.get("terminated", {})
        begun, done = _time(ended.get("startedAt")), _time(ended.get("finishedAt"))
        ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready" and c["status"] == "True"), None)
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            ip=status.get("podIP"),
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            started=bool(past) or state.get("restartCount", 0) > 0,
            ready=ready is not None,
            finished=status.get("phase") in {"Succeeded", "Failed"}
            or _ended_for_good(manifest.get("spec", {}), ended, container),
            terminating="deletionTimestamp" in metadata,
            killed_at=_time(metadata.get("deletionTimestamp")),
            deletion_cost=_deletion_cost(metadata),
            ran_seconds=(done - begun).total_seconds() if begun and done else None,
            finished_at=done,
            startup=_startup(metadata, state, ready) if ready else None,
            trouble=find_trouble(manifest, container),
            delay=find_delay(manifest, container),
            handover_trouble=handover_trouble(manifest, container),
            revision=metadata.get("labels", {}).get(names.LABEL_REVISION),
            reachable="running" in current and not _was_never_ready(status, current["running"]),
        )

    @property
    def live(self) -> bool:
        """Whether the pod counts as a replica: neither finished nor on its way out."""
        return not self.finished and not self.terminating

    @property
    def ended_at_once(self) -> bool:
        """Whether its worker ended within `QUICK_EXIT` of its start."""
        return self.finished and not self.terminating and (self.ran_seconds or 0) < QUICK_EXIT.total_seconds()

    @property
    def handing_over(self) -> bool:
        """Whether its workers may still run though somebody deletes it: its preStop hook keeps them alive."""
        return self.terminating and self.started and not self.finished


@dataclass(frozen=True)
class Owned:
    """What matters of the scheduler's Deployment or Service.

    Attributes:
        ours: its controller is this very Cluster (by uid), so that it's ours to rely on.
        ready: for a Deployment, that its scheduler is available.
        trouble: for a Deployment, what keeps it from making its pod.
        going: its controller is an earlier Cluster of the same name, with which the garbage collector takes it away.
        left_behind: an earlier Cluster of the same name was deleted without it (`kubectl delete --cascade=orphan`).
        metadata: all of it, as it was read.
        spec: all of it, as it was read.
    """

    ours: bool
    ready: bool = False
    trouble: Trouble | None = None
    going: bool = False
    left_behind: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    spec: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], *, owner_uid: str) -> Owned:
        """Read a Deployment or a Service as the API server gives it."""
        metadata, status = manifest["metadata"], manifest.get("status", {})
        # Before its controller has seen a change, and then until it has made a pod from that, the status speaks of the
        # scheduler that is about to go.
        generation = metadata.get("generation", 0)
        seen = status.get("observedGeneration", generation) >= generation
        followed = seen and status.get("updatedReplicas", 0) > 0
        ours = owned_by(manifest, owner_uid)
        owners: Iterable[Mapping[str, Any]] = metadata.get("ownerReferences", ())
        controller = next((owner for owner in owners if owner.get("controller")), None)
        cluster = metadata.get("labels", {}).get(names.LABEL_CLUSTER)
        earlier = controller is not None and (controller.get("kind"), controller.get("name")) == (names.KIND, cluster)
        return cls(
            ours=ours,
            going=earlier and not ours,
            left_behind=controller is None and cluster is not None,
            ready=followed and status.get("availableReplicas", 0) > 0,
            trouble=deployment_trouble(manifest),
            metadata=metadata,
            spec=manifest.get("spec", {}),
        )

    @property
    def replicas(self) -> int:
        """For a Deployment, how many schedulers it is to have."""
        return int(self.spec.get("replicas", 1))

    @property
    def uid(self) -> str:
        """Its uid: a later object of the same name is another one."""
        return str(self.metadata["uid"])

    @property
    def resource_version(self) -> str:
        """The state in which it was read."""
        return str(self.metadata["resourceVersion"])

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        found: Mapping[str, str] = self.metadata.get("annotations") or {}
        return found

    @property
    def managed(self) -> Sequence[Mapping[str, Any]]:
        """Who has set which of its fields; see `domain.ownership`."""
        found: Sequence[Mapping[str, Any]] = self.metadata.get("managedFields") or ()
        return found


@dataclass(frozen=True)
class NotAsked:
    """The scheduler was not asked, because nothing about to be decided depends on it."""


@dataclass(frozen=True)
class Unreachable:
    """The scheduler was asked and gave no usable answer; the reason says why and what to do."""

    reason: str


@dataclass(frozen=True)
class Detail:
    """What only the scheduler's RPC port tells.

    Attributes:
        running: addresses of workers that work, as opposed to paused or `closing_gracefully` ones.
        executing: how many tasks run now on each worker that was known to be drained, by address.
        held_bytes: how much data each worker holds, by address; old ones (2022.5.1) don't tell.
        closable: the scheduler's own proposal of whom to close first: idle ones, then those with the least data.
        silent: addresses of workers whose heartbeats have stopped while others' go on.
    """

    running: frozenset[str]
    executing: Mapping[str, int]
    held_bytes: Mapping[str, int]
    closable: tuple[str, ...]
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Listed:
    """The workers that the scheduler has now.

    Attributes:
        workers: all of them.
        detail: more about them; None where the RPC port can't be used (from outside the cluster, or behind TLS);
            `Unreachable` where it gave no answer this time.
    """

    workers: tuple[Worker, ...]
    detail: Detail | Unreachable | None = None


SchedulerView = NotAsked | Unreachable | Listed


@dataclass(frozen=True)
class RetireCalls:
    """What this process knows of its own calls to drain or retire workers of the Cluster.

    A restart forgets it, and the status has all that is needed to go on without it.

    Attributes:
        in_flight: addresses whose call has not been answered yet.
        stalled: those of them whose call has gone on for so long that others don't wait for it.
        drained: addresses that an answer to a drain listed: they take no more tasks.
        moved: addresses that an answer to a retirement listed.
        refused: addresses that an answer left out.
    """

    in_flight: frozenset[str] = frozenset()
    stalled: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unreadable:
    """A Cluster whose spec can't be read.

    Attributes:
        cluster: it, as if its spec were empty.
        reason: why, with the name of the field.
    """

    cluster: Cluster
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """One Cluster and everything around it, as read for one reconcile.

    Attributes:
        scheduler: what the scheduler says of its workers, where the plan depends on it (`needs_scheduler`).
        workload: what it says of its work, where the Cluster scales itself (`scaling.question`).
    """

    cluster: Cluster
    deployment: Owned | None
    service: Owned | None
    scheduler_pods: tuple[Pod, ...]
    worker_pods: tuple[Pod, ...]
    scheduler: SchedulerView = field(default_factory=NotAsked)
    calls: RetireCalls = field(default_factory=RetireCalls)
    templates: TemplateCheck = field(default_factory=TemplateCheck)
    workload: Workload | NotAsked | Unreachable = field(default_factory=NotAsked)
    rivals: Rivals = field(default_factory=Rivals)

    @property
    def foreign(self) -> tuple[str, ...]:
        """What has the name of the Cluster's scheduler and isn't the Cluster's; see `foreign`."""
        return foreign(self.deployment, self.service)


def foreign(deployment: Owned | None, service: Owned | None) -> tuple[str, ...]:
    """Which of the two are there and belong to somebody else: "Deployment", "Service"."""
    found = {"Deployment": deployment, "Service": service}
    return tuple(kind for kind, owned in found.items() if owned is not None and not owned.ours)


def owned_by(manifest: Mapping[str, Any], uid: str) -> bool:
    """Whether an object's controller is the owner with this uid."""
    owners = manifest["metadata"].get("ownerReferences", ())
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def _container_status(status: Mapping[str, Any], container: str) -> Mapping[str, Any]:
    for state in status.get("containerStatuses", ()):
        if state["name"] == container:
            return dict(state)
    return {}


def _startup(metadata: Mapping[str, Any], state: Mapping[str, Any], ready: Mapping[str, Any]) -> timedelta | None:
    """How long the start took, where what is told is about the start: the condition only has its last transition."""
    begun = _time(state.get("state", {}).get("running", {}).get("startedAt"))
    since = _time(ready.get("lastTransitionTime"))
    if begun is None or since is None or state.get("restartCount", 0) > 0 or since - begun > LONGEST_BOOT:
        return None
    return since - datetime.fromisoformat(metadata["creationTimestamp"])


def _ended_for_good(spec: Mapping[str, Any], ended: Mapping[str, Any], container: str) -> bool:
    """Whether the kubelet never starts the container again, though the pod goes on with those beside it.

    Args:
        spec: the pod's.
        ended: how the container ended; empty: it hasn't.
        container: its name.
    """
    own: Mapping[str, Any] = next((c for c in spec.get("containers", ()) if c["name"] == container), {})
    # Rules are finer than a policy, and those of one container may have all of them started again.
    ruled = any(c.get("restartPolicyRules") for c in (*spec.get("containers", ()), *spec.get("initContainers", ())))
    policy = own.get("restartPolicy") or spec.get("restartPolicy")
    return bool(ended) and not ruled and (policy == "Never" or (policy == "OnFailure" and ended.get("exitCode") == 0))


def _was_never_ready(status: Mapping[str, Any], running: Mapping[str, Any]) -> bool:
    """Whether a pod has been unready from before the start of the process that runs now."""
    began = _time(running.get("startedAt"))
    unready = [c for c in status.get("conditions", ()) if c["type"] == "Ready" and c["status"] == "False"]
    changes = [_time(condition.get("lastTransitionTime")) for condition in unready]
    return any(began and changed and changed <= began for changed in changes)


def _deletion_cost(metadata: Mapping[str, Any]) -> int:
    try:
        return int(metadata.get("annotations", {}).get(names.DELETION_COST, 0))
    except ValueError:
        return 0  # the API server accepts any text here, and a ReplicaSet, too, ignores what is no number


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
