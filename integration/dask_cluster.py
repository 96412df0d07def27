"""One Dask cluster on Kubernetes as tests and demo see it: the Cluster resource, its pods and its client."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from integration.agent import pod
from integration.agent.client import Agent
from integration.kube import CLUSTERS, Kube, Manifest, Objects, overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[1]

_WITHOUT_DASHBOARD = {"name": "PYTHONPATH", "value": ""}
"""What hides bokeh in the image of the tests. Those of `example/` and of users' manifests have their dashboards."""


def manifest(
    name: str, image: str, *, replicas: int, worker: Manifest | None = None, scheduler: Manifest | None = None
) -> Manifest:
    """A small Cluster within the `restricted` Pod Security Standard.

    Args:
        name: its name.
        image: of scheduler and workers.
        replicas: the number of workers.
        worker: further fields of the workers' PodSpec.
        scheduler: further fields of the scheduler's PodSpec.
    """

    def template(container: str, fields: Manifest | None) -> Manifest:
        pod = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        return {
            "spec": {
                "securityContext": pod,
                "containers": [{"name": container, "securityContext": locked, "env": [_WITHOUT_DASHBOARD]}],
                **(fields or {}),
            }
        }

    return {
        "apiVersion": "dask.charmtx.com/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {
            "image": image,
            "scheduler": {"template": template("scheduler", scheduler)},
            "workers": {"replicas": replicas, "template": template("worker", worker)},
        },
    }


def started_by_path(made: Manifest, **fields: object) -> None:
    """Have a manifest's workers be started by no shell and by nothing on the PATH, their container with more fields."""
    (container,) = made["spec"]["workers"]["template"]["spec"]["containers"]
    address = "tcp://$(DASK_WORKER_ADDRESS):$(DASK_WORKER_PORT)"
    command = ["/opt/dask/bin/dask", "worker", "--no-nanny", "--name=$(DASK_WORKER_NAME)"]
    container.update(fields, command=[*command, f"--listen-address={address}"])


class DaskCluster:
    """A Cluster by its name, in the namespace of `kube`."""

    def __init__(self, kube: Kube, name: str) -> None:
        """Look at a Cluster, which need not exist yet."""
        self.kube = kube
        self.name = name
        self.scheduler = f"tcp://{name}-scheduler.{kube.namespace}.svc:8786"

    def apply(self, image: str, *, replicas: int, worker: Manifest | None = None) -> Self:
        """Apply `manifest`, and wait until all of it is ready."""
        self.kube.apply(manifest(self.name, image, replicas=replicas, worker=worker))
        self.wait_settled(replicas)
        return self

    def scale(self, replicas: int) -> None:
        """`kubectl scale`."""
        self.kube.scale(self.name, replicas)

    def patch(self, spec: Manifest) -> None:
        """Merge these fields into the Cluster's `spec`."""
        self.kube.run("patch", CLUSTERS, self.name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def let_go_first(self, worker: str) -> None:
        """Make a worker the one that goes first, by its pod's deletion cost, whatever the scheduler proposes."""
        self.kube.run("annotate", "pod", worker, "controller.kubernetes.io/pod-deletion-cost=-1")

    def resource(self) -> Manifest:
        """The Cluster as it stands."""
        return self.kube.get(CLUSTERS, self.name)

    def condition(self, kind: str) -> Manifest | None:
        """One of the Cluster's conditions as it stands."""
        return condition(self.resource(), kind)

    def workers(self) -> list[Manifest]:
        """The worker pods, those on their way out included."""
        return self.kube.objects().pods(cluster=self.name, role="worker")

    def wait_settled(self, replicas: int, *, timeout: float = 120.0) -> None:
        """Wait until the Cluster says that it has exactly this many workers, all ready, and no other pod is left."""
        self.kube.wait(
            f"Cluster {self.name} is settled with {replicas} workers",
            lambda objects: self._settled(objects, replicas),
            timeout=timeout,
        )

    def wait_condition(self, kind: str, status: str, *, containing: str = "", timeout: float = 60.0) -> Manifest:
        """Wait until a condition has a status and a text in its message; gives the condition."""

        def holds(objects: Objects) -> Manifest | None:
            found = objects.find("Cluster", self.name)
            has = condition(found, kind) if found else None
            return has if has and has["status"] == status and containing in has["message"] else None

        return self.kube.wait(f"{kind} is {status} and says {containing!r}", holds, timeout=timeout)

    @contextmanager
    def client(self, image: str) -> Iterator[Agent]:
        """A Dask client in a pod of this namespace, connected to the scheduler's Service."""
        self.kube.apply(pod.manifest(image))
        self.kube.wait("the client's pod runs", lambda objects: _runs(objects.find("Pod", pod.NAME)))
        with Agent(pod.relay(self.kube.namespace)) as agent:
            agent.connect(self.scheduler)
            yield agent

    def _settled(self, objects: Objects, replicas: int) -> bool:
        found = objects.find("Cluster", self.name)
        if found is None or (status := found.get("status")) is None:
            return False
        workers, pods = status["workers"], objects.pods(cluster=self.name, role="worker")
        ready = condition(found, "Ready")
        return (
            status["observedGeneration"] == found["metadata"]["generation"]
            and (workers["count"], workers["ready"], len(workers["retiring"])) == (replicas, replicas, 0)
            and ready is not None
            and ready["status"] == "True"
            and len(pods) == replicas
            and not any(is_terminating(worker) for worker in pods)
        )


def install_operator(kube: Kube, image: str, *, replicas: int = 1) -> None:
    """Install the operator for the Clusters of one namespace through `deploy/`, and wait until it is ready."""
    changes = [{"op": "replace", "path": "/spec/replicas", "value": replicas}]
    patch = {"target": {"kind": "Deployment"}, "patch": json.dumps(changes)}
    images = {"dask-k8s-operator": image}
    with overlay(CHECKOUT / "deploy", namespace=kube.namespace, images=images, patches=[patch]) as folder:
        kube.apply_kustomization(folder)
    kube.run("rollout", "status", "deployment/dask-operator", "--timeout=60s")


def apply_example(kube: Kube, image: str, *, replicas: int) -> DaskCluster:
    """Apply `example/` with the Dask image and a number of workers."""
    changes = [
        {"op": "replace", "path": "/spec/image", "value": image},
        {"op": "replace", "path": "/spec/workers/replicas", "value": replicas},
    ]
    patch = {"target": {"kind": "Cluster"}, "patch": json.dumps(changes)}
    with overlay(CHECKOUT / "example", namespace=kube.namespace, patches=[patch]) as folder:
        kube.apply_kustomization(folder)
    return DaskCluster(kube, "example-dask")


def condition(cluster: Manifest, kind: str) -> Manifest | None:
    """A condition of a Cluster's status."""
    conditions: list[dict[str, Any]] = cluster.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), None)


def is_terminating(manifest: Manifest) -> bool:
    """Whether somebody has asked for the object's deletion."""
    return "deletionTimestamp" in manifest["metadata"]


def _runs(found: Manifest | None) -> bool:
    return found is not None and found["status"]["phase"] == "Running"
