"""What the folders of `deploy/` install, each with the rights that it gives the operator and no others."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from integration.cluster import existing
from integration.cluster.paths import Paths
from integration.dask_cluster import CHECKOUT, DaskCluster, install_operator
from integration.kube import Kube, overlay
from integration.session import InstalledOperator, add_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Objects


def test_an_operator_for_one_namespace(unattended: Kube, images: Images) -> None:
    """In a namespace under `restricted` Pod Security."""
    install_operator(unattended, images.operator)
    _does_its_work([unattended], images, InstalledOperator(unattended, deployment="dask-operator"))


def test_an_operator_for_several_namespaces(unattended: Kube, images: Images, tmp_path: Path) -> None:
    """It works in two namespaces from a third one."""
    with _further_namespace(unattended, "-b") as other, _further_namespace(unattended, "-op") as home:
        renamed = {"team-a": unattended.namespace, "team-b": other.namespace, "dask-operator": home.namespace}
        folder = _deploy_with_namespaces(tmp_path, renamed)
        with overlay(folder, images={"dask-k8s-operator": images.operator}) as kustomization:
            # Without `--namespace`, which would contradict the namespaces that its objects name.
            subprocess.run(["kubectl", "apply", f"--kustomize={kustomization}"], check=True)
        home.run("rollout", "status", "deployment/dask-operator", "--timeout=60s")
        _does_its_work([unattended, other], images, InstalledOperator(home, deployment="dask-operator"))


@pytest.mark.alone
def test_an_operator_for_all_namespaces(unattended: Kube, images: Images) -> None:
    """It would look after the Clusters of other tests, too."""
    with _further_namespace(unattended, "-op") as home, ExitStack() as afterwards:
        suffix = f"-{home.namespace}"
        ours = {existing.CHECKOUT_LABEL: Paths.here().key}
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            afterwards.callback(home.run, "delete", kind, f"dask-operator{suffix}", "--ignore-not-found")
        patches = [add_labels(kind, ours) for kind in ("ClusterRole", "ClusterRoleBinding", "Namespace")]
        folder, used = CHECKOUT / "deploy" / "all-namespaces", {"dask-k8s-operator": images.operator}
        # Neither may the namespace of another installation become this one, nor its ClusterRole.
        with overlay(
            folder, namespace=home.namespace, name_suffix=suffix, images=used, patches=patches
        ) as kustomization:
            home.apply_kustomization(kustomization)
        name = f"dask-operator{suffix}"
        home.run("rollout", "status", f"deployment/{name}", "--timeout=60s")
        _does_its_work([unattended], images, InstalledOperator(home, deployment=name))


def _does_its_work(kubes: list[Kube], images: Images, operator: InstalledOperator) -> None:
    """It scales a Cluster with its data, replaces its workers, restores what is deleted, and needs no right in vain."""
    for kube in kubes:
        cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
        with cluster.client(images.dask) as agent:
            agent.wait_for_workers(1)
            agent.hold(scattered=20, computed=20)
            for replicas in (3, 1):
                cluster.scale(replicas)
                cluster.wait_settled(replicas)
                agent.wait_for_workers(replicas)
            before = kube.get("service", "dask-scheduler")["metadata"]["uid"]
            kube.delete("service", "dask-scheduler", wait=True)
            kube.wait("the Service is there again", partial(_has_other_service, before=before))
            workers = {worker["metadata"]["name"] for worker in cluster.workers()}
            cluster.patch({"workers": {"template": {"metadata": {"annotations": {"example.com/team": "b"}}}}})
            kube.wait("other workers", partial(_has_no_worker_of, cluster, workers))
            cluster.patch({"workers": {"autoscale": {"minReplicas": 2, "maxReplicas": 2}}})
            cluster.wait_settled(2)
            kube.wait_for("Events tell of the Cluster", partial(_told, kube))
            assert agent.audit().intact, agent.audit()
    assert operator.refusals() == []
    assert operator.restarts() == 0


def _has_no_worker_of(cluster: DaskCluster, old: set[str], objects: Objects) -> bool:
    return not any(pod["metadata"]["name"] in old for pod in objects.pods(cluster=cluster.name, role="worker"))


def _told(kube: Kube) -> bool:
    return bool(kube.run("get", "events", "--field-selector=source=dask-operator", "--output=name"))


def _has_other_service(objects: Objects, *, before: str) -> bool:
    found = objects.find("Service", "dask-scheduler")
    return found is not None and found["metadata"]["uid"] != before


@contextmanager
def _further_namespace(beside: Kube, suffix: str) -> Iterator[Kube]:
    kube = Kube(beside.namespace + suffix)
    kube.create_namespace()
    try:
        yield kube
    finally:
        kube.delete_namespace(wait=False)


def _deploy_with_namespaces(folder: Path, renamed: dict[str, str]) -> Path:
    """A copy of `deploy/` whose overlay for several namespaces has others, as users would edit it."""
    copy = folder / "deploy"
    shutil.copytree(CHECKOUT / "deploy", copy)
    for file in (copy / "several-namespaces").rglob("kustomization.yaml"):
        text = file.read_text()
        for old, new in renamed.items():
            for key in ("namespace: ", "value: ", "--namespace="):
                text = text.replace(f"{key}{old}\n", f"{key}{new}\n").replace(f"{key}{old},", f"{key}{new},")
        file.write_text(text)
    return copy / "several-namespaces"
