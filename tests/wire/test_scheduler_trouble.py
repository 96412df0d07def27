"""Calls of the scheduler that fail, and what is remembered of them that gets lost."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from kmock import Request, action

from dask_k8s_operator.domain import handover, planner
from tests.wire.apiserver import STATUS, ApiServer, Where

if TYPE_CHECKING:
    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World


def of_scheduler(call: str) -> Where:
    """The operator's calls to the scheduler, through the API server."""

    def where(request: Request) -> bool:
        return request.url.path.endswith(f"/proxy/api/v1/{call}")

    return where


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scheduler looked at and asked again after a moment instead of seconds."""
    monkeypatch.setattr(handover, "ASK_AGAIN", timedelta(seconds=0.2))
    monkeypatch.setattr(handover, "GOES_ON", timedelta(seconds=0.2))
    monkeypatch.setattr(planner, "POLL", timedelta(seconds=0.1))


@pytest.mark.usefixtures("impatient")
class TestSchedulerTrouble:
    """Nothing is lost by a scheduler that doesn't answer, and nobody is retired twice."""

    async def test_a_lost_answer_to_a_retirement(
        self, api: ApiServer, dask: FakeDask, world: World, running: Running
    ) -> None:
        fault = api.lose_answer(of_scheduler("retire_workers"))
        world.apply(replicas=3)
        async with running():
            await world.ready(3)
            await world.scale(1)
            await world.has_workers(1)
        assert fault.met == 1
        assert [len(addresses) for addresses in dask.retired] == [2], "they are gone from its list"

    async def test_a_retirement_that_was_not_carried_out_is_asked_for_again(
        self, api: ApiServer, dask: FakeDask, world: World, running: Running
    ) -> None:
        fault = api.refuse(of_scheduler("retire_workers"), 500, times=2)
        world.apply(replicas=2)
        async with running():
            await world.ready(2)
            await world.scale(1)
            await world.has_workers(1)
        assert fault.met == 2
        assert [len(addresses) for addresses in dask.retired] == [1]

    @pytest.mark.parametrize("status", [500, 503, 404])
    async def test_while_it_cant_be_asked_everybody_stays(
        self, status: int, api: ApiServer, world: World, running: Running
    ) -> None:
        world.apply(replicas=2)
        async with running():
            before = await world.ready(2)
            api.refuse(of_scheduler("get_workers"), status, "no endpoints available", times=float("inf"))
            await world.scale(0)
            await api.until(lambda: world.condition("ScaleDownBlocked")[0] == "True", "the condition says so")
            assert "no endpoints available" in world.condition("ScaleDownBlocked")[2]
            assert world.workers() == before
            assert api.asked(action.DELETE) == []
            api.recover()
            await api.until(lambda: world.status["workers"]["retiring"], "goes on")

    async def test_the_status_is_written_but_its_answer_gets_lost(
        self, api: ApiServer, dask: FakeDask, world: World, running: Running
    ) -> None:
        """It says that the scheduler was asked, which it wasn't: it is, after a while."""
        world.apply(replicas=2)
        async with running():
            await world.ready(2)
            fault = api.lose_answer(STATUS)
            await world.scale(1)
            await world.has_workers(1)
        assert fault.met == 1
        assert [len(addresses) for addresses in dask.retired] == [1]

    async def test_a_restart_in_the_middle_goes_on_from_the_status(
        self, api: ApiServer, dask: FakeDask, world: World, running: Running
    ) -> None:
        world.apply(replicas=2)
        dask.going_on.clear()  # for ever
        async with running():
            await world.ready(2)
            await world.scale(1)
            await api.until(lambda: dask.retired, "the scheduler is asked")
        assert len(world.workers()) == 2
        # The scheduler goes on, though nobody waits for its answer any more.
        for address in dask.retired[0]:
            del dask.workers[address]
        async with running():
            await world.has_workers(1)
            await api.until(lambda: not world.status["workers"]["retiring"], "it is forgotten")
        assert len(dask.retired) == 1
        assert len(world.workers()) == len(dask.workers) == 1
