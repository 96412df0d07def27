"""A Cluster's life: which requests go out, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kmock import action, method

from dask_k8s_operator.domain.planner import OVERDUE_GRACE_SECONDS
from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, EVENTS, NAMESPACE, PODS, SERVICES, ApiServer, request_body
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from kmock import Request, resource

    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World


def created(api: ApiServer, kind: resource) -> list[str]:
    """The names of the objects that the operator created, in order."""
    return [request_body(request)["metadata"]["name"] for request in api.asked(action.CREATE, kind)]


def writes(api: ApiServer) -> list[Request]:
    """What the operator asked for that changes something but Events, in order; the scheduler's API included."""
    return [request for request in api.asked() if request.method != method.GET and request.resource != EVENTS]


def retiring(request: Request) -> list[str]:
    """Who is on its way out by the status that this request writes."""
    return [entry["name"] for entry in request_body(request)["status"]["workers"]["retiring"]]


async def test_a_cluster_is_made(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=3)
    async with running():
        made = await world.ready(3)
    assert sorted(created(api, PODS)) == made
    assert created(api, DEPLOYMENTS) == [f"{CLUSTER}-scheduler"]
    assert created(api, SERVICES) == [f"{CLUSTER}-scheduler"]
    for request in (r for r in api.asked(action.CREATE) if r.resource != EVENTS):
        assert request.params == {"fieldValidation": "Strict", "fieldManager": "dask-operator"}
        [owner] = request_body(request)["metadata"]["ownerReferences"]
        assert owner["uid"] == world.cluster["metadata"]["uid"]
    assert not api.asked(action.DELETE)
    assert world.status["workers"]["count"] == world.status["workers"]["ready"] == 3


async def test_a_ready_cluster_is_left_alone(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        await world.ready(2)
    before = len(writes(api))
    async with running():
        # The second start reads everything once; the pass after that would be the one that writes.
        seen = len(api.asked(action.LIST, PODS))
        await api.until(lambda: len(api.asked(action.LIST, PODS)) >= seen + 2, "kopf and a pass have listed the pods")
        await api.change(PODS, world.workers()[0], {"metadata": {"annotations": {"x": "y"}}})
        seen = len(api.asked(action.FETCH, CLUSTERS))
        await api.until(lambda: len(api.asked(action.FETCH, CLUSTERS)) > seen, "another pass")
    assert writes(api)[before:] == []


async def test_scale_up_makes_what_is_missing(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=1)
    async with running():
        first = await world.ready(1)
        await world.scale(4)
        await world.has_workers(4)
    assert set(first) < set(world.workers())
    assert len(created(api, PODS)) == 4


async def test_scale_down_step_by_step(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    """Written down, asked for, gone from the list, deleted by uid, forgotten."""
    world.apply(replicas=2)
    async with running():
        before = await world.ready(2)
        pods = {name: api.one(PODS, name)["metadata"] for name in before}
        addresses = {name: world.address(name) for name in before}
        start = len(writes(api))
        dask.going_on.clear()
        await world.scale(1)
        await api.until(lambda: dask.retired, "the scheduler is asked")
        [asked] = dask.retired
        [victim] = [name for name in before if addresses[name] in asked]
        assert asked == {addresses[victim]}
        assert [entry["name"] for entry in world.status["workers"]["retiring"]] == [victim], "written down first"
        assert not api.asked(action.DELETE), "its data is moving"
        dask.going_on.set()
        await world.has_workers(1)
        await api.until(lambda: not world.status["workers"]["retiring"], "it is forgotten")
    assert dask.retired == [asked]
    [deletion] = api.asked(action.DELETE)
    assert deletion.name == victim
    preconditions = {key: pods[victim][key] for key in ("uid", "resourceVersion")}
    assert request_body(deletion) == {"preconditions": preconditions}
    to_kubernetes = [r for r in writes(api)[start:] if "retire_workers" not in r.url.path]
    assert [(r.action, r.resource) for r in to_kubernetes if r.action != action.UPDATE] == [(action.DELETE, PODS)]
    assert retiring(to_kubernetes[0]) == [victim]
    assert retiring(to_kubernetes[-1]) == []


async def test_scale_down_from_inside_the_cluster(
    api: ApiServer, dask: FakeDask, world: World, running: Running, inside: list[tuple[str, str]]
) -> None:
    """As in the cluster: straight to the scheduler, not through the API server."""
    world.apply(replicas=3)
    async with running(scheduler_access="direct"):
        await world.ready(3)
        await world.scale(1)
        await world.has_workers(1)
    assert [len(addresses) for addresses in dask.retired] == [2]
    assert set(inside) == {(CLUSTER, NAMESPACE)}
    assert [request for request in api.asked() if "/proxy/" in request.url.path] == []


async def test_one_call_for_all_that_go(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    world.apply(replicas=5)
    async with running():
        await world.ready(5)
        await world.scale(2)
        await world.has_workers(2)
    assert [len(addresses) for addresses in dask.retired] == [3]
    assert len(api.asked(action.DELETE, PODS)) == 3


async def test_refused_workers_stay(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        before = await world.ready(2)
        dask.refuses |= {world.address(name) for name in before}
        await world.scale(1)
        await api.until(lambda: world.condition("ScaleDownBlocked")[0] == "True", "the condition says so")
        assert world.workers() == before
    assert not api.asked(action.DELETE)


async def test_refused_workers_go_with_their_data_if_the_user_says_so(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=1, retirement={"timeoutSeconds": 1, "onTimeout": "Delete"})
    async with running():
        await world.ready(1)
        [worker] = world.workers()
        dask.refuses = set(dask.workers)
        await world.scale(0)
        await world.has_workers(0)
    [deletion] = [r for r in api.asked() if r.method == method.DELETE and r.resource == PODS]
    assert deletion.name == worker
    assert request_body(deletion)["gracePeriodSeconds"] == OVERDUE_GRACE_SECONDS
    assert dask.retired, "it was tried"


async def test_scale_up_during_a_retirement_makes_a_new_worker(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    """Dask has no way back from a retirement."""
    world.apply(replicas=2)
    async with running():
        before = await world.ready(2)
        dask.going_on.clear()
        await world.scale(1)
        await api.until(lambda: dask.retired, "the scheduler is asked")
        await world.scale(2)
        await world.has_workers(3)
        dask.going_on.set()
        after = await world.has_workers(2)
    assert len(set(before) & set(after)) == 1


async def test_workers_that_never_started_go_without_a_scheduler(
    dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=3)
    async with running():
        await world.has_workers(3)
        await world.scale(0)
        await world.has_workers(0)
    assert dask.retired == []


@pytest.mark.parametrize("kind", [SERVICES, DEPLOYMENTS])
async def test_what_somebody_deletes_comes_back(kind: resource, api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        await world.delete(kind, f"{CLUSTER}-scheduler")
        await api.until(lambda: len(created(api, kind)) == 2, "made again")


async def test_a_worker_that_somebody_deletes_is_replaced_by_another(world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        [gone, stays] = await world.ready(2)
        await world.delete(PODS, gone)
        after = await world.has_workers(2)
    assert stays in after
    assert gone not in after, "Dask may still have the name"


async def test_a_worker_that_has_finished_is_replaced(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        [done, _] = await world.ready(2)
        await world.finish(done)
        await api.until(lambda: done not in world.workers(), "it is cleaned up")
        await world.has_workers(2)
    assert [request.name for request in api.asked(action.DELETE)] == [done]


async def test_a_cluster_that_is_being_deleted_is_left_to_the_garbage_collector(
    api: ApiServer, world: World, running: Running
) -> None:
    world.apply(replicas=2, metadata={"finalizers": ["foregroundDeletion"]})
    async with running():
        [gone, _] = await world.ready(2)
        start = len(writes(api))
        await api.change(CLUSTERS, CLUSTER, {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}})
        await world.delete(PODS, gone)
        seen = len(api.asked(action.FETCH, CLUSTERS))
        await api.until(lambda: len(api.asked(action.FETCH, CLUSTERS)) > seen, "a pass after that")
    assert writes(api)[start:] == []


async def test_a_cluster_that_is_gone_is_no_error(
    api: ApiServer, world: World, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        start = len(writes(api))
        await world.delete(CLUSTERS, CLUSTER)
        await world.delete(PODS, world.workers()[0])
        seen = len(api.asked(action.FETCH, CLUSTERS))
        await api.until(lambda: len(api.asked(action.FETCH, CLUSTERS)) > seen, "a pass after that")
    assert writes(api)[start:] == []
    said = [record for record in caplog.records if record.name.startswith("dask_k8s_operator")]
    assert [record.getMessage() for record in said if record.levelname in {"WARNING", "ERROR"}] == []


async def test_one_that_is_made_anew_waits_for_no_call_of_the_last(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    """Its pods may well have the addresses of the earlier ones."""
    world.apply(replicas=2)
    dask.going_on.clear()  # for ever
    async with running():
        await world.ready(2)
        await world.scale(1)
        await api.until(lambda: dask.retired, "the scheduler is asked")
        await world.make_anew(replicas=2)
        await world.ready(2)
        await world.scale(1)
        await api.until(lambda: len(dask.retired) == 2, "the new scheduler is asked, too")


async def test_pods_of_others_are_not_its_own(api: ApiServer, world: World, running: Running) -> None:
    """They may wear the labels; the owner reference says whose they are."""
    world.apply(replicas=0)
    labels = {"dask.charmtx.com/cluster": CLUSTER, "dask.charmtx.com/role": "worker"}
    api.add(PODS, {"metadata": {"name": "mine", "labels": labels}, "status": {"phase": "Failed"}})
    async with running():
        await world.ready(1)
        assert world.workers() == ["mine"]
        assert world.status["workers"]["count"] == 0
    assert not api.asked(action.DELETE)


@pytest.mark.parametrize(("kind", "name"), [(SERVICES, "Service"), (DEPLOYMENTS, "Deployment")])
async def test_a_scheduler_of_somebody_else_is_not_taken_over(
    kind: resource, name: str, api: ApiServer, world: World, running: Running
) -> None:
    """Nor does anything join it."""
    world.apply(replicas=2)
    api.add(kind, {"metadata": {"name": f"{CLUSTER}-scheduler", "labels": {}}, "spec": {}})
    async with running():
        await api.until(lambda: world.condition("SchedulerReady")[1] == "NameTaken", "the condition says so")
        assert name in world.condition("SchedulerReady")[2]
        for replicas in (3, 4):  # as the second pass begins, the first has ended
            seen = len(api.asked(action.FETCH, CLUSTERS))
            await world.scale(replicas)
            await api.until(lambda: len(api.asked(action.FETCH, CLUSTERS)) > seen, "another pass")  # noqa: B023
        assert [request for request in api.asked(action.CREATE) if request.resource != EVENTS] == []
        await world.delete(kind, f"{CLUSTER}-scheduler")
        await world.scale(2)  # nothing tells of a deletion of what has no label
        await world.ready(2)


async def test_a_scheduler_of_somebody_else_is_not_believed(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    """It doesn't know the workers, which may hold data all the same."""
    world.apply(replicas=2)
    async with running():
        before = await world.ready(2)
        dask.workers.clear()
        await api.change(SERVICES, f"{CLUSTER}-scheduler", {"metadata": {"ownerReferences": []}})
        await world.scale(0)
        await api.until(lambda: world.condition("ScaleDownBlocked")[0] == "True", "the condition says so")
        assert "doesn't belong to this Cluster" in world.condition("ScaleDownBlocked")[2]
        assert world.workers() == before


async def test_all_namespaces(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=1)
    async with running(namespaces=()):
        await world.ready(1)
    watched: set[Any] = {request.namespace for request in api.asked(action.WATCH)}
    assert watched == {None}


async def test_only_what_carries_the_label_is_watched(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=0)
    async with running():
        await world.ready(0)
    selectors = {(r.resource, r.params.get("labelSelector")) for r in api.asked(action.WATCH)}
    label = "dask.charmtx.com/cluster"
    assert selectors == {(CLUSTERS, None), (PODS, label), (SERVICES, label), (DEPLOYMENTS, label)}
