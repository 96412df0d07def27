"""Two operators for one namespace: one acts and the other takes over, and if both act no harm is done."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.lease import LEASE_SECONDS, RETRY_SECONDS
from integration import operator_process
from integration.dask_cluster import DaskCluster

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube

LEASE = "--lease=dask-operator"
LEADS = "holds the Lease"
GIVEN_BACK_SECONDS = 6.0
"""A Lease that was given back is taken within `RETRY_SECONDS`; the rest is patience with a busy machine.

One that wasn't takes `LEASE_SECONDS`, counted from the last time that somebody saw it renewed.
"""

RUN_OUT_SECONDS = LEASE_SECONDS + 15.0
"""How long it takes until an operator that was killed is followed, patience included."""


def test_the_second_takes_over_in_the_middle_of_a_scale_down(unattended: Kube, images: Images, tmp_path: Path) -> None:
    with (
        operator_process.running(unattended, tmp_path, LEASE, operator_process.best_access()) as first,
        ExitStack() as others,
    ):
        first.wait_logged(LEADS)
        second = others.enter_context(
            operator_process.running(unattended, tmp_path, LEASE, operator_process.best_access())
        )
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=3)
        with cluster.client(images.dask) as agent:
            agent.wait_for_workers(3)
            agent.hold(scattered=20, computed=20)
            cluster.scale(1)
            first.wait_logged("retire tcp://")
            assert LEADS not in second.log()
            first.kill()
            killed = time.monotonic()
            second.wait_logged(LEADS)
            assert time.monotonic() - killed < RUN_OUT_SECONDS
            cluster.wait_settled(1)
            agent.wait_for_workers(1)
            assert agent.audit().intact, agent.audit()
            # One that is told to end gives the Lease back, so that the next one need not wait for its end.
            third = others.enter_context(
                operator_process.running(unattended, tmp_path, LEASE, operator_process.best_access())
            )
            third.wait_logged("waiting for the Lease")
            stopped = time.monotonic()
            assert second.stop().status == 0
            third.wait_logged(LEADS)
            assert time.monotonic() - stopped < GIVEN_BACK_SECONDS < LEASE_SECONDS - RETRY_SECONDS
            cluster.scale(2)
            cluster.wait_settled(2)


def test_two_that_both_act_lose_nothing_and_agree(unattended: Kube, images: Images, tmp_path: Path) -> None:
    with (
        operator_process.running(unattended, tmp_path, operator_process.best_access()),
        operator_process.running(unattended, tmp_path, operator_process.best_access()),
    ):
        cluster = DaskCluster(unattended, "dask").apply(images.dask, replicas=2)
        with cluster.client(images.dask) as agent:
            agent.wait_for_workers(2)
            agent.hold(scattered=20, computed=20)
            for replicas in (5, 1, 4, 2):
                cluster.scale(replicas)
                cluster.wait_settled(replicas)
                agent.wait_for_workers(replicas)
            assert agent.audit().intact, agent.audit()
