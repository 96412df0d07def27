"""Whole manifests: what the API server is sent, for the shortest Cluster and for one as users write them."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest
import yaml

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster, InvalidCluster
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.manifests import (
    WORKER_GRACE_SECONDS,
    scheduler_deployment,
    scheduler_service,
    worker_pod,
)
from dask_k8s_operator.domain.revision import fingerprint, scheduler_revision, worker_revision

SHORTEST = """
apiVersion: dask.charmtx.com/v1alpha1
kind: Cluster
metadata: {name: short}
spec:
  image: dask:1
  workers: {replicas: 3}
"""

USUAL = """
apiVersion: dask.charmtx.com/v1alpha1
kind: Cluster
metadata: {name: team-a}
spec:
  scheduler:
    service: {type: ClusterIP}
    template:
      metadata: {annotations: {team: a}}
      spec:
        priorityClassName: scheduler
        containers:
          - name: scheduler
            image: IMAGE
            command: [bash, -c]
            args: ["pip install prometheus-client && dask scheduler"]
            resources: {limits: {cpu: 500m, memory: 512Mi}}
  workers:
    replicas: 1
    template:
      spec:
        serviceAccountName: research
        containers:
          - name: worker
            image: IMAGE
            command: [dask, worker]
            args:
              - --no-nanny
              - --name=$(DASK_WORKER_NAME)
              - --listen-address=tcp://$(DASK_WORKER_ADDRESS):$(DASK_WORKER_PORT)
              - --dashboard-address=$(DASK_WORKER_ADDRESS):$(DASK_DASHBOARD_PORT)
            env: [{name: MALLOC_TRIM_THRESHOLD_, value: "65536"}]
"""

ROUTES = (
    "['distributed.http.scheduler.prometheus', 'distributed.http.scheduler.info', "
    "'distributed.http.scheduler.json', 'distributed.http.scheduler.api', 'distributed.http.health', "
    "'distributed.http.proxy', 'distributed.http.statics']"
)


def cluster(text: str, **spec: Any) -> Cluster:
    """Read a Cluster as the API server would give it back in the namespace `science`."""
    manifest = yaml.safe_load(text)
    manifest["metadata"] |= {"namespace": "science", "uid": "u1", "resourceVersion": "1", "generation": 1}
    manifest["spec"] |= spec
    return Cluster.from_manifest(manifest)


def with_templates(*, scheduler: Any = None, worker: Any = None, service: Any = None) -> Cluster:
    """The shortest Cluster with these templates."""
    return cluster(
        SHORTEST,
        scheduler={"template": scheduler, "service": service},
        workers={"template": worker},
    )


def container(**fields: Any) -> dict[str, Any]:
    """A template that says this of its Dask containers."""
    return {"spec": {"containers": [{"name": name, **fields} for name in ("scheduler", "worker")]}}


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


def test_labels_and_annotations_of_the_service() -> None:
    role = "dask.charmtx.com/role"
    theirs = {"labels": {"a": "b", role: "mine"}, "annotations": {"c": "d"}}
    found = scheduler_service(cluster(SHORTEST, scheduler={"serviceMetadata": theirs}))["metadata"]
    assert found["labels"] == {"a": "b", "dask.charmtx.com/cluster": "short", role: "scheduler"}
    assert found["annotations"].keys() == {"c", "dask.charmtx.com/applied"}
    other = scheduler_service(cluster(SHORTEST))["metadata"]["annotations"]
    assert found["annotations"]["dask.charmtx.com/applied"] != other["dask.charmtx.com/applied"]


def worker_metadata(made_from: Cluster, name: str) -> dict[str, Any]:
    usual = metadata(made_from.name, name, "worker")
    return {**usual, "labels": {**usual["labels"], "dask.charmtx.com/revision": worker_revision(made_from)}}


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


def test_the_old_spelling_of_the_service_account_stays() -> None:
    pod = worker_pod(with_templates(worker={"spec": {"serviceAccount": "research"}}), "w")
    assert pod["spec"]["serviceAccount"] == "research"


@pytest.mark.parametrize("words", [{"command": ["bash", "-c"], "args": ["x"]}, {"command": ["x"]}, {"args": ["x"]}])
def test_a_command_of_the_users_stands_alone(words: dict[str, list[str]]) -> None:
    """Half of theirs and half of ours would be neither; and where theirs listens no probe of ours can know."""
    clusters = with_templates(scheduler=container(**words), worker=container(**words))
    [scheduler, _] = scheduler_deployment(clusters)["spec"]["template"]["spec"]["containers"]
    [worker, _] = worker_pod(clusters, "w")["spec"]["containers"]
    for found in (scheduler, worker):
        assert {key: found[key] for key in ("command", "args") if key in found} == words
    assert "readinessProbe" in scheduler, "the scheduler's port is where workers find it, whatever the command"
    assert "readinessProbe" not in worker


def test_the_users_grace_period_restart_policy_and_hook_win() -> None:
    hook = {"httpGet": {"path": "/leave", "port": 80}}
    template = container(lifecycle={"preStop": hook})
    template["spec"] |= {"terminationGracePeriodSeconds": 5, "restartPolicy": "Never"}
    spec = worker_pod(with_templates(worker=template), "w")["spec"]
    assert (spec["terminationGracePeriodSeconds"], spec["restartPolicy"]) == (5, "Never")
    [worker] = [c for c in spec["containers"] if c["name"] == "worker"]
    assert worker["lifecycle"] == {"preStop": hook}


def test_the_users_labels_and_annotations_are_added_but_ours_stay() -> None:
    template = {
        "metadata": {
            "labels": {"team": "a", names.LABEL_CLUSTER: "of-somebody-else", names.LABEL_ROLE: "king"},
            "annotations": {"prometheus.io/scrape": "true"},
        }
    }
    clusters = with_templates(scheduler=template, worker=template)
    worker = worker_pod(clusters, "w")["metadata"]
    scheduler = scheduler_deployment(clusters)["spec"]["template"]["metadata"]
    assert worker["labels"].pop(names.LABEL_REVISION) == worker_revision(clusters)
    for found, role in ((worker, "worker"), (scheduler, "scheduler")):
        assert found["labels"] == {"team": "a", names.LABEL_CLUSTER: "short", names.LABEL_ROLE: role}
        assert found["annotations"] == {"prometheus.io/scrape": "true"}
    assert (worker["name"], worker["namespace"]) == ("w", "science")


def test_the_dask_container_comes_first_and_others_stay_as_they_are() -> None:
    """Kubectl logs and kubectl exec mean the first one."""
    sidecar = {"name": "sidecar", "image": "proxy:2"}
    template = {"spec": {"containers": [sidecar, {"name": "worker", "tty": True}], "initContainers": [sidecar]}}
    spec = worker_pod(with_templates(worker=template), "w")["spec"]
    assert [c["name"] for c in spec["containers"]] == ["worker", "sidecar"]
    assert spec["containers"][1] == sidecar
    assert spec["initContainers"] == [sidecar]


@pytest.mark.parametrize("empty", [None, {}, {"metadata": None, "spec": None}, {"spec": {"containers": []}}])
def test_an_empty_template_is_no_template(empty: Any) -> None:
    clusters = with_templates(scheduler=empty, worker=empty, service=None)
    assert scheduler_deployment(clusters) == scheduler_deployment(cluster(SHORTEST))
    assert worker_pod(clusters, "w") == worker_pod(cluster(SHORTEST), "w")


class TestImages:
    """From the template, or else from `spec.image`."""

    def test_a_template_wins(self) -> None:
        clusters = with_templates(worker=container(image="mine:2"))
        assert worker_pod(clusters, "w")["spec"]["containers"][0]["image"] == "mine:2"

    def test_a_sidecar_without_one_gets_none(self) -> None:
        """The API server says so; running Dask's image there would hide it."""
        clusters = with_templates(worker={"spec": {"containers": [{"name": "sidecar"}]}})
        assert worker_pod(clusters, "w")["spec"]["containers"][1] == {"name": "sidecar"}

    @pytest.mark.parametrize("none", [None, ""])
    def test_without_any_it_says_where_to_set_one(self, none: str | None) -> None:
        clusters = cluster(SHORTEST, image=none)
        with pytest.raises(InvalidCluster, match=r"no image for the scheduler: set spec\.image, or give spec\.sched"):
            scheduler_deployment(clusters)
        with pytest.raises(InvalidCluster, match=r"no image for the worker: set spec\.image, or give spec\.workers\."):
            worker_pod(clusters, "w")

    def test_one_template_with_an_image_is_not_enough_for_the_other(self) -> None:
        clusters = cluster(SHORTEST, image=None, scheduler={"template": container(image="a")})
        assert scheduler_deployment(clusters)
        with pytest.raises(InvalidCluster, match="no image for the worker"):
            worker_pod(clusters, "w")


def test_the_hook_is_python_without_its_explanation() -> None:
    """In the manifest of every worker, each byte counts; `tests/dask/test_hook.py` runs it."""
    shell, option, script, source, turn = prestop_command(WORKER_GRACE_SECONDS)
    assert (shell, option) == ("/bin/sh", "-c")
    assert len(script) < 400
    assert ast.get_docstring(ast.parse(source)) is None
    assert "retire_workers" in source
    assert len(source) < 4096
    assert turn == "60"


@pytest.mark.parametrize(("grace", "turn"), [(30, "6"), (300, "60"), (7200, "60"), (1, "0.2"), (0, "0")])
def test_the_operators_turn_is_a_part_of_the_grace_period(grace: int, turn: str) -> None:
    clusters = replace(cluster(SHORTEST), worker_template={"spec": {"terminationGracePeriodSeconds": grace}})
    (container,) = worker_pod(clusters, "w")["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1] == turn
