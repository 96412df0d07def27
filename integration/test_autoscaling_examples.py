"""The examples that scale a Cluster, as kustomize builds them and as the resources' real definitions take them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.autoscaling import EXAMPLE, define
from integration.kube import Kube, KubectlError, overlay

AUTOSCALERS = {
    "autoscaling-keda": "ScaledObject",
    "autoscaling-keda-prometheus": "ScaledObject",
    "autoscaling-prometheus": "HorizontalPodAutoscaler",
    "autoscaling-prometheus-to-zero": "HorizontalPodAutoscaler",
}
FOLDERS = [EXAMPLE / name for name in AUTOSCALERS]


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """An example's folder."""
    return Path(request.param)


@pytest.mark.parametrize("folder", [*FOLDERS, EXAMPLE / "autoscaling-builtin"], ids=lambda folder: folder.name)
def test_every_field_is_known(kube: Kube, folder: Path) -> None:
    define(kube)
    with overlay(folder, namespace=kube.namespace) as kustomization:
        told = kube.apply_kustomization(kustomization, "--dry-run=server", "--validate=strict")
    assert "cluster.dask.charmtx.com/example-dask created" in told


def test_a_misspelt_field_is_refused(kube: Kube) -> None:
    """Which is what makes the test above say something."""
    define(kube)
    patch = {"target": {"kind": "ScaledObject"}, "patch": '[{"op": "add", "path": "/spec/maxReplicas", "value": 1}]'}
    with (
        overlay(EXAMPLE / "autoscaling-keda", namespace=kube.namespace, patches=[patch]) as kustomization,
        pytest.raises(KubectlError, match=r"spec\.maxReplicas"),
    ):
        kube.apply_kustomization(kustomization, "--dry-run=server", "--validate=strict")


@pytest.mark.usefixtures("session")
def test_a_prefix_gets_wherever_the_cluster_is_named(folder: Path, tmp_path: Path) -> None:
    """As when a user adds it to a copy of the example's own kustomization."""
    copies = tmp_path / "example"
    shutil.copytree(EXAMPLE, copies)
    with (copies / folder.name / "kustomization.yaml").open("a") as own:
        own.write("\nnamePrefix: here-\n")
    built = yaml.safe_load_all(Kube("default").run("kustomize", str(copies / folder.name)))
    named = {one["kind"]: references(one["spec"]) for one in built}
    assert {kind for kind, found in named.items() if found} == {"PodDisruptionBudget", AUTOSCALERS[folder.name]}
    assert {name for found in named.values() for name in found} == {"here-example-dask"}


def references(spec: Any) -> list[str]:
    """The names of Clusters in a spec, beside its kind or as the label's value."""
    if isinstance(spec, list):
        return [name for item in spec for name in references(item)]
    if not isinstance(spec, dict):
        return []
    found = [name for value in spec.values() for name in references(value)]
    if spec.get("kind") == "Cluster":
        found.append(spec["name"])
    if "dask.charmtx.com/cluster" in spec:
        found.append(spec["dask.charmtx.com/cluster"])
    return found
