"""What `kubectl apply -k deploy/` installs, with the rights that it gives the operator and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.dask_cluster import DaskCluster, install_operator
from integration.session import InstalledOperator

if TYPE_CHECKING:
    from integration.cluster.provider import Images
    from integration.kube import Kube


def test_an_operator_for_one_namespace(unattended: Kube, images: Images) -> None:
    """In a namespace under `restricted` Pod Security: it scales a Cluster with its data, and needs no right in vain."""
    install_operator(unattended, images.operator)
    operator = InstalledOperator(unattended, deployment="dask-operator")
    cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=1)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        for replicas in (3, 1):
            cluster.scale(replicas)
            cluster.wait_settled(replicas)
            agent.wait_for_workers(replicas)
        assert agent.audit().intact, agent.audit()
    assert operator.refusals() == []
    assert operator.restarts() == 0
