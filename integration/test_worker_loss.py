"""Workers that go although nobody scaled: killed, deleted by others, or done."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from integration.dask_cluster import DaskCluster
from integration.worker_process import SHARED, send_signal

if TYPE_CHECKING:
    from integration.agent.client import Agent
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

_RETIRE_MYSELF = """
import json, os
from urllib.request import Request, urlopen

api = os.environ["DASK_SCHEDULER_DASHBOARD"] + "/api/v1/"
workers = json.load(urlopen(api + "get_workers"))["workers"]
[own] = [worker["address"] for worker in workers if worker["name"] == os.environ["DASK_WORKER_NAME"]]
request = Request(api + "retire_workers", json.dumps({"workers": [own]}).encode(), {"Content-Type": "application/json"})
assert own in json.load(urlopen(request))
"""

_SIDECAR = {"name": "beside", "command": ["sh", "-c", "trap exit TERM; sleep inf & wait"]}


def test_a_killed_worker_is_started_again(kube: Kube, images: Images) -> None:
    """In its own pod: what it held is gone, which nobody can prevent, and what the others hold is not."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2, worker=SHARED)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=0, computed=20)
        before = {pod["metadata"]["uid"] for pod in cluster.workers()}
        victim = cluster.workers()[0]["metadata"]["name"]
        send_signal(kube, victim, "KILL")
        kube.wait("the worker was started again", lambda objects: _restarts(objects.find("Pod", victim)) == 1)
        cluster.wait_settled(2)
        agent.wait_for_workers(2)
        assert {pod["metadata"]["uid"] for pod in cluster.workers()} == before
        audit = agent.audit()
        assert (audit.held, audit.lost, audit.wrong) == (20, (), ()), audit


def test_a_deleted_worker_pod_hands_its_data_over(kube: Kube, images: Images) -> None:
    """It is replaced at once, which is what gives the only worker of a cluster somebody to hand its data to."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        (only,) = _names(cluster)
        kube.delete("pod", only)
        cluster.wait_settled(1)
        agent.wait_for_workers(1)
        assert only not in _names(cluster)
        assert agent.audit().intact, agent.audit()


def test_all_worker_pods_deleted_at_once(kube: Kube, images: Images) -> None:
    """By `kubectl delete pod --selector`: nobody is left to hand data to until the first replacement has joined."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=30)
        before = _names(cluster)
        kube.delete("pod", "--selector=dask.charmtx.com/cluster=dask,dask.charmtx.com/role=worker")
        cluster.wait_settled(3)
        agent.wait_for_workers(3)
        assert before.isdisjoint(_names(cluster))
        assert agent.audit().intact, agent.audit()


def test_all_workers_evicted_one_after_the_other(kube: Kube, images: Images) -> None:
    """As when node after node is drained; queries go on meanwhile."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=30)
        agent.persist(partitions=6, files=60)
        agent.start()
        before = _names(cluster)
        for name in sorted(before):
            kube.evict(name)
            kube.wait(f"{name} is gone", partial(_is_gone, name))
        cluster.wait_settled(3)
        agent.wait_for_workers(3)
        assert before.isdisjoint(_names(cluster))
        assert agent.stop().wrong == 0
        assert agent.audit().intact, agent.audit()


@pytest.mark.alone
def test_all_workers_drained_one_after_the_other(kube: Kube, images: Images) -> None:
    """By `kubectl drain`, as if each were on a node of its own. Alone, since no pod starts on a node meanwhile."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=30)
        before = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in cluster.workers()}
        for name, node in sorted(before.items()):
            _drain(kube, node, pod=name)
            cluster.wait_settled(3)
            agent.wait_for_workers(3)
        assert before.keys().isdisjoint(_names(cluster))
        assert agent.audit().intact, agent.audit()


def test_the_only_worker_is_evicted(kube: Kube, images: Images) -> None:
    """It waits for its replacement, and hands everything over to that."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        (only,) = _names(cluster)
        kube.evict(only)
        kube.wait(f"{only} is gone", partial(_is_gone, only))
        cluster.wait_settled(1)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()


@pytest.mark.parametrize("beside", [(), (_SIDECAR,)], ids=["alone", "beside another container"])
def test_a_completed_worker_is_replaced(kube: Kube, images: Images, beside: tuple[Manifest, ...]) -> None:
    """A retired worker ends with status 0, and nobody asked for fewer; a container beside it may run on for ever."""
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = [{"name": "worker"}, *({**container, "image": images.dask} for container in beside)]
    pod = {"containers": [{**container, "securityContext": locked} for container in containers]}
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2, worker=pod)
    with cluster.client(images.dask) as agent:
        agent.wait_for_workers(2)
        agent.hold(scattered=20, computed=20)
        victim = min(_names(cluster))
        _retire(agent, kube, victim)
        kube.wait(f"{victim} is gone", lambda objects: objects.find("Pod", victim) is None)
        cluster.wait_settled(2)
        agent.wait_for_workers(2)
        assert agent.audit().intact, agent.audit()


@pytest.mark.waits_long
def test_a_failed_worker_pod_is_replaced(kube: Kube, images: Images) -> None:
    """The kubelet ends a pod at its deadline, and doesn't start it again."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=0, computed=20)
        victim = min(_names(cluster))
        kube.run("patch", "pod", victim, "--patch", json.dumps({"spec": {"activeDeadlineSeconds": 1}}))
        kube.wait(f"{victim} is gone", partial(_is_gone, victim), timeout=180)
        # Not by an Event of the kubelet's, which loses some of them on a busy node.
        told = f"deleted {victim}: it has finished"
        kube.wait_for("the operator has told why", lambda: told in kube.run("get", "events"))
        _is_whole_again(cluster, agent)


def test_a_worker_pod_deleted_by_force_is_replaced(kube: Kube, images: Images) -> None:
    """Its worker gets no time to hand anything over; what it had computed is computed again."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=0, computed=20)
        victim = min(_names(cluster))
        kube.delete("pod", victim, "--grace-period=0", "--force")
        _is_whole_again(cluster, agent)
        assert victim not in _names(cluster)


def _is_whole_again(cluster: DaskCluster, agent: Agent) -> None:
    cluster.wait_settled(2)
    agent.wait_for_workers(2)
    audit = agent.audit()
    assert (audit.held, audit.lost, audit.wrong) == (20, (), ()), audit


def _retire(agent: Agent, kube: Kube, pod: str) -> None:
    assert pod in {worker.name for worker in agent.workers()}
    kube.exec(pod, "python3", "-c", _RETIRE_MYSELF)


def _drain(kube: Kube, node: str, *, pod: str) -> None:
    """Drain a node as far as one pod goes; when it is gone, the node takes pods again."""
    kube.run("label", "pod", pod, f"drained={pod}")
    try:
        kube.run("drain", node, f"--pod-selector=drained={pod}", "--timeout=80s")
    finally:
        kube.run("uncordon", node)


def _names(cluster: DaskCluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.workers()}


def _is_gone(pod: str, objects: Objects) -> bool:
    return objects.find("Pod", pod) is None


def _restarts(pod: Manifest | None) -> int:
    assert pod is not None, "the pod itself is gone"
    return int(pod["status"]["containerStatuses"][0]["restartCount"])
