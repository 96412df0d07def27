"""How a scheduler that is there is changed: which requests go out, and when.

What API servers make of them, server-side apply above all, is seen in `integration/`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kmock import action, method

from dask_k8s_operator.domain import names, schedulerupdate
from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, SERVICES, ApiServer, of, request_body
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from kmock import Request

    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World

SCHEDULER = names.scheduler_name(CLUSTER)
LABELLED = {"template": {"metadata": {"labels": {"of": "now"}}}}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulerupdate, "POLL", timedelta(seconds=0.1))


async def edit(api: ApiServer, scheduler: dict[str, Any]) -> None:
    """`kubectl edit`, of `spec.scheduler`."""
    generation = api.one(CLUSTERS, CLUSTER)["metadata"]["generation"] + 1
    await api.change(CLUSTERS, CLUSTER, {"metadata": {"generation": generation}, "spec": {"scheduler": scheduler}})


def version(api: ApiServer) -> dict[str, str]:
    """Which Deployment it is, and as of when."""
    metadata = api.one(DEPLOYMENTS, SCHEDULER)["metadata"]
    return {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}


async def changes(api: ApiServer, count: int) -> list[Request]:
    """Wait for so many changes of the Deployment and the Service."""

    def found() -> list[Request]:
        return [*api.asked(action.UPDATE, DEPLOYMENTS), *api.asked(action.UPDATE, SERVICES)]

    await api.until(lambda: len(found()) >= count, f"{count} changes")
    return found()


async def test_it_is_applied_once_there_are_no_tasks(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    dask.tasks = 3
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        before = version(api)
        await edit(api, LABELLED)
        await api.until(lambda: world.condition("SchedulerUpdated")[1] == "WaitingForIdle", "the condition")
        assert not api.asked(action.UPDATE, DEPLOYMENTS)
        dask.tasks = 0
        [request] = await changes(api, 1)
        await api.until(lambda: world.condition("SchedulerUpdated")[1] == "UpToDate", "the condition")
        assert "noTasksSince" not in world.status["scheduler"]
    assert (request.method, request.name) == (method.PATCH, SCHEDULER)
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.params == {"fieldValidation": "Strict", "fieldManager": "dask-operator", "force": "true"}
    sent = request_body(request)
    assert before.items() <= sent["metadata"].items()
    assert sent["spec"]["template"]["metadata"]["labels"]["of"] == "now"


async def test_the_service_is_applied_at_once(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    dask.tasks = 3
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await edit(api, {"service": {"type": "NodePort"}, "serviceMetadata": {"annotations": {"a": "b"}}})
        [request] = await changes(api, 1)
    assert request.resource == SERVICES
    assert request_body(request)["spec"]["type"] == "NodePort"
    assert request_body(request)["metadata"]["annotations"]["a"] == "b"


async def test_what_is_refused_is_told_and_tried_again(api: ApiServer, world: World, running: Running) -> None:
    fault = api.refuse(of(action.UPDATE, DEPLOYMENTS), 403, "a policy of ours", times=3)
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await edit(api, {**LABELLED, "updateStrategy": {"type": "Recreate"}})
        await api.until(lambda: world.condition("SchedulerUpdated")[1] == "ChangeRefused", "the condition")
        assert world.condition("SchedulerUpdated")[2].endswith("refused to change the Deployment: a policy of ours")
        await api.until(lambda: world.condition("SchedulerUpdated")[1] == "UpToDate", "the condition")
    assert fault.met == 3
    assert world.condition("Ready")[0] == "True"


async def test_one_that_changed_meanwhile_is_looked_at_again(api: ApiServer, world: World, running: Running) -> None:
    fault = api.refuse(of(action.UPDATE, DEPLOYMENTS), 409, "the object has been modified")
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await edit(api, {**LABELLED, "updateStrategy": {"type": "Recreate"}})
        await changes(api, 2)
        await api.until(lambda: world.condition("SchedulerUpdated")[1] == "UpToDate", "the condition")
    assert fault.met == 1


async def test_a_second_scheduler_goes_at_once(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await api.change(DEPLOYMENTS, SCHEDULER, {"spec": {"replicas": 2}})
        before = version(api)
        [request] = await changes(api, 1)
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.params == {"fieldManager": "dask-operator"}
    assert request_body(request) == {
        "metadata": {"labels": names.labels(CLUSTER, names.ROLE_SCHEDULER), **before},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate", "rollingUpdate": None}},
    }
    assert api.one(DEPLOYMENTS, SCHEDULER)["spec"]["replicas"] == 1


async def test_what_it_created_is_taken_over(api: ApiServer, world: World, running: Running) -> None:
    """That it is kept as applied, API servers are asked by a patch of the bookkeeping alone."""
    entry = {"manager": "dask-operator", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": {}}}
    theirs = {**entry, "manager": "kubectl"}
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await api.change(SERVICES, SCHEDULER, {"metadata": {"managedFields": [entry, theirs]}})
        before = api.one(SERVICES, SCHEDULER)["metadata"]["resourceVersion"]
        [request] = await changes(api, 1)
    assert request.headers["Content-Type"] == "application/json-patch+json"
    assert request.data == [
        {"op": "replace", "path": "/metadata/managedFields", "value": [theirs, {**entry, "operation": "Apply"}]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": before},
    ]
