"""Others who write to the same objects: what is theirs stays, what is the operator's comes back, and nobody fights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.cluster import Cluster
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service
from integration import operator_process
from integration.dask_cluster import DaskCluster, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

NAME = "dask-scheduler"
MESH = {"annotations": {"mesh.example.com/injected": "yes"}, "labels": {"mesh.example.com/tier": "gold"}}
MESH_PORT = {"name": "tcp-mesh", "port": 15021, "targetPort": 15021, "protocol": "TCP"}


def test_what_others_have_set_survives(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    _apply_as_mesh(kube)
    spec = manifest("dask", images.dask, replicas=1)
    changes: list[Manifest] = [
        {"service": {"type": "NodePort"}},
        {"serviceMetadata": {"annotations": {"example.com/ours": "1"}}},
        {"service": {"ports": [{"name": "more", "port": 8888, "targetPort": "http-dashboard"}]}},
    ]
    for number, change in enumerate(changes):
        template = {
            **spec["spec"]["scheduler"]["template"],
            "metadata": {"annotations": {"example.com/n": str(number)}},
        }
        wanted = {**change, "template": template, "updateStrategy": {"type": "Recreate"}}
        kube.apply({**spec, "spec": {**spec["spec"], "scheduler": wanted}})
        _wait_followed(cluster)
        _assert_mesh(kube)
    deployment = kube.get("deployment", NAME)
    assert deployment["spec"]["template"]["metadata"]["annotations"]["example.com/n"] == "2"
    service = kube.get("service", NAME)
    assert {port["name"] for port in service["spec"]["ports"]} == {"tcp-comm", "http-dashboard", "more", "tcp-mesh"}
    assert service["spec"]["type"] == "ClusterIP"
    assert "example.com/ours" not in service["metadata"]["annotations"]

    before = _writes(kube)
    _make_passes(cluster)
    assert _writes(kube) == before, "there was nothing to be written"


def test_what_the_api_server_writes_in_its_own_way_is_no_change(kube: Kube, images: Images) -> None:
    """It drops what is empty, fills in what is left out, and has its own words for quantities."""
    spec = manifest("dask", images.dask, replicas=1)
    scheduler = spec["spec"]["scheduler"]
    scheduler["service"] = {
        "sessionAffinity": "None",
        "publishNotReadyAddresses": False,
        "ports": [{"name": "more", "port": 8888, "targetPort": "http-dashboard"}],
    }
    scheduler["serviceMetadata"] = {"annotations": {"example.com/empty": ""}}
    scheduler["template"]["metadata"] = {"annotations": {"example.com/empty": ""}, "creationTimestamp": None}
    scheduler["template"]["spec"] |= {
        "hostNetwork": False,
        "nodeSelector": {},
        "tolerations": [],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    }
    scheduler["template"]["spec"]["containers"][0] |= {
        "env": [{"name": "EMPTY", "value": ""}, {"name": "A", "value": "a", "valueFrom": None}],
        "resources": {"requests": {"cpu": "0.1", "memory": "0.125Gi"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch", "readOnly": False}],
        "stdin": False,
        "workingDir": "",
        "livenessProbe": None,
    }
    kube.apply(spec)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(1)
    before = _writes(kube)
    _make_passes(cluster)
    assert _writes(kube) == before
    scheduler["updateStrategy"] = {"type": "Recreate"}
    scheduler["template"]["metadata"]["annotations"]["example.com/n"] = "1"
    kube.apply(spec)
    kube.wait("the template is applied", lambda objects: _annotated(objects, "example.com/n"))
    _wait_followed(cluster)
    cluster.wait_settled(1)
    before = _writes(kube)
    _make_passes(cluster)
    assert _writes(kube) == before
    events = json.loads(kube.run("get", "events", "--field-selector=reason=ChangedScheduler", "--output=json"))["items"]
    assert len(events) == 1, "the one change that there was"


def test_what_is_the_operators_comes_back(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    before = kube.get("service", NAME)["spec"]
    _apply_as_mesh(kube)
    kube.run("scale", f"deployment/{NAME}", "--replicas=2")
    kube.wait("there is one scheduler again", lambda objects: _is_alone(objects, "Recreate"))

    ports = {"ports": [{"port": 8787, "protocol": "TCP", "name": "hijacked", "targetPort": 1}]}
    kube.run("patch", "service", NAME, f"--patch={json.dumps({'spec': ports})}")
    theirs = {**before, "ports": [*before["ports"], MESH_PORT]}
    kube.wait("the Service is as it was", lambda objects: _spec(objects, "Service") == theirs)

    rolling = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    kube.run("patch", "deployment", NAME, f"--patch={json.dumps(rolling)}")
    kube.wait("two schedulers never run side by side", lambda objects: _is_alone(objects, "Recreate"))

    # Which restarts the scheduler, by the Deployment's own controller; it comes back once there are no tasks.
    extra = {"name": "EXTRA", "value": "1"}
    container = {"name": "scheduler", "readinessProbe": {"timeoutSeconds": 9}, "env": [extra]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    kube.run("patch", "deployment", NAME, f"--patch={json.dumps(template)}")
    kube.wait("the template is as it was", lambda objects: _container(objects)["readinessProbe"]["timeoutSeconds"] == 5)
    assert extra in _container(kube.objects())["env"], "of this, the operator has said nothing"
    _assert_mesh(kube)
    cluster.wait_settled(1)


def test_what_an_earlier_operator_made_is_let_go_of(unattended: Kube, images: Images, tmp_path: Path) -> None:
    """It made objects under another name, without saying that it would apply them."""
    port = {"name": "more", "port": 8888, "targetPort": "http-dashboard"}
    spec = manifest("dask", images.dask, replicas=0)
    spec["spec"]["scheduler"]["service"] = {"ports": [port]}
    unattended.apply(spec)
    cluster = DaskCluster(unattended, "dask")
    read = Cluster.from_manifest(cluster.resource())
    for made in (scheduler_deployment(read), scheduler_service(read)):
        del made["metadata"]["annotations"]
        unattended.run("create", "--filename=-", "--field-manager=OpenAPI-Generator", stdin=json.dumps(made))
    with operator_process.running(unattended, tmp_path):
        cluster.wait_settled(0)
        _wait_followed(cluster)
        before = unattended.objects()
        unattended.apply(manifest("dask", images.dask, replicas=0))
        unattended.wait("the port is gone", lambda objects: len(_spec(objects, "Service")["ports"]) == 2)
        _wait_followed(cluster)
        after = unattended.objects()
        assert _spec(after, "Deployment") == _spec(before, "Deployment")
        assert _uids(after) == _uids(before)


def _uids(objects: Objects) -> list[str]:
    return [pod["metadata"]["uid"] for pod in objects.pods(cluster="dask", role="scheduler")]


def _apply_as_mesh(kube: Kube) -> None:
    service = {"metadata": {"name": NAME, **MESH}, "spec": {"ports": [MESH_PORT]}}
    kube.apply(
        {"apiVersion": "v1", "kind": "Service", **service},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, **MESH}},
        arguments=["--server-side", "--field-manager=mesh"],
    )


def _assert_mesh(kube: Kube) -> None:
    for kind in ("deployment", "service"):
        metadata = kube.get(kind, NAME)["metadata"]
        assert MESH["annotations"].items() <= metadata["annotations"].items(), kind
        assert MESH["labels"].items() <= metadata["labels"].items(), kind
    ports = {port["name"]: port for port in kube.get("service", NAME)["spec"]["ports"]}
    assert MESH_PORT.items() <= ports["tcp-mesh"].items()


def _wait_followed(cluster: DaskCluster) -> None:
    """Wait until the scheduler follows the spec, and no write is to be expected."""

    def done(objects: Objects) -> bool:
        found = objects.find("Cluster", cluster.name) or {}
        status = found.get("status", {})
        conditions = {c["type"]: (c["status"], c["observedGeneration"]) for c in status.get("conditions", ())}
        generation = found["metadata"]["generation"]
        return conditions.get("SchedulerUpdated") == conditions.get("Ready") == ("True", generation)

    cluster.kube.wait("the scheduler follows the spec", done)


def _make_passes(cluster: DaskCluster) -> None:
    for replicas in (2, 1):
        cluster.scale(replicas)
        cluster.wait_settled(replicas)


def _annotated(objects: Objects, annotation: str) -> bool:
    return annotation in _spec(objects, "Deployment")["template"]["metadata"].get("annotations", {})


def _writes(kube: Kube) -> list[object]:
    """What changes with each write of anybody but the Deployment's own controller, which has a status to write."""
    service = kube.get("service", NAME)["metadata"]
    shown = kube.run("get", "deployment", NAME, "--show-managed-fields", "--output=json")
    deployment = json.loads(shown)["metadata"]
    by_others = [entry for entry in deployment["managedFields"] if entry["manager"] != "kube-controller-manager"]
    return [service["resourceVersion"], deployment["generation"], by_others]


def _is_alone(objects: Objects, strategy: str) -> bool:
    spec = _spec(objects, "Deployment")
    pods = objects.pods(cluster="dask", role="scheduler")
    return (spec["replicas"], spec["strategy"], len(pods)) == (1, {"type": strategy}, 1)


def _spec(objects: Objects, kind: str) -> Manifest:
    found = objects.find(kind, NAME)
    assert found is not None
    spec: Manifest = found["spec"]
    return spec


def _container(objects: Objects) -> Manifest:
    [container] = _spec(objects, "Deployment")["template"]["spec"]["containers"]
    return dict(container)
