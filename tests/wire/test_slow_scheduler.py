"""A scheduler that is so busy that each of its answers takes half a minute.

Thirty times as fast as that, like all that the operator does by the clock, so that the tests needn't take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kmock import action

from dask_k8s_operator.clients import access, scheduler
from dask_k8s_operator.controller import retirecalls
from dask_k8s_operator.domain import handover, names, planner
from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, PODS, ApiServer

if TYPE_CHECKING:
    from kmock import Request

    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World

FASTER = 30
ANSWER_SECONDS = 30 / FASTER


@pytest.fixture(autouse=True)
def _faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (access, retirecalls, handover, planner):
        for name, value in vars(module).copy().items():
            if name in {"LIST_SECONDS", "STALLED_SECONDS", "POLL"} or name.startswith(("ASK_AGAIN", "GOES_ON")):
                monkeypatch.setattr(module, name, value / FASTER)


def deletions(api: ApiServer) -> int:
    """How many pods the operator has deleted."""
    return len(api.asked(action.DELETE, PODS))


def looked_at(api: ApiServer) -> list[Request]:
    """The questions for the scheduler's workers."""
    return [request for request in api.asked() if request.url.path.endswith("/get_workers")]


async def test_nothing_is_asked_twice_and_nobody_deleted_before_the_answer(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=3)
    async with running():
        await world.ready(3)
        dask.answers_after = ANSWER_SECONDS
        await world.scale(1)
        await api.until(lambda: dask.retired, "the retirement is asked for")
        assert deletions(api) == 0
        dask.going_on.clear()  # moving the data takes even longer
        looks = len(looked_at(api))
        await api.until(lambda: len(looked_at(api)) > looks + 3, "the scheduler is looked at again")
        assert deletions(api) == 0
        dask.going_on.set()
        await api.until(lambda: len(world.workers()) == 1, "the others are gone")
        await api.until(lambda: not world.status["workers"].get("retiring"), "all is done")
    (call,) = dask.retired
    assert len(call) == 2
    assert dask.most == dask.most_looks == 1
    assert deletions(api) == 2
    assert set(dask.workers) == {world.address(name) for name in world.workers()}


async def test_other_clusters_go_on(
    api: ApiServer, dask: FakeDask, world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LIST_SECONDS", 1000)  # so that this look lasts until the end of the test
    world.apply(replicas=2)
    async with running():
        await world.ready(2)
        dask.answers_after = 1000
        await world.scale(1)
        await api.until(lambda: dask.looking, "the scheduler is looked at")
        other = {**world.cluster, "metadata": {"name": "other"}, "status": {}}
        async with api.post(api.path_of(CLUSTERS, ""), json=other) as answer:
            answer.raise_for_status()
        made = names.scheduler_name("other")
        await api.until(lambda: made in {d["metadata"]["name"] for d in api.all(DEPLOYMENTS)}, "the other one is made")
        assert dask.looking == dask.most_looks == 1


async def test_answers_that_come_too_late_are_none(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    """No worker goes, none is asked for, and the Cluster says why; once the answers come in time, all goes on."""
    world.apply(replicas=3)
    async with running():
        await world.ready(3)
        dask.answers_after = 1.5 * scheduler.LIST_SECONDS / FASTER
        await world.scale(1)
        await api.until(
            lambda: "until the scheduler can be asked" in world.condition("ScaleDownBlocked")[2], "it says so"
        )
        assert (dask.retired, deletions(api)) == ([], 0)
        dask.answers_after = 0
        await api.until(lambda: len(world.workers()) == 1, "the others are gone")
    assert [len(call) for call in dask.retired] == [2]
