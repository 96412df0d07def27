"""Operators outside the cluster, which reach schedulers through the API server, and which end at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration import operator_process
from integration.dask_cluster import DaskCluster
from integration.worker_process import SHARED, send_signal

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube, Objects

SHUTDOWN_SECONDS = 5.0
"""What the operator promises; a kubelet gives it longer."""


def test_a_laptop_scales_a_cluster_down_with_its_data(unattended: Kube, images: Images, tmp_path: Path) -> None:
    """Without any option: the API server's proxy is what fits there."""
    with operator_process.running(unattended, tmp_path):
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=3)
        with cluster.client(images.dask) as agent:
            agent.hold(scattered=20, computed=20)
            cluster.scale(1)
            cluster.wait_settled(1)
            agent.wait_for_workers(1)
            assert agent.audit().intact, agent.audit()


@pytest.mark.parametrize(
    "moment", [pytest.param("retire tcp://", id="asking"), pytest.param(": done for [", id="answered")]
)
def test_killed_during_a_scale_down(unattended: Kube, images: Images, tmp_path: Path, moment: str) -> None:
    """Killed when it asks the scheduler, or when it has the answer and the pods are still there: the next goes on."""
    with operator_process.running(unattended, tmp_path, "--scheduler-access=proxy") as first:
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=3)
        with cluster.client(images.dask) as agent:
            agent.wait_for_workers(3)  # pods are ready before the scheduler knows them, and such go without being asked
            agent.hold(scattered=20, computed=20)
            cluster.scale(1)
            first.wait_logged(moment)
            first.kill()
            assert cluster.resource()["status"]["workers"]["retiring"], "it came too late to test anything"
            with operator_process.running(unattended, tmp_path, "--scheduler-access=proxy"):
                cluster.wait_settled(1)
                agent.wait_for_workers(1)
            assert agent.audit().intact, agent.audit()


def test_stopped_while_the_scheduler_moves_data(unattended: Kube, images: Images, tmp_path: Path) -> None:
    """SIGTERM ends it in time though an answer is outstanding: frozen workers keep it back until it's gone."""
    with operator_process.running(unattended, tmp_path) as first:
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=3, worker=SHARED)
        with cluster.client(images.dask) as agent:
            agent.hold(scattered=20, computed=20)
            workers = [pod["metadata"]["name"] for pod in cluster.workers()]
            for name in workers:
                send_signal(unattended, name, "STOP")
            cluster.scale(1)
            first.wait_logged("retire tcp://")
            ended = first.stop()
            assert ended.status == 0
            assert ended.seconds < SHUTDOWN_SECONDS
            assert len(cluster.workers()) == 3
            with operator_process.running(unattended, tmp_path) as second:
                for name in workers:
                    send_signal(unattended, name, "CONT")
                cluster.wait_settled(1)
                agent.wait_for_workers(1)
                assert second.stop().status == 0
            assert agent.audit().intact, agent.audit()


def test_a_cluster_that_is_deleted_needs_no_operator(unattended: Kube, images: Images, tmp_path: Path) -> None:
    """Everything goes by garbage collection, and workers don't wait for somebody to take their data."""
    with operator_process.running(unattended, tmp_path) as operator:
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=2)
        ended = operator.stop()
    assert ended.status == 0
    assert ended.seconds < SHUTDOWN_SECONDS
    unattended.delete("clusters.dask.charmtx.com", cluster.name)
    unattended.wait("nothing of the Cluster is left", _nothing, timeout=60)


def _nothing(objects: Objects) -> bool:
    return not objects.items
