"""Short ways to say what a reconcile sees.

A pod called `a` has the uid `uid-a` and an IP of its own, and its worker is called `a`, too. So a test names
pods by a letter, and workers by the pods that they run in.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from dask_k8s_operator.domain.actions import (
    Action,
    Apply,
    Create,
    DeleteCluster,
    DeletePod,
    Drain,
    Plan,
    Repair,
    Retire,
    Scale,
    TakeOver,
)
from dask_k8s_operator.domain.cluster import Cluster, Retiring
from dask_k8s_operator.domain.handover import digest
from dask_k8s_operator.domain.manifests import scheduler_service
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.rivals import Rivals
from dask_k8s_operator.domain.snapshot import (
    Listed,
    NotAsked,
    Owned,
    Pod,
    RetireCalls,
    SchedulerView,
    Snapshot,
    Unreachable,
    Worker,
)
from dask_k8s_operator.domain.templates import TemplateCheck

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dask_k8s_operator.domain.workload import Workload

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DOWN = Unreachable("the scheduler can't be reached")
NOT_ASKED = NotAsked()

AnAction = TypeVar("AnAction", Create, Apply, Repair, TakeOver, DeletePod, Drain, Retire, Scale, DeleteCluster)


def at(seconds: float) -> datetime:
    """The moment this many seconds from now; negative: before now."""
    return NOW + timedelta(seconds=seconds)


def ip(name: str) -> str:
    """The IP of the pod with this name."""
    return ".".join(["10", *(str(byte) for byte in name.encode()[:3].rjust(3, b"\0"))])


def address(name: str, port: int = 9000) -> str:
    """The address of the worker of the pod with this name."""
    return f"tcp://{ip(name)}:{port}"


def addresses(pods: str) -> frozenset[str]:
    """The addresses of the workers of these pods, each named by one letter."""
    return frozenset(address(name) for name in pods)


def peers(pods: str) -> str:
    """The fingerprint of these pods' workers, as an entry remembers who could have taken its data."""
    return digest(addresses(pods))


def pod(name: str, *, age: float = 3600, **state: Any) -> Pod:
    """A pod, by default one whose worker has been running for an hour and is ready."""
    usual: dict[str, Any] = {
        "uid": f"uid-{name}",
        "resource_version": f"rv-{name}",
        "ip": ip(name),
        "created": at(-age),
        "started": True,
        "ready": True,
        "finished": False,
        "terminating": False,
    }
    return Pod(name=name, **(usual | state))


def pods(names: str, **state: Any) -> tuple[Pod, ...]:
    """A pod for each letter, the first one the oldest."""
    return tuple(pod(name, age=3600 - 60 * index, **state) for index, name in enumerate(names))


def pending(name: str, *, age: float = 5) -> Pod:
    """A pod that no node has started yet."""
    return pod(name, age=age, ip=None, started=False, ready=False)


def finished(name: str, *, ran: float | None = 600, ended: float = 1, **state: Any) -> Pod:
    """A pod whose worker ran for `ran` seconds and ended `ended` seconds ago."""
    done = {"finished": True, "ready": False, "ran_seconds": ran, "finished_at": at(-ended)}
    return pod(name, **(done | state))


def entry(name: str, *, since: float = -60, asked: float | None = None, **more: Any) -> Retiring:
    """What the status remembers of the retirement of pod `name`; times in seconds from now."""
    usual: dict[str, Any] = {"addresses": (address(name),)}
    if asked is not None:
        usual |= {"asked": at(asked), "attempts": 1}
    return Retiring(name=name, uid=f"uid-{name}", since=at(since), **(usual | more))


def workers(names: str) -> Listed:
    """The scheduler's list: the worker of each of these pods."""
    return Listed(tuple(Worker(name, address(name)) for name in names))


def manifest(
    spec: Mapping[str, Any] | None = None, *, status: Mapping[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    """A Cluster as the API server gives it."""
    usual = {"name": "team-a", "namespace": "science", "uid": "uid-cluster", "resourceVersion": "7", "generation": 3}
    resource: dict[str, Any] = {"metadata": usual | metadata, "spec": {"image": "dask:1"} if spec is None else spec}
    return resource if status is None else resource | {"status": status}


def cluster(replicas: int = 1, *, retiring: Iterable[Retiring] = (), **fields: Any) -> Cluster:
    """A Cluster with a valid spec."""
    usual = Cluster.from_manifest(manifest())
    return replace(usual, replicas=replicas, retiring=tuple(retiring), **fields)


def owned(made: Mapping[str, Any], *, ready: bool = True, **metadata: Any) -> Owned:
    """The scheduler's Deployment or Service, as the manifest made it; metadata is laid over its own."""
    whole = made["metadata"] | {"uid": f"uid-{made['kind']}", "resourceVersion": f"rv-{made['kind']}"} | metadata
    return Owned(ours=True, ready=ready, metadata=whole, spec=made["spec"])


OURS = owned(scheduler_service(cluster()))
"""A Deployment or a Service that stays as it is: of the Deployment's template nothing is known."""


def snapshot(
    worker_pods: Iterable[Pod] = (),
    *,
    replicas: int,
    scheduler: SchedulerView = NOT_ASKED,
    retiring: Iterable[Retiring] = (),
    calls: RetireCalls | None = None,
    templates: TemplateCheck | None = None,
    scheduler_pods: Iterable[Pod] | None = None,
    deployment: Owned | None = OURS,
    service: Owned | None = OURS,
    workload: Workload | NotAsked | Unreachable = NOT_ASKED,
    rivals: Rivals | None = None,
    **cluster_fields: Any,
) -> Snapshot:
    """What a reconcile sees; by default all is well with the scheduler, and nobody needed to ask it."""
    return Snapshot(
        cluster=cluster(replicas, retiring=retiring, **cluster_fields),
        deployment=deployment,
        service=service,
        scheduler_pods=tuple(scheduler_pods) if scheduler_pods is not None else (pod("scheduler"),),
        worker_pods=tuple(worker_pods),
        scheduler=scheduler,
        calls=calls or RetireCalls(),
        templates=templates or TemplateCheck(),
        workload=workload,
        rivals=rivals or Rivals(),
    )


def follow(seen: Snapshot, decided: Plan, **changes: Any) -> Snapshot:
    """The next look, once the status that was decided stands: everything else as it was, but for the changes."""
    if decided.status is not None:
        entries = decided.status["workers"]["retiring"]
        now = replace(
            seen.cluster,
            status=decided.status,
            retiring=tuple(Retiring.from_status(e) for e in entries),
            resource_version=seen.cluster.resource_version + "'",
        )
        seen = replace(seen, cluster=now)
    return replace(seen, **changes)


def decide(*args: Any, now: datetime = NOW, **kwargs: Any) -> Plan:
    """The plan for `snapshot(*args, **kwargs)`."""
    return plan(snapshot(*args, **kwargs), now)


def of_kind(kind: type[AnAction], actions: Iterable[Action]) -> list[AnAction]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def created(decided: Plan) -> list[str]:
    """What is created: kinds, sorted."""
    return sorted(action.kind for action in of_kind(Create, decided.actions))


def deleted(decided: Plan) -> list[str]:
    """The names of the pods that are deleted, in order."""
    return [action.name for action in of_kind(DeletePod, decided.actions)]


def asked(decided: Plan) -> frozenset[str]:
    """The addresses that the scheduler is asked to retire."""
    return frozenset[str]().union(*(action.addresses for action in of_kind(Retire, decided.actions)))


def remembered(decided: Plan) -> dict[str, Retiring]:
    """The entries of the status that is to be written, by the pod's name."""
    assert decided.status is not None, "the status stays as it is"
    return {e["name"]: Retiring.from_status(e) for e in decided.status["workers"]["retiring"]}


def condition(decided: Plan, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of one condition of the status that is to be written."""
    assert decided.status is not None, "the status stays as it is"
    [found] = [c for c in decided.status["conditions"] if c["type"] == kind]
    return found["status"], found["reason"], found["message"]


def times(decided: Plan, kind: str) -> str:
    """When one condition of the status that is to be written changed."""
    assert decided.status is not None, "the status stays as it is"
    [time] = [c["lastTransitionTime"] for c in decided.status["conditions"] if c["type"] == kind]
    return str(time)
