"""A newer operator over an earlier one, while people compute: it goes on from what it finds, and restarts nothing."""

from __future__ import annotations

import subprocess
import tarfile
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from integration import operator_process
from integration.dask_cluster import CHECKOUT, DaskCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube

# The definition of the resource is an earlier one for a while, in which other tests would miss fields.
pytestmark = pytest.mark.alone

BEFORE = {
    "workers had revisions": "dask_k8s_operator/domain/revision.py",
    "changes of schedulers were followed": "dask_k8s_operator/domain/schedulerupdate.py",
}
"""Which operators are earlier: the last ones without these files."""

DIRECT = "--scheduler-access=direct"


@pytest.fixture(params=list(BEFORE.values()), ids=list(BEFORE))
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkout of an earlier operator."""
    file = request.param
    added = _git("log", "--diff-filter=A", "--format=%H", "--", file).split()
    assert added, f"the history doesn't go back to when {file} came: this needs a full clone, not a shallow one"
    folder = tmp_path / "earlier"
    with tarfile.open(fileobj=BytesIO(_git_bytes("archive", f"{added[-1]}^"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_newer_operator_restarts_nothing(unattended: Kube, images: Images, tmp_path: Path, earlier: Path) -> None:
    with (
        _earlier_definition(unattended, earlier) as upgrade_definition,
        operator_process.running(unattended, tmp_path, DIRECT, source=earlier) as old,
    ):
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=3)
        assert cluster.condition("SchedulerUpdated") is None, "this operator isn't an earlier one"
        with cluster.client(images.dask) as agent:
            agent.hold(scattered=30, computed=30)
            agent.persist(partitions=6, files=60)
            agent.start()
            before = _processes(cluster)
            assert old.stop().status == 0
            upgrade_definition()
            with operator_process.running(unattended, tmp_path, DIRECT):
                cluster.wait_condition("Progressing", "True", containing="all workers are of revision")
                cluster.wait_condition("SchedulerUpdated", "True", containing="the scheduler is of revision")
                agent.wait_for_answers(agent.progress().answers + 5)
                assert _processes(cluster) == before
                cluster.scale(2)
                cluster.wait_settled(2)
                agent.wait_for_workers(2)
                assert agent.stop().wrong == 0
                assert agent.total().equal
                assert agent.audit().intact, agent.audit()
                assert _processes(cluster).items() <= before.items()


def test_a_newer_operator_goes_on_with_a_retirement(
    unattended: Kube, images: Images, tmp_path: Path, earlier: Path
) -> None:
    with (
        _earlier_definition(unattended, earlier) as upgrade_definition,
        operator_process.running(unattended, tmp_path, DIRECT, source=earlier) as old,
    ):
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=4)
        with cluster.client(images.dask) as agent:
            agent.hold(scattered=40, computed=40)
            before = _processes(cluster)
            cluster.scale(1)
            old.wait_logged("drain tcp://")
            old.kill()
            assert cluster.resource()["status"]["workers"]["retiring"]
            upgrade_definition()
            with operator_process.running(unattended, tmp_path, DIRECT):
                cluster.wait_settled(1)
                agent.wait_for_workers(1)
                assert agent.audit().intact, agent.audit()
                assert _processes(cluster).items() <= before.items()


@contextmanager
def _earlier_definition(kube: Kube, earlier: Path) -> Iterator[Any]:
    """Have the earlier operator's CustomResourceDefinition; gives a function that brings back that of now."""

    def now() -> None:
        kube.run("apply", f"--filename={CHECKOUT / 'deploy' / 'base' / 'crd.yaml'}")

    kube.run("apply", f"--filename={earlier / 'deploy' / 'base' / 'crd.yaml'}")
    try:
        yield now
    finally:
        now()


def _processes(cluster: DaskCluster) -> dict[str, Any]:
    """What may not change: each pod with how often it was started, and what the scheduler runs from."""
    objects = cluster.kube.objects()
    found = {
        pod["metadata"]["uid"]: [state["restartCount"] for state in pod["status"]["containerStatuses"]]
        for pod in objects.pods(cluster=cluster.name)
    }
    deployment, service = (objects.find(kind, f"{cluster.name}-scheduler") or {} for kind in ("Deployment", "Service"))
    generation = deployment["metadata"]["generation"]
    return {**found, deployment["metadata"]["uid"]: generation, service["metadata"]["uid"]: service["spec"]}


def _git(*arguments: str) -> str:
    return _git_bytes(*arguments).decode()


def _git_bytes(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, check=True, capture_output=True).stdout
