"""Whole manifests: what the API server is sent, for the shortest Cluster and for one as users write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.manifests import (
    WORKER_GRACE_SECONDS,
    scheduler_deployment,
    scheduler_service,
    worker_pod,
)
from dask_k8s_operator.domain.revision import fingerprint, scheduler_revision, worker_revision
from tests.unit.written import SHORTEST, USUAL, cluster

if TYPE_CHECKING:
    from dask_k8s_operator.domain.cluster import Cluster

ROUTES = (
    "['distributed.http.scheduler.prometheus', 'distributed.http.scheduler.info', "
    "'distributed.http.scheduler.json', 'distributed.http.scheduler.api', 'distributed.http.health', "
    "'distributed.http.proxy', 'distributed.http.statics']"
)


def metadata(cluster: str, name: str, role: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "science",
        "labels": {"dask.charmtx.com/cluster": cluster, "dask.charmtx.com/role": role},
        "ownerReferences": [
            {
                "apiVersion": "dask.charmtx.com/v1alpha1",
                "kind": "Cluster",
                "name": cluster,
                "uid": "u1",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def annotated(made_from: Cluster, manifest: dict[str, Any]) -> dict[str, Any]:
    """A Deployment or a Service with the annotations by which the operator finds out later what differs."""
    if manifest["kind"] == "Service":
        annotations = {"dask.charmtx.com/applied": fingerprint(with_annotations(manifest, {}))}
    else:
        annotations = {
            "dask.charmtx.com/applied": fingerprint(manifest["spec"]["template"]),
            "dask.charmtx.com/revision": scheduler_revision(made_from),
        }
    return with_annotations(manifest, annotations)


def with_annotations(manifest: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    found = manifest["metadata"].get("annotations", {})
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {**found, **annotations}}}


def worker_env(cluster: str) -> list[dict[str, Any]]:
    return [
        {"name": "DASK_SCHEDULER_ADDRESS", "value": f"tcp://{cluster}-scheduler.science.svc:8786"},
        {"name": "DASK_SCHEDULER_DASHBOARD", "value": f"http://{cluster}-scheduler.science.svc:8787"},
        {"name": "DASK_WORKER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "DASK_WORKER_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "DASK_WORKER_PORT", "value": "9000"},
        {"name": "DASK_DASHBOARD_PORT", "value": "9001"},
    ]


def worker_metadata(made_from: Cluster, name: str) -> dict[str, Any]:
    usual = metadata(made_from.name, name, "worker")
    return {**usual, "labels": {**usual["labels"], "dask.charmtx.com/revision": worker_revision(made_from)}}


def test_shortest_deployment() -> None:
    labels = {"dask.charmtx.com/cluster": "short", "dask.charmtx.com/role": "scheduler"}
    assert scheduler_deployment(cluster(SHORTEST)) == annotated(
        cluster(SHORTEST),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata("short", "short-scheduler", "scheduler"),
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [
                            {
                                "name": "scheduler",
                                "image": "dask:1",
                                "args": ["dask", "scheduler"],
                                "env": [{"name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "value": ROUTES}],
                                "ports": [
                                    {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
                                    {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
                                ],
                                "readinessProbe": {
                                    "tcpSocket": {"port": "tcp-comm"},
                                    "periodSeconds": 2,
                                    "timeoutSeconds": 5,
                                },
                            }
                        ]
                    },
                },
            },
        },
    )


def test_shortest_service() -> None:
    assert scheduler_service(cluster(SHORTEST)) == annotated(
        cluster(SHORTEST),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("short", "short-scheduler", "scheduler"),
            "spec": {
                "selector": {"dask.charmtx.com/cluster": "short", "dask.charmtx.com/role": "scheduler"},
                "ports": [
                    {"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm", "protocol": "TCP"},
                    {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard", "protocol": "TCP"},
                ],
            },
        },
    )


def test_shortest_worker() -> None:
    assert worker_pod(cluster(SHORTEST), "short-worker-x") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": worker_metadata(cluster(SHORTEST), "short-worker-x"),
        "spec": {
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 300,
            "containers": [
                {
                    "name": "worker",
                    "image": "dask:1",
                    "args": [
                        "dask",
                        "worker",
                        "--no-nanny",
                        "--name=$(DASK_WORKER_NAME)",
                        "--listen-address=tcp://$(DASK_WORKER_ADDRESS):$(DASK_WORKER_PORT)",
                        "--dashboard-address=$(DASK_WORKER_ADDRESS):$(DASK_DASHBOARD_PORT)",
                    ],
                    "env": worker_env("short"),
                    "ports": [
                        {"name": "tcp-worker", "containerPort": 9000, "protocol": "TCP"},
                        {"name": "http-dashboard", "containerPort": 9001, "protocol": "TCP"},
                    ],
                    "readinessProbe": {"tcpSocket": {"port": "tcp-worker"}, "periodSeconds": 2},
                    "lifecycle": {"preStop": {"exec": {"command": prestop_command(WORKER_GRACE_SECONDS)}}},
                }
            ],
        },
    }


def test_usual_deployment() -> None:
    labels = {"dask.charmtx.com/cluster": "team-a", "dask.charmtx.com/role": "scheduler"}
    assert scheduler_deployment(cluster(USUAL)) == annotated(
        cluster(USUAL),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata("team-a", "team-a-scheduler", "scheduler"),
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": {"team": "a"}},
                    "spec": {
                        "priorityClassName": "scheduler",
                        "containers": [
                            {
                                "name": "scheduler",
                                "image": "IMAGE",
                                "command": ["bash", "-c"],
                                "args": ["pip install prometheus-client && dask scheduler"],
                                "env": [{"name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "value": ROUTES}],
                                "ports": [
                                    {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
                                    {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
                                ],
                                "readinessProbe": {
                                    "tcpSocket": {"port": "tcp-comm"},
                                    "periodSeconds": 2,
                                    "timeoutSeconds": 5,
                                },
                                "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}},
                            }
                        ],
                    },
                },
            },
        },
    )


def test_usual_service() -> None:
    assert scheduler_service(cluster(USUAL)) == annotated(
        cluster(USUAL),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("team-a", "team-a-scheduler", "scheduler"),
            "spec": {
                "type": "ClusterIP",
                "selector": {"dask.charmtx.com/cluster": "team-a", "dask.charmtx.com/role": "scheduler"},
                "ports": [
                    {"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm", "protocol": "TCP"},
                    {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard", "protocol": "TCP"},
                ],
            },
        },
    )


def test_usual_worker() -> None:
    assert worker_pod(cluster(USUAL), "team-a-worker-x") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": worker_metadata(cluster(USUAL), "team-a-worker-x"),
        "spec": {
            "serviceAccountName": "research",
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 300,
            "containers": [
                {
                    "name": "worker",
                    "image": "IMAGE",
                    "command": ["dask", "worker"],
                    "args": [
                        "--no-nanny",
                        "--name=$(DASK_WORKER_NAME)",
                        "--listen-address=tcp://$(DASK_WORKER_ADDRESS):$(DASK_WORKER_PORT)",
                        "--dashboard-address=$(DASK_WORKER_ADDRESS):$(DASK_DASHBOARD_PORT)",
                    ],
                    "env": [*worker_env("team-a"), {"name": "MALLOC_TRIM_THRESHOLD_", "value": "65536"}],
                    "ports": [
                        {"name": "tcp-worker", "containerPort": 9000, "protocol": "TCP"},
                        {"name": "http-dashboard", "containerPort": 9001, "protocol": "TCP"},
                    ],
                    "lifecycle": {"preStop": {"exec": {"command": prestop_command(WORKER_GRACE_SECONDS)}}},
                }
            ],
        },
    }
