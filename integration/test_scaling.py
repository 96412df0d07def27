"""Scaling by `kubectl scale`: whatever happens meanwhile, no key is lost and none is computed again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.dask_cluster import DaskCluster, is_terminating, manifest
from integration.kube import CLUSTERS

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Objects

API = "/apis/dask.charmtx.com/v1alpha1"
UNSCHEDULABLE = {"nodeSelector": {"dask.charmtx.com/no-such-node": "true"}}


@pytest.mark.pod_security("baseline")
def test_six_lines_are_a_whole_cluster(kube: Kube, images: Images) -> None:
    """With `spec.image` alone: scheduler, Service and workers; `kubectl get` shows it; a Client connects."""
    kube.apply(
        {
            "apiVersion": "dask.charmtx.com/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "small"},
            "spec": {"image": images.dask, "workers": {"replicas": 2}},
        }
    )
    cluster = DaskCluster(kube, "small")
    kube.run("wait", "--for=condition=Ready", CLUSTERS, "small", "--timeout=120s")
    cluster.wait_settled(2)
    status = cluster.resource()["status"]
    assert status["scheduler"]["address"] == f"tcp://small-scheduler.{kube.namespace}.svc:8786"
    assert {c["type"] for c in status["conditions"] if c["status"] != "True"} == {"Retiring", "ScaleDownBlocked"}

    headers, row = (line.split() for line in kube.run("get", CLUSTERS).splitlines())
    assert headers == ["NAME", "DESIRED", "READY", "UPDATED", "RETIRING", "SCHEDULER", "STATE", "AGE"]
    assert row[:7] == ["small", "2", "2", "2", "0", "Ready", "Running"]
    scale = json.loads(kube.run("get", "--raw", f"{API}/namespaces/{kube.namespace}/clusters/small/scale"))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    listed = kube.run("get", "pods", f"--selector={scale['status']['selector']}", "--output=name").split()
    assert {f"pod/{pod['metadata']['name']}" for pod in cluster.workers()} == set(listed)

    with cluster.client(images.dask) as agent:
        assert agent.hold(scattered=4, computed=4).computed == 4
        names = {worker.name for worker in agent.wait_for_workers(2)}
        assert names == {pod["metadata"]["name"] for pod in cluster.workers()}
        assert agent.audit().intact


def test_scaling_up_and_down_while_computing_keeps_all_data(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=30)
        agent.persist(partitions=8, files=80)
        agent.start()
        for replicas in (4, 1, 3):
            agent.wait_for_answers(agent.progress().answers + 2)
            cluster.scale(replicas)
            cluster.wait_settled(replicas)
            agent.wait_for_workers(replicas)
        progress = agent.stop()
        assert progress.answers >= 6
        assert progress.wrong == 0
        assert agent.total().equal
        assert agent.audit().intact, agent.audit()


def test_the_last_holder_stays_and_goes_when_its_data_is_released(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        cluster.scale(0)
        blocked = cluster.wait_condition("ScaleDownBlocked", "True")
        kube.wait("one worker is left", lambda objects: len(objects.pods(cluster="dask", role="worker")) == 1)
        (holder,) = cluster.workers()
        assert not is_terminating(holder)
        assert holder["metadata"]["name"] in cluster.wait_condition("ScaleDownBlocked", "True")["message"]
        assert "release" in blocked["message"], "it says what the user can do"
        assert agent.wait_for_workers(1)[0].keys == 20
        assert agent.audit().intact, agent.audit()

        agent.release()
        cluster.wait_settled(0)
        assert cluster.wait_condition("ScaleDownBlocked", "False")


def test_workers_that_never_started_go_at_once_though_the_scheduler_is_pending(kube: Kube, images: Images) -> None:
    kube.apply(manifest("dask", images.dask, replicas=3, worker=UNSCHEDULABLE, scheduler=UNSCHEDULABLE))
    kube.wait("3 workers are pending", lambda objects: len(_pending(objects)) == 3)
    kube.scale("dask", 1)
    kube.wait("one worker is pending", lambda objects: len(_pending(objects)) == 1, timeout=20)


def _pending(objects: Objects) -> list[str]:
    return [pod["metadata"]["name"] for pod in objects.pods(role="worker") if not is_terminating(pod)]
