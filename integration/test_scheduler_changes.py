"""Changes of the scheduler of a Cluster that people use: when it restarts, and what of its Service stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from integration.dask_cluster import DaskCluster, manifest

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

CHANGE = "example.com/change"
UPDATED = "SchedulerUpdated"

MISTAKES: dict[str, Manifest] = {
    "an image that isn't there": {"image": "localhost/no-such-image:1"},
    "a command that ends": {"command": ["false"]},
    "a command that is no scheduler": {"command": ["sleep", "1000000"]},
}


def test_it_restarts_once_nobody_needs_it(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    before = scheduler(cluster)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(2)
        agent.hold(scattered=5, computed=5)
        kube.apply(changed(images, "one"))
        told = cluster.wait_condition(UPDATED, "False", containing="restarts once it has no tasks; it has")
        assert told["reason"] == "WaitingForIdle"
        # A pass more, in which it is asked again.
        kube.run("label", "pods", "--all", "example.com/look=again")
        assert agent.audit().intact, agent.audit()
        assert scheduler(cluster)["metadata"]["uid"] == before["metadata"]["uid"]
        agent.release()
        cluster.wait_condition(UPDATED, "True", containing="is of revision")
        cluster.wait_settled(2)
        assert scheduler(cluster)["metadata"]["annotations"][CHANGE] == "one"
        # The client has found the new one, whose workers are new, too.
        agent.wait_for_workers(2)
        agent.hold(scattered=5, computed=5)


def test_it_restarts_at_once_where_it_may(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(1)
        agent.hold(scattered=1, computed=1)
        kube.apply(changed(images, "one", replicas=1, strategy="Recreate"))
        _wait_changed(cluster, "one")
    cluster.wait_settled(1)
    assert cluster.condition(UPDATED)["status"] == "True"  # type: ignore[index]


def test_on_deletion_it_waits_for_somebody(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=0)
    before = scheduler(cluster)["metadata"]
    kube.apply(changed(images, "one", replicas=0, strategy="OnDelete"))
    told = cluster.wait_condition(UPDATED, "False", containing=before["name"])
    assert told["reason"] == "WaitingForDeletion"
    assert scheduler(cluster)["metadata"]["uid"] == before["uid"]
    kube.delete("pod", before["name"])
    _wait_changed(cluster, "one")
    cluster.wait_settled(0)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_put_right_by_editing(kube: Kube, images: Images, mistake: Manifest) -> None:
    """Nobody can have reached such a scheduler, so nothing is waited for."""
    wrong = manifest("dask", images.dask, replicas=1)
    wrong["spec"]["scheduler"]["template"]["spec"]["containers"][0] |= mistake
    cluster = DaskCluster(kube, "dask")
    kube.apply(wrong)
    kube.wait("its scheduler doesn't work", lambda objects: _in_trouble(objects, runs="sleep" in str(mistake)))
    cluster.apply(images.dask, replicas=1)
    assert cluster.condition(UPDATED)["status"] == "True"  # type: ignore[index]


def test_its_service_changes_in_place(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=0)
    before, pod = service(cluster), scheduler(cluster)
    wanted = manifest("dask", images.dask, replicas=0)
    wanted["spec"]["scheduler"] |= {
        "service": {"type": "NodePort", "ports": [{"name": "more", "port": 8888, "targetPort": "http-dashboard"}]},
        "serviceMetadata": {"annotations": {"example.com/a": "1"}, "labels": {"example.com/b": "2"}},
    }
    kube.apply(wanted)
    after = kube.wait("the Service is changed", lambda objects: _service_of(objects, "NodePort"))
    assert [port["name"] for port in after["spec"]["ports"]] == ["tcp-comm", "http-dashboard", "more"]
    assert after["metadata"]["annotations"]["example.com/a"] == "1"
    assert after["metadata"]["labels"]["example.com/b"] == "2"
    assert _lasting(after) == _lasting(before)

    kube.apply(manifest("dask", images.dask, replicas=0))
    back = kube.wait("the Service is changed back", lambda objects: _service_of(objects, "ClusterIP"))
    assert back["spec"] == before["spec"]
    assert back["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert back["metadata"]["labels"] == before["metadata"]["labels"]
    assert _lasting(back) == _lasting(before)
    assert scheduler(cluster)["metadata"]["uid"] == pod["metadata"]["uid"]


def test_a_service_that_cant_be_changed_stays(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=0)
    before = service(cluster)
    wrong = manifest("dask", images.dask, replicas=0)
    wrong["spec"]["scheduler"]["service"] = {"clusterIP": "None"}
    kube.apply(wrong)
    told = cluster.wait_condition(UPDATED, "False", containing="the scheduler stays as it is")
    assert "field is immutable" in told["message"] or "clusterIP" in told["message"]
    assert service(cluster)["spec"] == before["spec"]


def changed(images: Images, value: str, *, replicas: int = 2, strategy: str | None = None) -> Manifest:
    """The Cluster with another template for its scheduler."""
    found = manifest("dask", images.dask, replicas=replicas)
    found["spec"]["scheduler"]["template"]["metadata"] = {"annotations": {CHANGE: value}}
    if strategy is not None:
        found["spec"]["scheduler"]["updateStrategy"] = {"type": strategy}
    return found


def scheduler(cluster: DaskCluster) -> Manifest:
    """The only pod of the scheduler."""
    [pod] = cluster.kube.objects().pods(cluster=cluster.name, role="scheduler")
    return pod


def service(cluster: DaskCluster) -> Manifest:
    """The scheduler's Service."""
    return cluster.kube.get("service", f"{cluster.name}-scheduler")


def _service_of(objects: Objects, kind: str) -> Manifest | None:
    found = objects.find("Service", "dask-scheduler")
    return found if found and found["spec"]["type"] == kind else None


def _lasting(found: Manifest) -> tuple[Any, ...]:
    return found["metadata"]["uid"], found["spec"]["clusterIP"]


def _wait_changed(cluster: DaskCluster, value: str) -> None:
    """Wait until the only scheduler is of the new template, and ready."""

    def done(objects: Objects) -> bool:
        found = objects.pods(cluster=cluster.name, role="scheduler")
        return (
            [pod["metadata"].get("annotations", {}).get(CHANGE) for pod in found] == [value]
            and objects.find("Deployment", f"{cluster.name}-scheduler") is not None
            and found[0]["status"]["containerStatuses"][0]["ready"]
        )

    cluster.kube.wait(f"the scheduler is of the template {value}", done)


def _in_trouble(objects: Objects, *, runs: bool) -> bool:
    states = [
        state["state"]
        for pod in objects.pods(cluster="dask", role="scheduler")
        for state in pod["status"].get("containerStatuses", ())
    ]
    return any(("running" if runs else "waiting") in state for state in states)
