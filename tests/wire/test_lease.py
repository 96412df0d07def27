"""An operator that may act only while it holds a Lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmock import action

from dask_k8s_operator.clients import lease
from tests.wire.apiserver import LEASES, NAMESPACE, PODS, ApiServer

if TYPE_CHECKING:
    import pytest

    from tests.wire.conftest import Running
    from tests.wire.world import World


async def test_one_that_lost_the_lease_goes_on_when_it_has_it_again(
    api: ApiServer, world: World, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what it saw meanwhile, too: it keeps watching, and does nothing."""
    for name, seconds in {"LEASE_SECONDS": 3, "RENEW_SECONDS": 2, "RETRY_SECONDS": 1}.items():
        monkeypatch.setattr(lease, name, seconds)
    world.apply(replicas=1)
    async with running(lease=(NAMESPACE, "dask-operator")):
        await world.ready(1)
        outage = api.hang_up(lambda request: request.resource == LEASES, times=float("inf"))
        await api.until(lambda: "could not be renewed" in caplog.text, "it has stopped")
        written, tried = len(api.asked(action.CREATE, PODS)), outage.met
        await world.scale(3)
        await api.until(lambda: outage.met >= tried + 2, "it tries to lead again")
        assert len(api.asked(action.CREATE, PODS)) == written
        api.recover()
        await world.ready(3)
    (found,) = api.all(LEASES)
    assert "holderIdentity" not in found["spec"], "it was given back"
