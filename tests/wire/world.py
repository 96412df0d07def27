"""What others do to the objects: users, kubelets, the Deployment's controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names
from tests.wire.apiserver import BY_ITSELF, CLUSTERS, DEPLOYMENTS, PODS, SERVICES, ApiServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kmock import resource

    from tests.wire.dask import FakeDask

CLUSTER = "team-a"
SCHEDULER_POD = f"{CLUSTER}-scheduler-0"
RUNNING = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}


class World:
    """The only Cluster, and everybody but the operator."""

    def __init__(self, api: ApiServer, dask: FakeDask) -> None:
        self._api = api
        self._dask = dask
        self._ips = 0

    def apply(
        self,
        *,
        replicas: int,
        metadata: Mapping[str, Any] | None = None,
        autoscale: Mapping[str, Any] | None = None,
        idle: Mapping[str, Any] | None = None,
        suspend: bool = False,
        retirement: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the Cluster before anybody watches."""
        workers = {"replicas": replicas} | ({"autoscale": autoscale} if autoscale else {})
        workers |= {"retirement": retirement} if retirement else {}
        further = ({"idle": idle} if idle else {}) | ({"suspend": True} if suspend else {})
        self._api.add(
            CLUSTERS,
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "metadata": {"name": CLUSTER, **(metadata or {})},
                "spec": {"image": "dask:1", "workers": workers} | further,
            },
        )

    async def scale(self, replicas: int) -> None:
        """`kubectl scale`."""
        await self._edit({"workers": {"replicas": replicas}})

    async def suspend(self, *, wanted: bool) -> None:
        """`kubectl patch` of spec.suspend."""
        await self._edit({"suspend": wanted})

    async def _edit(self, spec: Mapping[str, Any]) -> None:
        generation = self.cluster["metadata"]["generation"] + 1
        await self._api.change(CLUSTERS, CLUSTER, {"metadata": {"generation": generation}, "spec": spec})

    @property
    def cluster(self) -> dict[str, Any]:
        """The Cluster as it stands."""
        return self._api.one(CLUSTERS, CLUSTER)

    @property
    def status(self) -> dict[str, Any]:
        """Its status; empty before the operator has written one."""
        return dict(self.cluster.get("status", {}))

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition; empty before there is one."""
        found = [c for c in self.status.get("conditions", ()) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")

    def workers(self) -> list[str]:
        """The names of the worker pods that are there, sorted."""
        role = {names.LABEL_ROLE: names.ROLE_WORKER}
        return sorted(
            p["metadata"]["name"] for p in self._api.all(PODS) if role.items() <= p["metadata"]["labels"].items()
        )

    async def has_workers(self, count: int) -> list[str]:
        """Wait until there are so many worker pods."""
        await self._api.until(lambda: len(self.workers()) == count, f"{count} worker pods")
        return self.workers()

    async def start_scheduler(self) -> None:
        """What the Deployment's controller and a kubelet do once there is a Deployment."""
        name = names.scheduler_name(CLUSTER)
        await self._api.until(lambda: self._api.all(DEPLOYMENTS), "the Deployment")
        if not [p for p in self._api.all(PODS) if p["metadata"]["name"] == SCHEDULER_POD]:
            state = {"containerStatuses": [{"name": names.ROLE_SCHEDULER, "state": RUNNING}]}
            labels = names.labels(CLUSTER, names.ROLE_SCHEDULER)
            self._api.add(PODS, {"metadata": {"name": SCHEDULER_POD, "labels": labels}, "status": state})
        await self._api.change(DEPLOYMENTS, name, {"status": {"updatedReplicas": 1, "availableReplicas": 1}})

    async def stop_scheduler(self) -> None:
        """What they do once the Deployment is to have no pod."""
        name = names.scheduler_name(CLUSTER)
        await self._api.until(lambda: self._api.one(DEPLOYMENTS, name)["spec"]["replicas"] == 0, "none is wanted")
        await self.delete(PODS, SCHEDULER_POD)
        await self._api.change(DEPLOYMENTS, name, {"status": {"availableReplicas": 0}})

    async def start_workers(self) -> list[str]:
        """What kubelets do with worker pods: run them; and their workers register."""
        for name in self.workers():
            if "podIP" not in self._api.one(PODS, name).get("status", {}):
                await self.start_worker(name)
        return self.workers()

    async def start_worker(self, name: str) -> None:
        """Run one worker pod, whose worker registers."""
        self._ips += 1
        ip = f"10.1.0.{self._ips}"
        self._dask.workers[f"tcp://{ip}:9000"] = name
        status = {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": names.ROLE_WORKER, "state": RUNNING}],
        }
        await self._api.change(PODS, name, {"status": status})

    async def finish(self, name: str) -> None:
        """Have a worker end after an hour's work."""
        del self._dask.workers[self.address(name)]
        ended = {"terminated": {"startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T13:00:00Z"}}
        state = {"containerStatuses": [{"name": names.ROLE_WORKER, "state": ended}]}
        await self._api.change(PODS, name, {"status": {"phase": "Succeeded", **state}})

    async def delete(self, kind: resource, name: str) -> None:
        """`kubectl delete`."""
        async with self._api.delete(self._api.path_of(kind, name), headers=BY_ITSELF) as answer:
            answer.raise_for_status()

    async def make_anew(self, *, replicas: int) -> None:
        """Delete the Cluster and make another of its name before anybody looks; what the first owned goes with it."""
        self.apply(replicas=replicas)
        self._ips = 0
        self._dask.workers.clear()
        for kind in (PODS, SERVICES, DEPLOYMENTS):
            for owned in self._api.all(kind):
                await self.delete(kind, owned["metadata"]["name"])

    def address(self, name: str) -> str:
        """The address of the worker in this pod."""
        return f"tcp://{self._api.one(PODS, name)['status']['podIP']}:9000"

    def lose_pod(self, name: str) -> None:
        """Delete a pod without anybody who watches being told."""
        del self._api.objects[PODS, self.cluster["metadata"]["namespace"], name]

    async def ready(self, replicas: int) -> list[str]:
        """Bring the Cluster up to where all is well, with so many workers."""
        await self.start_scheduler()
        await self.has_workers(replicas)
        await self.start_workers()
        await self._api.until(lambda: self.condition("Ready")[0] == "True", "the Cluster is ready")
        return self.workers()
