"""A HorizontalPodAutoscaler scales a Cluster by what Prometheus knows: the example as it is, on real components.

Only the prometheus-adapter is a stand-in, which follows the example's rule file.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml

from integration import metrics_adapter, prometheus
from integration.autoscaling import (
    EXAMPLE,
    MAXIMUM,
    assert_workers_stay_while_tasks_wait,
    define,
    described,
    replace,
    up_and_down,
)
from integration.dask_cluster import DaskCluster
from integration.kube import overlay

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube

RULES = EXAMPLE / "autoscaling-prometheus" / "adapter-values.yaml"
HOLD_SECONDS = 15

# There is one such API for all of a cluster, so these run one after the other.
pytestmark = pytest.mark.xdist_group("custom-metrics")


@pytest.mark.parametrize(("folder", "minimum"), [("autoscaling-prometheus", 1), ("autoscaling-prometheus-to-zero", 0)])
def test_workers_follow_the_load(
    kube: Kube, images: Images, tmp_path: Path, *, rounds: int, folder: str, minimum: int
) -> None:
    define(kube)
    patches = [
        replace("Cluster", {"/spec/image": images.dask}),
        replace("ServiceMonitor", {"/spec/endpoints/0/interval": "1s"}),
        replace(
            "HorizontalPodAutoscaler",
            {"/spec/maxReplicas": MAXIMUM, "/spec/behavior/scaleDown/stabilizationWindowSeconds": HOLD_SECONDS},
        ),
    ]
    with overlay(EXAMPLE / folder, namespace=kube.namespace, patches=patches) as kustomization:
        kube.apply_kustomization(kustomization, "--validate=strict")
    cluster = DaskCluster(kube, "example-dask")
    cluster.wait_condition("SchedulerReady", "True")
    rules = yaml.safe_load(RULES.read_text())["rules"]["custom"]
    start = time.time()
    with (
        prometheus.running(kube, tmp_path) as metrics,
        metrics_adapter.serving(kube, rules, metrics, tmp_path),
        described(kube, "horizontalpodautoscalers"),
    ):
        up_and_down(cluster, images.dask, minimum=minimum, rounds=rounds)
        assert_workers_stay_while_tasks_wait(metrics, start=start)
