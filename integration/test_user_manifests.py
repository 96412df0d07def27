"""Manifests as users have them: the example, and those that were written for an earlier operator of the resource."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.cluster import existing
from integration.cluster.paths import Paths
from integration.dask_cluster import CHECKOUT, DaskCluster, apply_example
from integration.kube import overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.cluster.provider import Images
    from integration.kube import Kube

EARLIER = Path(__file__).with_name("earlier_operator")


def test_the_example_under_restricted_pod_security(kube: Kube, images: Images) -> None:
    """Applied and scaled as the README says, with its PodDisruptionBudget on the scheduler's pod."""
    cluster = apply_example(kube, images.dask, replicas=1)
    cluster.wait_settled(1)
    kube.wait_for("the budget counts the scheduler", lambda: _budget(kube, "example-dask-scheduler") == (1, 1))
    kube.run("scale", "clusters.dask.charmtx.com/example-dask", "--replicas=2")
    cluster.wait_settled(2)


@pytest.mark.pod_security("baseline")
@pytest.mark.parametrize("spelling", ["serviceAccountName", "serviceAccount"])
def test_what_was_written_for_the_earlier_operator_works_unchanged(
    kube: Kube, images: Images, priority_class: str, tmp_path: Path, spelling: str
) -> None:
    kube.run("create", "serviceaccount", "research")
    folder = tmp_path / "manifests"
    shutil.copytree(EARLIER, folder)
    text = (folder / "cluster.yaml").read_text()
    for word, its in {"IMAGE": images.dask, "PRIORITY": priority_class, "serviceAccountName": spelling}.items():
        text = text.replace(word, its)
    (folder / "cluster.yaml").write_text(text)
    kube.apply_kustomization(folder, "--validate=strict")

    cluster = DaskCluster(kube, "example-team-a")
    cluster.wait_settled(1)
    (worker,) = cluster.workers()
    assert worker["spec"]["serviceAccountName"] == "research"
    assert {"name": "MALLOC_TRIM_THRESHOLD_", "value": "65536"} in worker["spec"]["containers"][0]["env"]
    (scheduler,) = kube.objects().pods(cluster=cluster.name, role="scheduler")
    assert scheduler["spec"]["priorityClassName"] == priority_class
    assert scheduler["metadata"]["annotations"]["team"] == "a"
    assert scheduler["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}

    kube.wait_for("the budget counts the scheduler", lambda: _budget(kube, cluster.name) == (1, 1))
    kube.wait_for("the autoscaler reads and may set the scale", lambda: _able_to_scale(kube, cluster.name))
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        cluster.scale(2)
        cluster.wait_settled(2)
        assert {w.name for w in agent.wait_for_workers(2)} == {pod["metadata"]["name"] for pod in cluster.workers()}
        cluster.scale(1)
        cluster.wait_settled(1)
        assert agent.audit().intact, agent.audit()


@pytest.mark.parametrize("folder", ["deploy", "deploy/all-namespaces", "example"])
def test_the_api_server_takes_what_we_ship(kube: Kube, folder: str) -> None:
    """Every field, strictly; and a second time as an update of what is there."""
    with overlay(CHECKOUT / folder, namespace=kube.namespace) as kustomization:
        told = kube.apply_kustomization(kustomization, "--dry-run=server", "--validate=strict")
    assert "(server dry run)" in told


@pytest.fixture
def priority_class(kube: Kube) -> Iterator[str]:
    """A PriorityClass of the test's own; they belong to no namespace."""
    name = f"scheduler-{kube.namespace}"
    metadata = {"name": name, "labels": {existing.CHECKOUT_LABEL: Paths.here().key}}
    kube.apply({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": 10})
    yield name
    kube.delete("priorityclass", name)


def _budget(kube: Kube, name: str) -> tuple[int, int]:
    status = kube.get("poddisruptionbudget", name)["status"]
    return status["expectedPods"], status["currentHealthy"]


def _able_to_scale(kube: Kube, name: str) -> bool:
    conditions = kube.get("horizontalpodautoscaler", name).get("status", {}).get("conditions", ())
    return ("AbleToScale", "True") in {(c["type"], c["status"]) for c in conditions}
