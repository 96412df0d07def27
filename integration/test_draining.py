"""Tasks that run on a worker that is to go: they end there, if they are given the time, and run nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, manifest

if TYPE_CHECKING:
    from integration.agent.client import Agent
    from integration.cluster.provider import Images
    from integration.kube import Kube

TASK_SECONDS = 20.0


def test_a_running_task_ends_on_its_worker_which_goes_after_that(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        victim = _scale_down_under_a_task(cluster, agent)
        assert list(agent.starts().values()) == [(victim,)]
        assert agent.audit().intact, agent.audit()


def test_a_task_that_takes_longer_than_it_is_given_runs_again_elsewhere(kube: Kube, images: Images) -> None:
    """Its worker doesn't wait for it, and loses nothing of what it holds."""
    made = manifest("dask", images.dask, replicas=2)
    made["spec"]["workers"]["retirement"] = {"drainSeconds": 3}
    kube.apply(made)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        victim = _scale_down_under_a_task(cluster, agent)
        ((first, second),) = agent.starts().values()
        assert (first, second) == (victim, cluster.workers()[0]["metadata"]["name"])
        assert agent.audit().intact, agent.audit()


def _scale_down_under_a_task(cluster: DaskCluster, agent: Agent) -> str:
    """Scale down by the worker that runs a task, and wait until both are done; gives the worker's name."""
    worker, *_ = agent.wait_for_workers(2)
    cluster.let_go_first(worker.name)
    agent.begin([worker], seconds=TASK_SECONDS)
    cluster.scale(1)
    cluster.wait_settled(1)
    agent.wait_for_workers(1)
    agent.finish()
    return worker.name
