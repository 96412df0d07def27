"""KEDA scales a Cluster by what its scheduler or Prometheus says: the examples as they are, with KEDA itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from integration import prometheus
from integration.autoscaling import (
    EXAMPLE,
    MAXIMUM,
    assert_workers_stay_while_tasks_wait,
    define,
    described,
    replace,
    stays,
    up_and_down,
    watched,
)
from integration.dask_cluster import DaskCluster
from integration.keda.installation import DEPLOYMENTS, NAMESPACE
from integration.kube import Kube, overlay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from integration.cluster.provider import Images

NAME = "example-dask"
TRIGGER = "/spec/triggers/0/metadata"
BEHAVIOR = "/spec/advanced/horizontalPodAutoscalerConfig/behavior"
HOLD_SECONDS = 15
DESCRIBED = ("scaledobjects", "horizontalpodautoscalers")
OFTEN = replace("ServiceMonitor", {"/spec/endpoints/0/interval": "1s"})


@pytest.fixture(autouse=True)
def _keda() -> None:
    found = Kube(NAMESPACE).run("get", "deployments", *DEPLOYMENTS, "--ignore-not-found", "--output=name")
    if not found:
        pytest.skip("KEDA is not installed on this cluster: `nox -s keda` builds and installs it")


def test_workers_follow_what_the_scheduler_says(kube: Kube, images: Images, tmp_path: Path, rounds: int) -> None:
    define(kube)
    start = time.time()
    cluster = _apply(kube, images, "autoscaling-keda", {f"{TRIGGER}/url": _target(kube)})
    with watched(kube, tmp_path) as metrics, described(kube, *DESCRIBED):
        up_and_down(cluster, images.dask, minimum=0, rounds=rounds)
        assert_workers_stay_while_tasks_wait(metrics, start=start)


def test_a_scaled_object_is_told_of_and_not_fought(kube: Kube, images: Images) -> None:
    """Nothing is to be done, so it keeps its least number; the Cluster's own autoscaler has another."""
    define(kube)
    least = {f"{TRIGGER}/url": _target(kube), "/spec/minReplicaCount": 2}
    cluster = _apply(kube, images, "autoscaling-keda", least)
    cluster.patch({"workers": {"autoscale": {"minReplicas": 3, "maxReplicas": MAXIMUM}}})
    told = cluster.wait_condition("Autoscaling", "False", containing=f"keda-hpa-{NAME}")
    assert told["reason"] == "HorizontalPodAutoscaler"
    cluster.wait_settled(2)
    stays(kube, "it is left to the ScaledObject", 15, cluster=cluster, replicas=2)

    kube.delete("scaledobjects", NAME, wait=True)
    cluster.wait_settled(3)
    assert cluster.wait_condition("Autoscaling", "True")


def test_workers_follow_what_prometheus_says(kube: Kube, images: Images, tmp_path: Path, rounds: int) -> None:
    define(kube)
    start = time.time()
    query = f'max(dask_scheduler_desired_workers{{namespace="{kube.namespace}",job="{NAME}"}})'
    cluster = _apply(kube, images, "autoscaling-keda-prometheus", {f"{TRIGGER}/query": query})
    with prometheus.running(kube, tmp_path) as metrics, described(kube, *DESCRIBED):
        address = {f"{TRIGGER}/serverAddress": metrics.url, f"{TRIGGER}/query": query}
        _apply(kube, images, "autoscaling-keda-prometheus", address)
        up_and_down(cluster, images.dask, minimum=0, rounds=rounds)
        assert_workers_stay_while_tasks_wait(metrics, start=start)


def _target(kube: Kube) -> str:
    return f"http://{NAME}-scheduler.{kube.namespace}.svc:8787/api/v1/adaptive_target"


def _apply(kube: Kube, images: Images, folder: str, trigger: Mapping[str, object]) -> DaskCluster:
    """Apply an example with short times, and wait until its scheduler answers."""
    patches = [
        OFTEN,
        replace("Cluster", {"/spec/image": images.dask}),
        replace(
            "ScaledObject",
            {
                "/spec/maxReplicaCount": MAXIMUM,
                "/spec/pollingInterval": 2,
                "/spec/cooldownPeriod": HOLD_SECONDS,
                f"{BEHAVIOR}/scaleDown/stabilizationWindowSeconds": HOLD_SECONDS,
                **trigger,
            },
        ),
    ]
    with overlay(EXAMPLE / folder, namespace=kube.namespace, patches=patches) as kustomization:
        kube.apply_kustomization(kustomization, "--validate=strict")
    cluster = DaskCluster(kube, NAME)
    cluster.wait_condition("SchedulerReady", "True")
    return cluster
