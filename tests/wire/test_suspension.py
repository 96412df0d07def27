"""A Cluster that gives its pods back: which requests go out, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmock import action

from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, PODS, SERVICES, ApiServer, request_body
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World

SCHEDULER = f"{CLUSTER}-scheduler"


async def test_the_workers_go_first_and_then_the_scheduler(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=2)
    async with running():
        await world.ready(2)
        service = api.one(SERVICES, SCHEDULER)["metadata"]["uid"]
        version = api.one(DEPLOYMENTS, SCHEDULER)["metadata"]["resourceVersion"]
        await world.suspend(wanted=True)
        await world.has_workers(0)
        await world.stop_scheduler()
        await api.until(lambda: world.condition("Suspended")[0] == "True", "it is suspended")
        written = [r for r in api.asked() if r.action in {action.DELETE, action.UPDATE} and r.resource != CLUSTERS]
        changes = [request for request in written if request.resource in {PODS, DEPLOYMENTS}]
        assert [request.resource for request in changes] == [PODS, PODS, DEPLOYMENTS]
        body = request_body(changes[-1])
        assert (body["spec"]["replicas"], body["metadata"]["resourceVersion"]) == (0, version)
        assert sum(len(addresses) for addresses in dask.retired) == 2, "each has handed over"
        assert world.condition("Ready")[:2] == ("False", "Suspended")
        assert world.cluster["spec"]["workers"]["replicas"] == 2

        await world.suspend(wanted=False)
        await api.until(lambda: api.one(DEPLOYMENTS, SCHEDULER)["spec"]["replicas"] == 1, "a scheduler is wanted")
        await world.ready(2)
        assert api.one(SERVICES, SCHEDULER)["metadata"]["uid"] == service
        assert world.condition("Suspended") == ("", "", "")


async def test_while_the_scheduler_has_tasks_it_stays(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=1)
    dask.tasks = 3
    async with running():
        await world.ready(1)
        await world.suspend(wanted=True)
        await world.has_workers(0)
        await api.until(lambda: world.condition("Suspended")[1] == "DataHeld", "the condition says so")
        assert "the scheduler has 3 tasks" in world.condition("Suspended")[2]
        assert api.one(DEPLOYMENTS, SCHEDULER)["spec"]["replicas"] == 1
        dask.tasks = 0
        await world.stop_scheduler()
        await api.until(lambda: world.condition("Suspended")[0] == "True", "it is suspended")


async def test_made_suspended_it_gets_a_service_and_no_pod(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=2, suspend=True)
    async with running():
        await api.until(lambda: api.all(DEPLOYMENTS) and api.all(SERVICES), "both are made")
        assert api.one(DEPLOYMENTS, SCHEDULER)["spec"]["replicas"] == 0
        assert world.condition("Suspended")[:2] == ("True", "Suspended")
        assert api.asked(action.CREATE, PODS) == []
