"""Clusters that can't be as they are written: the user is told what is wrong, and nothing that runs is harmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from integration.dask_cluster import DaskCluster, condition, manifest
from integration.kube import KubectlError

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

POD = ("template", "spec")
CONTAINER = (*POD, "containers", 0)

WRONG: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "misspelt section": (("spec", "worker"), {"replicas": 1}),
    "misspelt count": (("spec", "workers", "replica"), 1),
    "misspelt template": (("spec", "workers", "templates"), {}),
    "misspelt field of the scheduler's pod": (("spec", "scheduler", *POD, "nodeSelectors"), {"a": "b"}),
    "misspelt field of a worker's pod": (("spec", "workers", *POD, "tolerance"), []),
    "misspelt field of a container": (("spec", "workers", *CONTAINER, "imagePullPolicies"), "Never"),
    "misspelt field of its resources": (("spec", "workers", *CONTAINER, "resources"), {"limit": {"cpu": "1"}}),
    "count as a word": (("spec", "workers", "replicas"), "two"),
    "negative count": (("spec", "workers", "replicas"), -1),
    "template as a list": (("spec", "workers", "template"), []),
    "containers as an object": (("spec", "workers", *POD, "containers"), {"worker": {}}),
    "grace period as a word": (("spec", "workers", *POD, "terminationGracePeriodSeconds"), "soon"),
    "number as a variable's value": (("spec", "workers", *CONTAINER, "env"), [{"name": "A", "value": 5}]),
    "number as the type of the Service": (("spec", "scheduler", "service"), {"type": 5}),
}


def test_a_wrong_cluster_is_refused_or_says_why_and_nothing_wrong_is_created(kube: Kube, images: Images) -> None:
    """Misspelt fields and wrong types at every depth, one Cluster each."""
    refused = {}
    for number, (title, (path, value)) in enumerate(WRONG.items()):
        cluster = _with(manifest(f"wrong-{number}", images.dask, replicas=1), path, value)
        refused[title] = _refusal(kube, cluster)
    for title, (path, value) in WRONG.items():
        blamed = next(iter(value)) if isinstance(value, dict) and path[-1] == "resources" else path[-1]
        assert str(blamed) in refused[title], f"{title}: {refused[title]}"
    objects = kube.objects()
    for number, (path, _) in enumerate(WRONG.values()):
        role = "scheduler" if "scheduler" in path else "worker"
        assert objects.pods(cluster=f"wrong-{number}", role=role) == []


@pytest.mark.parametrize("title", ["misspelt field of a container", "count as a word"])
def test_a_wrong_change_leaves_a_running_cluster_as_it_is(kube: Kube, images: Images, title: str) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        before = {pod["metadata"]["uid"] for pod in kube.objects().pods(cluster="dask")}
        path, value = WRONG[title]
        assert str(path[-1]) in _refusal(kube, _with(manifest("dask", images.dask, replicas=3), path, value))
        assert agent.audit().intact
        assert {pod["metadata"]["uid"] for pod in kube.objects().pods(cluster="dask")} == before

        kube.apply(manifest("dask", images.dask, replicas=3))
        cluster.wait_settled(3)
        assert agent.audit().intact, agent.audit()


def test_a_quota_that_is_used_up_is_told_and_once_it_is_raised_all_workers_come(kube: Kube, images: Images) -> None:
    kube.run("create", "quota", "few", "--hard=pods=3")
    kube.apply(manifest("dask", images.dask, replicas=4))
    cluster = DaskCluster(kube, "dask")
    cluster.wait_condition("WorkersReady", "False", containing="exceeded quota: few")
    kube.wait("the quota is used", lambda objects: len(objects.pods(cluster="dask")) == 3)
    kube.run("patch", "quota", "few", "--type=merge", '--patch={"spec": {"hard": {"pods": "9"}}}')
    cluster.wait_settled(4)


def _refusal(kube: Kube, cluster: Manifest) -> str:
    """What the user is told: by `kubectl apply`, or by a condition."""
    name = cluster["metadata"]["name"]
    try:
        kube.apply(cluster)
    except KubectlError as error:
        return error.stderr

    def complaint(objects: Objects) -> str | None:
        found = objects.find("Cluster", name)
        if found is None or found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
            return None
        valid = condition(found, "TemplateValid")
        return valid["message"] if valid and valid["status"] == "False" else None

    return kube.wait(f"Cluster {name} says what is wrong with it", complaint, timeout=30)


def _with(cluster: Manifest, path: tuple[str | int, ...], value: Any) -> Manifest:
    place: Any = cluster
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return cluster
