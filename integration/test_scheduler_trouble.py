"""Schedulers and workers that don't answer as they should, in the middle of a scale-down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, is_terminating, manifest, started_by_path
from integration.worker_process import SHARED, send_signal

if TYPE_CHECKING:
    from integration.agent.client import Agent
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest

WITHOUT_API = {"name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "value": "['distributed.http.scheduler.info']"}


def test_a_scheduler_that_restarts_leaves_nobody_behind(kube: Kube, images: Images) -> None:
    """Its workers exit with it; what was being retired is forgotten, and so many workers come as are wanted."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3, worker=SHARED)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(3)  # one that isn't registered yet would go first
        agent.hold(scattered=30, computed=0)
        victims = _retiring_with_a_frozen_worker(cluster, replicas=2)
        kube.delete("pod", "--selector=dask.charmtx.com/role=scheduler")
        for victim in victims:
            send_signal(kube, victim, "CONT")
    cluster.wait_settled(2)
    cluster.scale(1)
    cluster.wait_settled(1)


def test_a_frozen_worker_holds_no_other_up_and_loses_nothing(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=4, worker=SHARED)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(4)  # one that isn't registered yet would go first
        agent.hold(scattered=40, computed=20)
        (frozen,) = _retiring_with_a_frozen_worker(cluster, replicas=3)
        cluster.scale(1)
        kube.wait("the other two are gone", lambda objects: len(objects.pods(cluster="dask", role="worker")) == 2)
        assert frozen in {pod["metadata"]["name"] for pod in cluster.workers()}
        send_signal(kube, frozen, "CONT")
        cluster.wait_settled(1)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()


def test_a_frozen_scheduler_holds_up_its_own_cluster_only_and_loses_nothing(
    kube: Kube, second_kube: Kube, images: Images
) -> None:
    kube.apply(manifest("dask", images.dask, replicas=2, scheduler=SHARED))
    other = DaskCluster(second_kube, "dask").apply(images.dask, replicas=2)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(2)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(2)
        agent.hold(scattered=20, computed=20)
        (scheduler,) = (pod["metadata"]["name"] for pod in kube.objects().pods(role="scheduler"))
        send_signal(kube, scheduler, "STOP")
        cluster.scale(1)
        other.scale(1)
        other.wait_settled(1)
        assert len(cluster.workers()) == 2
        assert not any(is_terminating(pod) for pod in cluster.workers())
        send_signal(kube, scheduler, "CONT")
        cluster.wait_settled(1)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()


def test_without_the_http_api_workers_are_retired_over_dasks_own_port(kube: Kube, images: Images) -> None:
    made = manifest("dask", images.dask, replicas=3)
    made["spec"]["scheduler"]["template"]["spec"]["containers"][0]["env"] = [WITHOUT_API]
    kube.apply(made)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=20)
        cluster.scale(1)
        cluster.wait_settled(1)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()
        # So are those whose pods somebody deletes: the preStop hook, which needs the API, waits for the operator.
        cluster.scale(2)
        cluster.wait_settled(2)
        _deleted_without_loss(cluster, agent)


def test_an_image_without_python_on_its_path_is_no_obstacle(kube: Kube, images: Images) -> None:
    """The preStop hook finds the one that the worker runs by."""
    made = manifest("dask", images.dask, replicas=2)
    started_by_path(made, env=[{"name": "PATH", "value": "/nowhere"}])
    kube.apply(made)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(2)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(2)
        agent.hold(scattered=20, computed=20)
        _deleted_without_loss(cluster, agent)


def test_the_last_worker_of_none_wanted_hands_over_when_it_is_evicted(kube: Kube, images: Images) -> None:
    """It is there because of its data; the worker that is made to take that stays for the same reason."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        cluster.scale(0)
        cluster.wait_condition("ScaleDownBlocked", "True")
        (holder,) = (pod["metadata"]["name"] for pod in cluster.workers())
        kube.evict(holder)
        kube.wait(f"{holder} is gone", lambda objects: objects.find("Pod", holder) is None)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()
        agent.release()
        cluster.wait_settled(0)


def test_what_happens_is_told_as_events(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=5, computed=0)
        cluster.scale(0)
        wanted = {"CreatedScheduler", "CreatedWorkers", "Ready", "ScaleDownBlocked"}
        kube.wait_for("the Events", lambda: wanted <= _reasons(kube))
        agent.release()
    cluster.wait_settled(0)
    kube.wait_for("the Events", lambda: {"RetiringWorkers", "DeletedWorkers"} <= _reasons(kube))


def _deleted_without_loss(cluster: DaskCluster, agent: Agent) -> None:
    """Delete the pod of one of two workers, and see that its data is kept and that nothing is said to be wrong."""
    name = cluster.workers()[0]["metadata"]["name"]
    cluster.kube.delete("pod", name)
    cluster.kube.wait(f"{name} is gone", lambda objects: objects.find("Pod", name) is None)
    agent.wait_for_workers(2)
    assert agent.audit().intact, agent.audit()
    cluster.wait_condition("HandoverPossible", "True")


def _retiring_with_a_frozen_worker(cluster: DaskCluster, *, replicas: int) -> list[str]:
    """Scale down by one, to a worker that is frozen and so can't be retired yet; gives its name."""
    # By its name's order, not by what the scheduler proposes: the cheapest to delete goes first.
    frozen = min(pod["metadata"]["name"] for pod in cluster.workers())
    cluster.let_go_first(frozen)
    send_signal(cluster.kube, frozen, "STOP")
    cluster.scale(replicas)
    cluster.kube.wait_for("the scheduler was asked", lambda: _asked(cluster.resource()) == {frozen})
    return [frozen]


def _asked(cluster: Manifest) -> set[str]:
    return {entry["name"] for entry in cluster["status"]["workers"]["retiring"] if "asked" in entry}


def _reasons(kube: Kube) -> set[str]:
    selector = "involvedObject.kind=Cluster"
    return set(
        kube.run("get", "events", f"--field-selector={selector}", "--output=jsonpath={.items[*].reason}").split()
    )
