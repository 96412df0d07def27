"""The manifests of everything that a Cluster owns: pure builders, the user's templates laid over our defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import InvalidCluster
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.merge import merge
from dask_k8s_operator.domain.revision import fingerprint, scheduler_revision, worker_revision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_k8s_operator.domain.cluster import Cluster

HTTP_ROUTES = (
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.scheduler.api",
    "distributed.http.health",
    "distributed.http.proxy",
    "distributed.http.statics",
)
"""Dask's default routes and the API, which is off by default. The setting replaces the whole list of routes."""

SCHEDULER_ALONE: Mapping[str, Any] = {"replicas": 1, "strategy": {"type": "Recreate"}}
"""Of the scheduler's Deployment: two schedulers at once would split the workers between them."""

WORKER_GRACE_SECONDS = 300
"""How long a worker whose pod somebody deletes may take to hand its data over (its preStop hook retires it)."""


def scheduler_deployment(cluster: Cluster, *, replicas: int = 1) -> dict[str, Any]:
    """The scheduler's Deployment.

    Args:
        cluster: whose it is.
        replicas: 0 while the Cluster is suspended.

    Raises:
        InvalidCluster: no image for the scheduler.
    """
    template = _pod(
        cluster,
        role=names.ROLE_SCHEDULER,
        template=cluster.scheduler_template,
        container=_scheduler_container(cluster),
        pod_defaults={},
    )
    annotations = {
        names.ANNOTATION_REVISION: scheduler_revision(cluster),
        names.ANNOTATION_APPLIED: fingerprint(template),
    }
    metadata = _metadata(cluster, names.scheduler_name(cluster.name), names.ROLE_SCHEDULER)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": annotations},
        "spec": {
            **SCHEDULER_ALONE,
            "replicas": replicas,
            "selector": {"matchLabels": names.labels(cluster.name, names.ROLE_SCHEDULER)},
            "template": template,
        },
    }


def scheduler_service(cluster: Cluster) -> dict[str, Any]:
    """The scheduler's Service: the name that workers, clients and the operator use."""
    ports = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (names.PORT_COMM, names.PORT_DASHBOARD)
    ]
    default = {"selector": names.labels(cluster.name, names.ROLE_SCHEDULER), "ports": ports}
    metadata = _metadata(cluster, names.scheduler_name(cluster.name), names.ROLE_SCHEDULER)
    theirs = cluster.scheduler_service_metadata or {}
    metadata["labels"] = {**(theirs.get("labels") or {}), **metadata["labels"]}
    metadata["annotations"] = dict(theirs.get("annotations") or {})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": merge(default, cluster.scheduler_service),
    }
    metadata["annotations"][names.ANNOTATION_APPLIED] = fingerprint(service)
    return service


def worker_pod(cluster: Cluster, name: str) -> dict[str, Any]:
    """A worker pod.

    Raises:
        InvalidCluster: no image for the worker.
    """
    pod = _pod(
        cluster,
        role=names.ROLE_WORKER,
        template=cluster.worker_template,
        container=_worker_container(cluster),
        pod_defaults={
            # A retired worker exits with 0 and is done; one that crashed comes back under the same name.
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": WORKER_GRACE_SECONDS,
        },
    )
    metadata = {**pod["metadata"], **_metadata(cluster, name, names.ROLE_WORKER)}
    metadata["labels"] = {**pod["metadata"]["labels"], names.LABEL_REVISION: worker_revision(cluster)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def _scheduler_container(cluster: Cluster) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": names.ROLE_SCHEDULER,
        "ports": _container_ports(names.PORT_COMM, names.PORT_DASHBOARD),
        "env": [{"name": names.ENV_ROUTES, "value": str(list(HTTP_ROUTES))}],
        # The kernel answers for a scheduler that is merely busy. No liveness probe: killing a slow scheduler
        # would lose every key of the cluster.
        "readinessProbe": {
            "tcpSocket": {"port": names.PORT_COMM[0]},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
        },
    }
    if not _has_command(cluster.scheduler_template, names.ROLE_SCHEDULER):
        container["args"] = ["dask", "scheduler"]
    return container


def _worker_container(cluster: Cluster) -> dict[str, Any]:
    scheduler, namespace = cluster.name, cluster.namespace
    container: dict[str, Any] = {
        "name": names.ROLE_WORKER,
        "ports": _container_ports(names.PORT_WORKER, names.PORT_WORKER_DASHBOARD),
        "env": [
            {"name": names.ENV_SCHEDULER_ADDRESS, "value": names.scheduler_address(scheduler, namespace)},
            {"name": names.ENV_SCHEDULER_DASHBOARD, "value": names.dashboard_address(scheduler, namespace)},
            {"name": names.ENV_WORKER_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": names.ENV_WORKER_ADDRESS, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": names.ENV_WORKER_PORT, "value": str(names.PORT_WORKER[1])},
            {"name": names.ENV_DASHBOARD_PORT, "value": str(names.PORT_WORKER_DASHBOARD[1])},
        ],
        "lifecycle": {"preStop": {"exec": {"command": prestop_command(_grace_seconds(cluster))}}},
    }
    if not _has_command(cluster.worker_template, names.ROLE_WORKER):
        container["args"] = [
            "dask",
            "worker",
            "--no-nanny",
            f"--name=$({names.ENV_WORKER_NAME})",
            f"--listen-address=tcp://$({names.ENV_WORKER_ADDRESS}):$({names.ENV_WORKER_PORT})",
            f"--dashboard-address=$({names.ENV_WORKER_ADDRESS}):$({names.ENV_DASHBOARD_PORT})",
        ]
        # A command of the user's may listen elsewhere, and a probe of ours would then never succeed.
        container["readinessProbe"] = {"tcpSocket": {"port": names.PORT_WORKER[0]}, "periodSeconds": 2}
    return container


def _grace_seconds(cluster: Cluster) -> int:
    seconds = (cluster.worker_template.get("spec") or {}).get("terminationGracePeriodSeconds")
    return WORKER_GRACE_SECONDS if seconds is None else int(seconds)


def _pod(
    cluster: Cluster,
    *,
    role: str,
    template: Mapping[str, Any],
    container: dict[str, Any],
    pod_defaults: dict[str, Any],
) -> dict[str, Any]:
    spec = merge({**pod_defaults, "containers": [container]}, template.get("spec") or {})
    # The user's own containers may be sidecars; the first is the one that kubectl logs and exec mean.
    spec["containers"] = [_with_image(c, cluster, role) for c in spec["containers"]]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **names.labels(cluster.name, role)}
    return {"metadata": {**metadata, "labels": labels}, "spec": spec}


def _with_image(container: dict[str, Any], cluster: Cluster, role: str) -> dict[str, Any]:
    if container.get("image") or container.get("name") != role:
        return container
    if not cluster.image:
        section = "scheduler" if role == names.ROLE_SCHEDULER else "workers"
        raise InvalidCluster(
            f"no image for the {role}: set spec.image, or give spec.{section}.template.spec.containers "
            f"an item with name: {role} and an image"
        )
    return {**container, "image": cluster.image}


def _has_command(template: Mapping[str, Any], container: str) -> bool:
    containers = (template.get("spec") or {}).get("containers") or []
    return any(c.get("name") == container and ("command" in c or "args" in c) for c in containers)


def _container_ports(*ports: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports]


def _metadata(cluster: Cluster, name: str, role: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": cluster.namespace,
        "labels": names.labels(cluster.name, role),
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": cluster.name,
                "uid": cluster.uid,
                "controller": True,
                # Foreground deletion of the Cluster waits for what it owns; needs no permission on finalizers
                # of ours, because nothing is owned by anything that is written by others.
                "blockOwnerDeletion": True,
            }
        ],
    }
