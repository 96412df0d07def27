"""Typical troubles can be told from the Cluster alone, as `docs/troubles.md` shows."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, manifest, started_by_path
from integration.troubles_page import check

if TYPE_CHECKING:
    from integration.agent.client import Agent
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest

NO_IMAGE = "images.invalid/dask:1"
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "few"},
    "spec": {"hard": {"pods": "2"}},
}


def test_clusters_that_never_get_ready(kube: Kube, images: Images) -> None:
    unpulled = manifest("unpulled", NO_IMAGE, replicas=1)
    unscheduled = manifest("unscheduled", images.dask, replicas=1)
    _worker(unscheduled)["resources"] = {"requests": {"cpu": "1000"}}
    ending = manifest("ending", images.dask, replicas=0)
    [scheduler] = ending["spec"]["scheduler"]["template"]["spec"]["containers"]
    scheduler["command"] = ["sh", "-c", "exit 3"]
    kube.apply(unpulled, unscheduled, ending)
    words = {images.dask: "IMAGE"}
    for name, kind, says in (
        ("unpulled", "SchedulerReady", NO_IMAGE),
        ("unscheduled", "WorkersReady", "Insufficient cpu"),
        ("ending", "SchedulerReady", "again and again"),
    ):
        DaskCluster(kube, name).wait_condition(kind, "False", containing=says, timeout=120)
    DaskCluster(kube, "unscheduled").wait_condition("SchedulerReady", "True")
    check("An image that can't be pulled", kube, "unpulled", "SchedulerReady", words=words)
    check("No node has room", kube, "unscheduled", "WorkersReady", words=words)
    check("The scheduler's command ends", kube, "ending", "SchedulerReady", words=words)


def test_a_quota_that_is_used_up(kube: Kube, images: Images) -> None:
    limited = DaskCluster(kube, "limited").apply(images.dask, replicas=1)
    kube.apply(QUOTA)
    kube.wait_for("the quota is counted", lambda: kube.get("resourcequota", "few").get("status", {}).get("used"))
    limited.scale(2)
    limited.wait_condition("WorkersReady", "False", containing="exceeded quota")
    # The scheduler's pod is made by its Deployment, which says elsewhere that it can't.
    kube.apply(manifest("headless", images.dask, replicas=0))
    DaskCluster(kube, "headless").wait_condition("SchedulerReady", "False", containing="exceeded quota")
    check("A quota is used up", kube, "limited", "WorkersReady", words={images.dask: "IMAGE"})


def test_clusters_that_hold_data(kube: Kube, images: Images) -> None:
    """A scheduler that waits, a last worker that can't go, a change that never works, and an image without a shell."""
    last = DaskCluster(kube, "last").apply(images.dask, replicas=1)
    changed = DaskCluster(kube, "changed").apply(images.dask, replicas=2)
    volume = {"name": "empty", "configMap": {"name": "empty"}}
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "empty"}, "data": {"file": ""}})
    dumb = manifest("dumb", images.dask, replicas=1, worker={"volumes": [volume]})
    started_by_path(dumb, volumeMounts=[{"name": "empty", "mountPath": "/bin/sh", "subPath": "file"}])
    kube.apply(dumb)
    DaskCluster(kube, "dumb").wait_settled(1)
    words = {images.dask: "IMAGE"}
    with ExitStack() as stack:
        agent: Agent = stack.enter_context(last.client(images.dask))
        agent.hold(scattered=1, computed=0)
        edited = manifest("last", images.dask, replicas=1)
        edited["spec"]["scheduler"]["template"]["metadata"] = {"annotations": {"example.com/change": "one"}}
        kube.apply(edited)
        last.wait_condition("SchedulerUpdated", "False", containing="once it has no tasks; it has")
        check("The scheduler waits to restart", kube, "last", "SchedulerUpdated", words=words)
        kube.apply(manifest("last", images.dask, replicas=0))
        kube.apply(manifest("changed", images.dask, replicas=2, worker={"nodeSelector": {"no-such": "node"}}))
        [pod] = DaskCluster(kube, "dumb").workers()
        kube.delete("pod", pod["metadata"]["name"])
        last.wait_condition("ScaleDownBlocked", "True")
        changed.wait_condition("Progressing", "False", containing="the others stay")
        DaskCluster(kube, "dumb").wait_condition("HandoverPossible", "False")
        DaskCluster(kube, "dumb").wait_settled(1)
        check("The last worker holds data", kube, "last", "ScaleDownBlocked", words=words)
        check("A change that never works", kube, "changed", "Progressing", words=words)
        check("The preStop hook can't run", kube, "dumb", "HandoverPossible", words=words)
        agent.release()


def _worker(cluster: Manifest) -> Manifest:
    container: Manifest = cluster["spec"]["workers"]["template"]["spec"]["containers"][0]
    return container
