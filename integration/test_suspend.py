"""`spec.suspend`: all pods are given back, as far as nothing is lost by it, and come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, manifest

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest


def test_one_that_is_made_suspended_has_no_pods_until_it_is_resumed(kube: Kube, images: Images) -> None:
    wanted = manifest("dask", images.dask, replicas=2)
    wanted["spec"]["suspend"] = True
    kube.apply(wanted)
    cluster = DaskCluster(kube, "dask")
    wait_suspended(cluster)
    service = kube.get("service", "dask-scheduler")["metadata"]["uid"]
    assert kube.get("deployment", "dask-scheduler")["spec"]["replicas"] == 0
    suspend(cluster, wanted=False)
    cluster.wait_settled(2)
    assert kube.get("service", "dask-scheduler")["metadata"]["uid"] == service


def test_it_waits_for_held_data_and_tasks_and_goes_once_they_are_released(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    service = kube.get("service", "dask-scheduler")["metadata"]["uid"]
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        suspend(cluster, wanted=True)
        told = cluster.wait_condition("Suspended", "False", containing="the scheduler found nobody to take the data of")
        assert told["reason"] == "DataHeld"
        kube.wait("one worker is left", lambda objects: len(objects.pods(cluster="dask", role="worker")) == 1)
        assert agent.audit().intact, agent.audit()
        agent.release()
        wait_suspended(cluster)
    assert cluster.resource()["spec"]["workers"]["replicas"] == 3
    ready = cluster.wait_condition("Ready", "False")
    assert ready["reason"] == "Suspended"
    assert kube.get("service", "dask-scheduler")["metadata"]["uid"] == service

    suspend(cluster, wanted=False)
    cluster.wait_settled(3)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(3)
        assert agent.hold(scattered=1, computed=1).computed == 1


def test_with_a_deadline_what_is_held_goes(kube: Kube, images: Images) -> None:
    """The worker with its data, and the scheduler though the client still wants what that held."""
    wanted = manifest("dask", images.dask, replicas=1)
    retirement = {"drainSeconds": 1, "timeoutSeconds": 30, "onTimeout": "Delete"}
    wanted["spec"]["workers"]["retirement"] = retirement
    kube.apply(wanted)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=5, computed=5)
        suspend(cluster, wanted=True)
        told = cluster.wait_condition("Suspended", "False", containing="s after they were chosen")
        assert told["reason"] == "DataHeld"
        wait_suspended(cluster)


def suspend(cluster: DaskCluster, *, wanted: bool) -> None:
    """Set `spec.suspend`, as Kueue and people do."""
    cluster.patch({"suspend": wanted})


def wait_suspended(cluster: DaskCluster) -> None:
    """Wait until the Cluster says that it is, and look whether that is so."""

    def done(found: Manifest) -> bool:
        status = found.get("status", {})
        return (status.get("observedGeneration"), status.get("state")) == (found["metadata"]["generation"], "Suspended")

    cluster.kube.wait_for(f"{cluster.name} is suspended", lambda: done(cluster.resource()), timeout=120)
    assert cluster.kube.objects().pods(cluster=cluster.name) == []
