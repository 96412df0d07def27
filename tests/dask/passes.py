"""Real passes of the operator over a real scheduler: only the API server is made up, and its pods are but names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from dask_k8s_operator.clients.access import Scheduler
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.controller.executor import Executor
from dask_k8s_operator.controller.generations import Generations
from dask_k8s_operator.controller.keys import ClusterKey
from dask_k8s_operator.controller.lookout import Lookout
from dask_k8s_operator.controller.observer import Observer
from dask_k8s_operator.controller.reconciler import Reconciler
from dask_k8s_operator.controller.recorder import Recorder
from dask_k8s_operator.controller.retirecalls import RetireCallRegister
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service, worker_pod
from tests.dask.support import until
from tests.unit.builders import manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from dask_k8s_operator.clients.kubernetes import KubernetesClient
    from tests.dask.support import LocalDask

KEY, UID = ClusterKey("science", "team-a"), "uid-cluster"
IDENTITY = {"uid": "uid-0", "resourceVersion": "1", "creationTimestamp": "2026-03-01T12:00:00Z"}


class Passes:
    """A Cluster whose pods are called like the workers that are there, each by one letter.

    Args:
        local: the scheduler.
        workers: the pods, in the order in which they go.
        spec: more of `spec.workers`.

    Attributes:
        cluster: the Cluster as the API server has it.
        deleted: the names of the pods that were deleted, in order.
    """

    def __init__(self, local: LocalDask, workers: str, **spec: Any) -> None:
        self.cluster: dict[str, Any] = manifest({"image": "dask:1", "workers": {"replicas": len(workers), **spec}})
        self.deleted: list[str] = []
        self._pods = list(workers)
        self._local = local
        self.restart()

    def restart(self) -> None:
        """Start another process of the operator, which knows nothing of the calls of the last one."""
        self.calls = RetireCallRegister(wake=lambda _: None)  # the scheduler goes on with those
        kubernetes = cast("KubernetesClient", self)
        observer = Observer(kubernetes, self._scheduler, self.calls, Generations())
        recorder = Recorder(kubernetes)
        executor = Executor(kubernetes, self._scheduler, self.calls, recorder)
        lookout = Lookout(self._scheduler, wake=lambda _: None)
        self._reconciler = Reconciler(kubernetes, observer, executor, self.calls, recorder, lookout=lookout)

    def scale(self, replicas: int) -> None:
        """`kubectl scale`."""
        self.cluster["spec"]["workers"]["replicas"] = replicas

    async def make(self) -> None:
        """Make one pass."""
        await self._reconciler.reconcile(KEY)

    def forget_answers(self) -> None:
        """Have the status know nothing of what the scheduler answered, as if it had answered nobody."""
        for entry in self.cluster["status"]["workers"]["retiring"]:
            for answer in ("refused", "moved", "drained"):
                entry.pop(answer, None)

    @property
    def in_flight(self) -> frozenset[str]:
        """Whom this process waits for."""
        return self.calls.of(KEY, UID).in_flight

    async def make_until(self, condition: Any, what: str) -> None:
        """Make passes until something holds."""

        async def once_more() -> bool:
            await self.make()
            return bool(condition())

        await until(once_more, what)

    @property
    def retiring(self) -> dict[str, dict[str, Any]]:
        """What the status remembers of those on their way out, by name."""
        workers = self.cluster.get("status", {}).get("workers", {})
        return {entry["name"]: entry for entry in workers.get("retiring", ())}

    def since_asked(self, name: str) -> timedelta:
        """How long ago the scheduler was last asked for this one."""
        return datetime.now(UTC) - datetime.fromisoformat(self.retiring[name]["asked"])

    def _scheduler(self, _: ClusterKey) -> Scheduler:
        return Scheduler(self._local.api, SchedulerRpc(self._local.scheduler.address))

    # What the operator asks of the API server.

    async def get_cluster(self, *_: str) -> dict[str, Any]:
        return self.cluster

    async def get(self, kind: str, *_: str) -> dict[str, Any]:
        make = scheduler_deployment if kind == "Deployment" else scheduler_service
        manifest = make(Cluster.from_manifest(self.cluster))
        return manifest | {"metadata": manifest["metadata"] | IDENTITY}

    async def list_pods(self, *_: str) -> list[dict[str, Any]]:
        return [self._pod(name) for name in self._pods]

    async def try_out(self, *_: object, **__: object) -> None:
        await asyncio.sleep(0)

    apply = merge = set_managed_fields = try_out  # the scheduler's Deployment and Service matter to nobody here

    async def patch_cluster_status(self, *_: str, status: Mapping[str, Any], **__: object) -> dict[str, Any]:
        _merge(self.cluster.setdefault("status", {}), status)
        return self.cluster

    async def delete_pod(self, _: str, name: str, **__: object) -> None:
        self._pods.remove(name)
        self.deleted.append(name)

    def _pod(self, name: str) -> dict[str, Any]:
        pod = worker_pod(replace(Cluster.from_manifest(self.cluster), status={}), name)
        turn = {"annotations": {names.DELETION_COST: str(ord(name))}}
        running = {"name": "worker", "state": {"running": {}}}
        return pod | {
            "metadata": pod["metadata"] | IDENTITY | turn | {"uid": f"uid-{name}"},
            "status": {"phase": "Running", "containerStatuses": [running]},
        }


def _merge(into: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value
