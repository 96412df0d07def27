"""How the API server is asked whether it would take what the templates give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmock import action, method

from tests.wire.apiserver import (
    CLUSTERS,
    DEPLOYMENTS,
    EVENTS,
    PODS,
    SERVICES,
    dry_run_of,
    from_test,
    is_dry_run,
)
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from kmock import Request

    from tests.wire.apiserver import ApiServer
    from tests.wire.conftest import Running
    from tests.wire.world import World

NO_CLASS = 'pods "x" is forbidden: no PriorityClass with name gold was found'


def dry_runs(api: ApiServer) -> list[Request]:
    """What was asked for without anything coming of it, in order."""
    return [request for request in api if not from_test(request) and is_dry_run(request)]


async def test_once_for_each_generation(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        await world.ready(2)
        asked = dry_runs(api)
        assert sorted(str(request.resource.plural) for request in asked if request.resource) == [
            "deployments",
            "pods",
            "pods",
            "services",
        ]
        assert {(request.method, *sorted(request.params.items())) for request in asked} == {
            (method.POST, ("dryRun", "All"), ("fieldValidation", "Strict"))
        }
        # Another generation, and the Service is there now.
        await world.scale(3)
        await world.has_workers(3)
        assert len(dry_runs(api)) == 8
        [change] = [request for request in dry_runs(api)[4:] if request.resource == SERVICES]
        assert change.method == method.PATCH
        assert change.headers["Content-Type"] == "application/apply-patch+yaml"
        assert change.params == {
            "dryRun": "All",
            "fieldValidation": "Strict",
            "fieldManager": "dask-operator",
            "force": "true",
        }
    async with running():
        seen = len(api.asked(action.LIST, PODS))
        await api.until(lambda: len(api.asked(action.LIST, PODS)) >= seen + 2, "kopf and a pass have listed the pods")
    assert len(dry_runs(api)) == 8, "a restart forgets nothing"


async def test_of_a_new_cluster_nothing_is_made_until_all_is_well(
    api: ApiServer, world: World, running: Running
) -> None:
    """And it is asked again, since the class may be made later, by somebody whose event nobody sees."""
    fault = api.refuse(dry_run_of(PODS, "worker"), 403, NO_CLASS, times=3)
    world.apply(replicas=2)
    async with running():
        await api.until(lambda: world.condition("TemplateValid")[0] == "False", "the condition")
        _, reason, message = world.condition("TemplateValid")
        assert reason == "TemplateForbidden"
        assert message.endswith("(spec.workers.template): no PriorityClass with name gold was found")
        assert [api.all(kind) for kind in (PODS, DEPLOYMENTS, SERVICES)] == [[], [], []]
        await world.ready(2)
    assert fault.met == 3
    assert world.condition("TemplateValid")[0] == "True"


async def test_an_api_server_that_cant_be_asked_keeps_nobody_from_trying(
    api: ApiServer, world: World, running: Running
) -> None:
    api.refuse(is_dry_run, 400, 'webhook "w" does not support dry run', times=float("inf"))
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        assert world.condition("TemplateValid")[:2] == ("Unknown", "NotChecked")


async def test_a_service_that_doesnt_fit_the_schema_is_no_trouble_of_the_servers(
    api: ApiServer, world: World, running: Running
) -> None:
    """A server-side apply answers that with 500."""
    unfit = "failed to create typed patch object (science/team-a-scheduler; /v1, Kind=Service): .spec.foo: not declared"
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        api.refuse(dry_run_of(SERVICES, "scheduler"), 500, unfit, times=float("inf"))
        change = {"metadata": {"generation": 2}, "spec": {"scheduler": {"service": {"foo": 1}}}}
        await api.change(CLUSTERS, CLUSTER, change)
        await api.until(lambda: world.condition("TemplateValid")[0] == "False", "the condition")
        assert world.condition("TemplateValid")[1:] == (
            "TemplateInvalid",
            "the API server refuses the Service (spec.scheduler.service): .spec.foo: not declared",
        )
        assert world.condition("Ready")[0] == "True"


async def test_a_spec_that_cant_be_read_is_told_and_what_runs_goes_on(
    api: ApiServer, world: World, running: Running
) -> None:
    """As an older schema may let it pass."""
    world.apply(replicas=2)
    async with running():
        before = await world.ready(2)
        wrong = {"metadata": {"generation": 2}, "spec": {"idle": {"afterSeconds": 10**12}}}
        await api.change(CLUSTERS, CLUSTER, wrong)
        await api.until(lambda: world.condition("TemplateValid")[0] == "False", "the condition says so")
        message = f"spec.idle.afterSeconds must be a whole number from 1 to 2147483647, but it is {10**12}"
        assert world.condition("TemplateValid") == ("False", "InvalidSpec", message)
        assert world.condition("Ready") == ("False", "InvalidSpec", message)
        assert world.condition("WorkersReady")[0] == "True"
        assert (world.status["observedGeneration"], world.status["state"]) == (2, "Invalid")
        assert world.status["workers"]["count"] == 2
        await api.until(lambda: "InvalidSpec" in {event["reason"] for event in api.all(EVENTS)}, "the Event")
        await api.change(CLUSTERS, CLUSTER, {"metadata": {"generation": 3}, "spec": {"idle": None}})
        await api.until(lambda: world.condition("Ready")[0] == "True", "all is well again")
    assert world.workers() == before
