"""Clusters that are deleted, in each way and at the worst moment, and others that are made under the same name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from integration import operator_process
from integration.dask_cluster import DaskCluster, manifest
from integration.kube import CLUSTERS

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

OURS = "--selector=dask.charmtx.com/cluster=dask"
GRACE_SECONDS = 300
"""How long the pod of a worker that can't hand its data over may take to end."""


@pytest.mark.parametrize("cascade", ["foreground", "background"])
def test_all_that_belongs_to_it_goes_with_it(kube: Kube, images: Images, cascade: str) -> None:
    """Soon, though its workers hold data: nobody is to take that any more."""
    _make(kube, images)
    kube.run("delete", CLUSTERS, "dask", f"--cascade={cascade}", "--wait=false")
    _wait_gone(kube)


@pytest.mark.parametrize("cascade", ["foreground", "background"])
def test_it_needs_no_operator_to_go(unattended: Kube, images: Images, tmp_path: Path, cascade: str) -> None:
    with operator_process.running(unattended, tmp_path) as operator:
        _make(unattended, images)
        operator.stop()
        unattended.run("delete", CLUSTERS, "dask", f"--cascade={cascade}", "--wait=false")
        _wait_gone(unattended)


def test_what_is_left_behind_on_purpose_stays_and_is_not_taken_over(kube: Kube, images: Images) -> None:
    """An orphaned scheduler may be in use still; a Cluster of the same name says what to do about it."""
    _make(kube, images)
    before = _children(kube)
    kube.run("delete", CLUSTERS, "dask", "--cascade=orphan")
    cluster = DaskCluster(kube, "dask")
    kube.apply(manifest("dask", images.dask, replicas=1))
    told = cluster.wait_condition("SchedulerReady", "False", containing="is left from an earlier Cluster of this name")
    assert told["reason"] == "NameTaken"
    assert f"kubectl delete deployments,services,pods {OURS}" in told["message"]
    assert _children(kube) == before
    assert not any(child["metadata"].get("ownerReferences") for child in kube.objects().pods(role="worker"))

    kube.run("delete", "deployments,services,pods", OURS, "--wait=false")
    cluster.wait_settled(1)
    assert not before & _children(kube)


def test_what_is_left_behind_without_an_operator_stays(unattended: Kube, images: Images, tmp_path: Path) -> None:
    with operator_process.running(unattended, tmp_path) as operator:
        _make(unattended, images)
        operator.stop()
    before = _children(unattended)
    unattended.run("delete", CLUSTERS, "dask", "--cascade=orphan")
    with operator_process.running(unattended, tmp_path):
        unattended.apply(manifest("other", images.dask, replicas=0))
        DaskCluster(unattended, "other").wait_settled(0)
        assert _children(unattended) == before


def test_another_under_the_same_name_at_once(kube: Kube, images: Images) -> None:
    """While the pods of the first still go, nothing of the second meets anything of the first."""
    cluster = _make(kube, images)
    for _ in range(2):
        before = _children(kube)
        kube.run("delete", CLUSTERS, "dask", "--wait=false")
        kube.wait_for("the Cluster is gone", lambda: not kube.run("get", CLUSTERS, "--output=name"))
        kube.apply(manifest("dask", images.dask, replicas=2))
        cluster.wait_settled(2)
        assert not before & _children(kube)
        kube.delete("pod", "agent", wait=True)
        with cluster.client(images.dask) as agent:
            agent.wait_for_workers(2)
            agent.hold(scattered=10, computed=10)
            assert agent.audit().intact, agent.audit()


def test_deleted_in_the_middle_of_a_retirement_and_made_again(kube: Kube, images: Images) -> None:
    """What the operator remembers of the first holds nothing up in the second."""
    cluster = _make(kube, images, replicas=3)
    cluster.scale(1)
    begun = ("get", "events", "--field-selector=reason=DrainingWorkers", "--output=name")
    kube.wait_for("the scheduler has been asked to let workers go", lambda: bool(kube.run(*begun)))
    kube.run("delete", CLUSTERS, "dask", "--wait=false")
    kube.wait_for("the Cluster is gone", lambda: not kube.run("get", CLUSTERS, "--output=name"))
    kube.apply(manifest("dask", images.dask, replicas=3))
    cluster.wait_settled(3)
    kube.delete("pod", "agent", wait=True)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(3)
        agent.hold(scattered=15, computed=15)
        cluster.scale(1)
        cluster.wait_settled(1)
        assert agent.audit().intact, agent.audit()


@pytest.mark.waits_long
def test_a_namespace_goes_though_workers_hold_data(kube: Kube, images: Images) -> None:
    """All goes at once, in no order, and nothing new can be made."""
    _make(kube, images, replicas=3)
    began = time.monotonic()
    kube.delete_namespace(wait=False)
    name = kube.namespace
    kube.wait("its pods are gone", lambda objects: not objects.pods())
    # Kubernetes' own controller may not look again before half the longest grace period of a pod is over.
    kube.wait_for("the namespace is gone", lambda: _is_gone(kube, name), timeout=GRACE_SECONDS / 2 + 60)
    print(f"gone after {time.monotonic() - began:.0f} s")


def _make(kube: Kube, images: Images, *, replicas: int = 2) -> DaskCluster:
    """A Cluster named dask whose workers hold data, and which a client uses."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=replicas)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(replicas)
        agent.hold(scattered=20, computed=20)
    return cluster


def _children(kube: Kube) -> set[str]:
    """The uids of all that the Cluster consists of."""
    found: list[Manifest] = json.loads(kube.run("get", "deployments,services,pods", OURS, "--output=json"))["items"]
    return {child["metadata"]["uid"] for child in found}


def _wait_gone(kube: Kube) -> None:
    def gone(objects: Objects) -> bool:
        ours = [o for o in objects.items if "dask.charmtx.com/cluster" in o["metadata"].get("labels", {})]
        return not ours and objects.find("Cluster", "dask") is None

    kube.wait("nothing is left", gone, timeout=GRACE_SECONDS / 3)


def _is_gone(kube: Kube, namespace: str) -> bool:
    return not kube.run("get", "namespaces", namespace, "--ignore-not-found", "--output=name")
