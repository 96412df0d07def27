"""What others delete comes back, and Clusters keep to themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster
from integration.kube import CLUSTERS

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube, Objects


def test_a_deleted_service_and_a_deleted_deployment_come_back(kube: Kube, images: Images) -> None:
    """The Service without harm; with the Deployment goes the scheduler, and workers join the new one."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=10, computed=10)
        for kind in ("service", "deployment"):
            uid = kube.get(kind, "dask-scheduler")["metadata"]["uid"]
            if kind == "deployment":
                assert agent.audit().intact, "without its Service the cluster lost data"
            kube.delete(kind, "dask-scheduler")
            kube.wait(f"there is another {kind}", partial(_another, gone=uid))
            cluster.wait_settled(2)
    kube.delete("pod", "agent", wait=True)
    with cluster.client(images.dask) as agent:
        assert agent.hold(scattered=10, computed=10).computed == 10
        agent.wait_for_workers(2)


def test_clusters_of_one_name_in_two_namespaces_never_meet(kube: Kube, second_kube: Kube, images: Images) -> None:
    first, second = (DaskCluster(one, "dask").apply(images.dask, replicas=2) for one in (kube, second_kube))
    with first.client(images.dask) as agent, second.client(images.dask) as other:
        for cluster, client in ((first, agent), (second, other)):
            client.hold(scattered=10, computed=10)
            assert {w.name for w in client.workers()} == {pod["metadata"]["name"] for pod in cluster.workers()}
        untouched = {pod["metadata"]["uid"] for pod in second.workers()}
        first.scale(1)
        first.wait_settled(1)
        agent.wait_for_workers(1)
        assert agent.audit().intact, agent.audit()
        kube.delete(CLUSTERS, "dask")
        kube.wait("nothing of the first is left", lambda objects: not objects.pods(cluster="dask"))
        assert {pod["metadata"]["uid"] for pod in second.workers()} == untouched
        assert other.audit().intact, other.audit()


def _another(objects: Objects, *, gone: str) -> bool:
    found = [o for kind in ("Service", "Deployment") if (o := objects.find(kind, "dask-scheduler"))]
    return len(found) == 2 and gone not in {o["metadata"]["uid"] for o in found}
