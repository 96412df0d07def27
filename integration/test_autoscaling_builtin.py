"""A Cluster that sets its own size: `spec.workers.autoscale`, and `spec.idle` once nobody uses it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from integration.autoscaling import (
    MAXIMUM,
    assert_workers_stay_while_tasks_wait,
    define,
    stays,
    up_and_down,
    watched,
)
from integration.dask_cluster import DaskCluster, manifest
from integration.kube import CLUSTERS, KubectlError

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest

HOLD_SECONDS = 15
AUTOSCALE = {"maxReplicas": MAXIMUM, "scaleDown": {"stabilizationWindowSeconds": HOLD_SECONDS}}
IDLE_SECONDS = 30
PATIENCE_SECONDS = 180.0


def sized(image: str, *, replicas: int, autoscale: Manifest | None = None, idle: Manifest | None = None) -> Manifest:
    """A Cluster that sets its own size."""
    whole = manifest("dask", image, replicas=replicas)
    if autoscale is not None:
        whole["spec"]["workers"]["autoscale"] = autoscale
    if idle is not None:
        whole["spec"]["idle"] = idle
    return whole


def apply(kube: Kube, cluster: Manifest) -> DaskCluster:
    """Apply a Cluster strictly, and wait until its scheduler is ready."""
    kube.apply(cluster, arguments=["--validate=strict"])
    made = DaskCluster(kube, cluster["metadata"]["name"])
    made.wait_condition("SchedulerReady", "True")
    return made


def events(kube: Kube, reason: str) -> list[str]:
    """The messages of the Events for a reason."""
    listed: dict[str, Any] = json.loads(kube.run("get", "events", f"--field-selector=reason={reason}", "--output=json"))
    return [event["message"] for event in listed["items"]]


def wanted(cluster: DaskCluster) -> int:
    """`spec.workers.replicas`."""
    return int(cluster.resource()["spec"]["workers"]["replicas"])


def test_workers_follow_the_load(kube: Kube, images: Images, tmp_path: Path, rounds: int) -> None:
    define(kube)
    cluster = apply(kube, sized(images.dask, replicas=0, autoscale=AUTOSCALE))
    start = time.time()
    with watched(kube, tmp_path) as metrics:
        up_and_down(cluster, images.dask, minimum=0, rounds=rounds)
        assert_workers_stay_while_tasks_wait(metrics, start=start)
    scaled = events(kube, "Scaled")
    assert f"set spec.workers.replicas to {MAXIMUM}: the scheduler asks for {MAXIMUM} workers" in scaled
    print(kube.run("describe", f"{CLUSTERS}/dask"))


def test_kubectl_scale_is_where_it_goes_on_from(kube: Kube, images: Images) -> None:
    """More workers than are needed go after the window, and fewer are put right at once; no result is lost."""
    cluster = apply(kube, sized(images.dask, replicas=1, autoscale={"minReplicas": 1, **AUTOSCALE}))
    cluster.wait_settled(1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        cluster.scale(3)
        cluster.wait_settled(3)
        agent.hold(scattered=10, computed=10)
        cluster.wait_condition("Autoscaling", "True", containing="no more than 1 have been needed since")
        cluster.wait_settled(1, timeout=PATIENCE_SECONDS)
        assert agent.audit().intact, agent.audit()

        cluster.scale(MAXIMUM + 1)
        kube.wait_for("there are no more than may be", lambda: wanted(cluster) == MAXIMUM)
        cluster.scale(0)
        kube.wait_for("there are no fewer than may be", lambda: wanted(cluster) == 1)
        cluster.wait_settled(1, timeout=PATIENCE_SECONDS)
        assert agent.audit().intact, agent.audit()


def test_kubectl_scale_down_takes_no_worker_while_tasks_wait(kube: Kube, images: Images) -> None:
    """The number is put right before anybody is asked to go: who is drained doesn't come back."""
    autoscale = {"maxReplicas": MAXIMUM, "scaleDown": {"stabilizationWindowSeconds": 600}}
    cluster = apply(kube, sized(images.dask, replicas=MAXIMUM, autoscale=autoscale))
    cluster.wait_settled(MAXIMUM)
    before = {worker["metadata"]["uid"] for worker in cluster.workers()}
    with cluster.client(images.dask) as agent, ThreadPoolExecutor(1) as side:
        work = side.submit(agent.work, tasks=200, seconds=0.5)
        cluster.wait_condition("Autoscaling", "True", containing="by what the scheduler asks for")
        cluster.scale(1)
        kube.wait_for("there are as many as are asked for", lambda: wanted(cluster) == MAXIMUM)
        assert not work.done(), "no task waits any more: this says nothing"
        assert work.result().computed == 200
        assert {worker["metadata"]["uid"] for worker in cluster.workers()} == before
        assert events(kube, "DrainingWorkers") == events(kube, "RetiringWorkers") == []
        assert agent.audit().intact, agent.audit()


def test_another_autoscaler_is_told_of_and_not_fought(kube: Kube, images: Images) -> None:
    theirs = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "dask.charmtx.com/v1alpha1", "kind": "Cluster", "name": "dask"},
            "minReplicas": 2,
            "maxReplicas": 2,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
        },
    }
    kube.apply(theirs)
    cluster = apply(kube, sized(images.dask, replicas=1, autoscale={"minReplicas": 3, "maxReplicas": MAXIMUM}))
    told = cluster.wait_condition("Autoscaling", "False", containing="theirs")
    assert told["reason"] == "HorizontalPodAutoscaler"
    cluster.wait_settled(2)
    stays(kube, "it is left to the other", 15, cluster=cluster, replicas=2)
    assert events(kube, "Scaled") == []

    kube.delete("horizontalpodautoscaler", "theirs", wait=True)
    cluster.wait_settled(3)
    assert cluster.wait_condition("Autoscaling", "True")


@pytest.mark.waits_long
def test_a_cluster_without_use_is_scaled_to_zero_and_comes_back(kube: Kube, images: Images) -> None:
    """Data that is held is use. A client that is merely connected is not, and goes on once there are workers."""
    cluster = apply(kube, sized(images.dask, replicas=2, idle={"afterSeconds": IDLE_SECONDS}))
    with cluster.client(images.dask) as agent:
        agent.work(tasks=2, seconds=0.1)
        agent.hold(scattered=5, computed=5)
        cluster.wait_condition("Idle", "False")
        stays(kube, "data is held", IDLE_SECONDS + 5, cluster=cluster, replicas=2)
        assert agent.audit().intact, agent.audit()

        agent.release()
        cluster.wait_condition("Idle", "True", containing="nobody has used the Cluster since")
        cluster.wait_settled(0)
        assert cluster.wait_condition("Idle", "True", containing="kubectl scale")
        (message,) = events(kube, "Scaled")
        assert message.startswith("set spec.workers.replicas to 0: nobody has used the Cluster since ")

        cluster.scale(1)
        agent.work(tasks=2, seconds=0.1)
        cluster.wait_settled(1)
        assert agent.audit().intact, agent.audit()


def test_work_wakes_a_cluster_that_was_scaled_to_zero(kube: Kube, images: Images) -> None:
    autoscale = {"minReplicas": 2, **AUTOSCALE}
    cluster = apply(kube, sized(images.dask, replicas=2, autoscale=autoscale, idle={"afterSeconds": IDLE_SECONDS}))
    with cluster.client(images.dask) as agent:
        cluster.wait_settled(0, timeout=PATIENCE_SECONDS)
        agent.work(tasks=4, seconds=0.1, timeout=PATIENCE_SECONDS)
        cluster.wait_settled(2, timeout=PATIENCE_SECONDS)
        assert agent.audit().intact, agent.audit()


@pytest.mark.waits_long
@pytest.mark.parametrize("replicas", [0, 1])
def test_a_cluster_without_use_is_deleted(kube: Kube, images: Images, replicas: int) -> None:
    idle = {"afterSeconds": IDLE_SECONDS, "action": "Delete"}
    cluster = apply(kube, sized(images.dask, replicas=replicas, idle=idle))
    if replicas:
        with cluster.client(images.dask) as agent:
            agent.work(tasks=2, seconds=0.1)
            agent.hold(scattered=5, computed=5)
            stays(kube, "data is held", IDLE_SECONDS + 5, cluster=cluster, replicas=replicas)
            assert agent.audit().intact, agent.audit()
            agent.release()
    kube.wait(
        "all of it is gone",
        lambda objects: objects.find("Cluster", "dask") is None and not objects.pods(cluster="dask"),
    )
    kube.wait_for("it is told", lambda: events(kube, "DeletedIdle"))


def test_bounds_that_contradict_each_other_are_refused(kube: Kube, images: Images) -> None:
    with pytest.raises(KubectlError, match="minReplicas must not be more than maxReplicas"):
        kube.apply(sized(images.dask, replicas=0, autoscale={"minReplicas": 3, "maxReplicas": 2}))
    with pytest.raises(KubectlError, match="maxReplicas"):
        kube.apply(sized(images.dask, replicas=0, autoscale={}))
