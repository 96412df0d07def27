"""Changes of a Cluster that computes: workers are replaced without a key being lost or computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, is_terminating, manifest
from integration.kube import CLUSTERS

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

REVISION = "dask.charmtx.com/revision"


def test_a_new_template_replaces_all_workers_and_keeps_all_data(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=30, computed=30)
        before = _uids(cluster)
        kube.apply(_with_annotation(manifest("dask", images.dask, replicas=3), "one"))
        _wait_rolled_out(cluster, 3)
        assert not before & _uids(cluster)
        status = cluster.resource()["status"]["workers"]
        assert status["updated"] == 3
        assert {pod["metadata"]["labels"][REVISION] for pod in cluster.workers()} == {status["revision"]}
        assert agent.audit().intact, agent.audit()


def test_a_template_that_never_works_stops_after_one_worker_and_is_reverted(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        before = _uids(cluster)
        wrong = {"nodeSelector": {"dask.charmtx.com/no-such-node": "true"}}
        kube.apply(manifest("dask", images.dask, replicas=2, worker=wrong))
        told = cluster.wait_condition("Progressing", "False", containing="the others stay")
        assert told["reason"] == "Stalled"
        assert before < _uids(cluster)
        assert len(_uids(cluster)) == 3

        kube.apply(manifest("dask", images.dask, replicas=2))
        _wait_rolled_out(cluster, 2)
        assert _uids(cluster) == before
        assert agent.audit().intact, agent.audit()


def test_a_change_that_is_half_done_is_reverted_while_queries_run(kube: Kube, images: Images) -> None:
    """The new workers go again, and nothing that anybody held or computes is lost or wrong."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=3)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        agent.persist(partitions=6, files=60)
        agent.start()
        first = cluster.resource()["status"]["workers"]["revision"]
        kube.apply(_with_annotation(manifest("dask", images.dask, replicas=3), "one"))
        kube.wait("one worker has been replaced, and not all", lambda objects: _updated(objects) == 2)
        kube.apply(manifest("dask", images.dask, replicas=3))
        _wait_rolled_out(cluster, 3)
        assert {pod["metadata"]["labels"][REVISION] for pod in cluster.workers()} == {first}
        agent.wait_for_workers(3)
        assert agent.stop().wrong == 0
        assert agent.total().equal
        assert agent.audit().intact, agent.audit()


def test_shares_are_kept_to_while_queries_run(kube: Kube, images: Images) -> None:
    """With 4 workers, 25 % more and 50 % fewer: never more than 5 pods, and 2 that are ready."""
    bounds = {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "50%"}}
    wanted = manifest("dask", images.dask, replicas=4)
    wanted["spec"]["workers"]["updateStrategy"] = bounds
    kube.apply(wanted)
    cluster = DaskCluster(kube, "dask")
    cluster.wait_settled(4)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        agent.persist(partitions=8, files=60)
        agent.start()
        changed = _with_annotation(manifest("dask", images.dask, replicas=4), "one")
        changed["spec"]["workers"]["updateStrategy"] = bounds
        kube.apply(changed)
        seen: set[tuple[int, int]] = set()

        def done(objects: Objects) -> bool:
            live = [pod for pod in objects.pods(role="worker") if not is_terminating(pod)]
            seen.add((len(live), sum(map(_is_ready, live))))
            return _updated(objects) == len(live) == 4

        kube.wait("all workers have been replaced", done, timeout=180)
        assert max(pods for pods, _ in seen) == 5
        assert min(ready for _, ready in seen) >= 2
        cluster.wait_settled(4)
        assert agent.stop().wrong == 0
        assert agent.audit().intact, agent.audit()


def test_on_deletion_nothing_is_replaced_by_itself(kube: Kube, images: Images) -> None:
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    before = _uids(cluster)
    changed = _with_annotation(manifest("dask", images.dask, replicas=2), "one")
    changed["spec"]["workers"]["updateStrategy"] = {"type": "OnDelete"}
    kube.apply(changed)
    cluster.wait_condition("Progressing", "True", containing="replaced as somebody deletes them")
    assert _uids(cluster) == before
    for worker in cluster.workers():
        kube.run("delete", "pod", worker["metadata"]["name"])
    _wait_rolled_out(cluster, 2)
    assert not before & _uids(cluster)


def _with_annotation(changed: Manifest, value: str) -> Manifest:
    changed["spec"]["workers"]["template"]["metadata"] = {"annotations": {"example.com/change": value}}
    return changed


def _uids(cluster: DaskCluster) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.workers()}


def _updated(objects: Objects) -> int:
    found = objects.find("Cluster", "dask")
    assert found is not None
    current = found["status"]["observedGeneration"] == found["metadata"]["generation"]
    return int(found["status"]["workers"]["updated"]) if current else 0


def _is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _wait_rolled_out(cluster: DaskCluster, replicas: int) -> None:
    def done(objects: Objects) -> bool:
        found = objects.find("Cluster", cluster.name)
        return (
            found is not None
            and found["status"]["observedGeneration"] == found["metadata"]["generation"]
            and found["status"]["workers"]["updated"] == replicas
        )

    cluster.kube.wait(f"{CLUSTERS} {cluster.name} is updated", done, timeout=180)
    cluster.wait_settled(replicas)
