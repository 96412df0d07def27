"""A pass that doesn't end is told to the kubelet, which starts the operator anew."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import TYPE_CHECKING

import httpx

from dask_k8s_operator.controller import operator
from dask_k8s_operator.controller.reconciler import Reconciler
from tests.wire.apiserver import NAMESPACE
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from datetime import timedelta

    import pytest

    from dask_k8s_operator.controller.keys import ClusterKey
    from tests.wire.apiserver import ApiServer
    from tests.wire.conftest import Running
    from tests.wire.world import World

MANY = 1000
"""More answers than there are while a few passes are under way, however slow they are on a busy machine."""


async def test_healthz_fails_while_a_pass_is_stuck(
    api: ApiServer, world: World, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()
    reconcile = Reconciler.reconcile

    async def hang(reconciler: Reconciler, key: ClusterKey) -> timedelta | None:
        begun.set()
        await let_go.wait()
        return await reconcile(reconciler, key)

    monkeypatch.setattr(Reconciler, "reconcile", hang)
    # Time is virtual here, and passes while sockets wait: only one limit is surely not reached, and only one surely is.
    monkeypatch.setattr(operator, "STUCK_SECONDS", math.inf)
    caplog.set_level(logging.INFO)
    world.apply(replicas=1)
    async with running(), httpx.AsyncClient(timeout=600) as http:
        healthz = f"http://{_health_address(caplog)}/healthz"
        await begun.wait()
        assert (await http.get(healthz)).text == "ok"
        monkeypatch.setattr(operator, "STUCK_SECONDS", 1.0)
        await asyncio.sleep(2)
        answer = await http.get(healthz)
        stuck = f"passes over these Clusters are stuck: {NAMESPACE}/{CLUSTER}"
        assert (answer.status_code, answer.text) == (503, stuck)
        let_go.set()
        monkeypatch.setattr(operator, "STUCK_SECONDS", math.inf)
        await api.until(lambda: world.status, "the pass has come to its end")
        monkeypatch.setattr(operator, "STUCK_SECONDS", -1.0)
        for _ in range(MANY):
            if (await http.get(healthz)).text == "ok":
                return
        raise AssertionError("none that has ended counts, though another may be under way")


def _health_address(caplog: pytest.LogCaptureFixture) -> str:
    [address] = re.findall(r"health endpoints on (\S+)", caplog.text)
    return str(address)
