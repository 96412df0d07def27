"""A Cluster that sets its own number of workers, or is taken away when nobody uses it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kmock import Request, action, method

from dask_k8s_operator.clients import scheduler
from dask_k8s_operator.controller import reconciler
from dask_k8s_operator.domain import idle, names, planner, scaling
from dask_k8s_operator.domain.actions import DeleteCluster
from tests.wire.apiserver import AUTOSCALERS, CLUSTERS, EVENTS, PODS, ApiServer, from_test, of, request_body
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from datetime import datetime

    from dask_k8s_operator.domain.actions import Plan
    from dask_k8s_operator.domain.snapshot import Snapshot
    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World

AT_ONCE = {"maxReplicas": 4, "scaleDown": {"stabilizationWindowSeconds": 0}}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "POLL", timedelta(seconds=0.1))
    monkeypatch.setattr(idle, "_SOONEST", timedelta(seconds=0.1))


def to_scale(request: Request) -> bool:
    return request.subresource == "scale" and not from_test(request)


def scaled_to(api: ApiServer) -> list[int]:
    """What was written to the scale subresource, in order."""
    return [request_body(request)["spec"]["replicas"] for request in api.asked() if to_scale(request)]


def looks(api: ApiServer) -> int:
    """How often the scheduler was asked what there is to do."""
    return sum(request.url.path.endswith("/json/counts.json") for request in api.asked())


async def looked(api: ApiServer, times: int = 3) -> None:
    """Wait until the scheduler was asked so many times more."""
    before = looks(api)
    await api.until(lambda: looks(api) >= before + times, f"{times} looks")


def told(api: ApiServer, reason: str) -> list[str]:
    """The messages of the Events for a reason."""
    return [event["message"] for event in api.all(EVENTS) if event["reason"] == reason]


def autoscaler(cluster: str) -> dict[str, Any]:
    target = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": cluster}
    return {"metadata": {"name": "theirs"}, "spec": {"scaleTargetRef": target}}


async def test_from_zero_and_back(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    world.apply(replicas=0, autoscale=AT_ONCE)
    async with running():
        await world.start_scheduler()
        await looked(api)
        assert world.workers() == []

        dask.target, dask.tasks = 3, 30
        await world.has_workers(3)
        await world.start_workers()
        await looked(api)
        assert scaled_to(api) == [3]
        assert world.condition("Autoscaling") == ("True", "Following", "3 workers, by what the scheduler asks for")

        dask.target = dask.tasks = 0
        await world.has_workers(0)
        await api.until(lambda: world.status["workers"]["retiring"] == [], "they are forgotten")
        await api.until(lambda: len(told(api, "Scaled")) == 2, "both Events")
    assert scaled_to(api) == [3, 0]
    assert frozenset[str]().union(*dask.retired) == {f"tcp://10.1.0.{number}:9000" for number in (1, 2, 3)}
    assert told(api, "Scaled")[0] == "set spec.workers.replicas to 3: the scheduler asks for 3 workers"


async def test_what_the_scheduler_asks_for_is_noticed_between_two_passes(
    api: ApiServer, dask: FakeDask, world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And as long as it asks for the same, the API server is left alone."""
    monkeypatch.setattr(scaling, "POLL", timedelta(days=1))
    world.apply(replicas=0, autoscale=AT_ONCE)
    async with running():
        await world.start_scheduler()
        await looked(api)
        before = len(api.asked(action.LIST, PODS))
        await looked(api, times=9)
        assert len(api.asked(action.LIST, PODS)) == before

        dask.target, dask.tasks = 3, 30
        await world.has_workers(3)
        await world.start_workers()
        dask.target = dask.tasks = 0
        await world.has_workers(0)
    assert scaled_to(api) == [3, 0]


async def test_who_does_not_ask_for_it_is_not_asked(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
    assert looks(api) == 0
    assert not api.asked(action.LIST, AUTOSCALERS)


async def test_somebody_else_scales_at_the_same_moment(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    """What was decided by the older number is not written: the next look decides by the new one."""
    world.apply(replicas=0, autoscale=AT_ONCE)
    async with running():
        await world.start_scheduler()
        await looked(api)
        fault = api.refuse(to_scale, 409, times=1)
        dask.target, dask.tasks = 3, 30
        await world.has_workers(3)
    assert fault.met == 1
    assert scaled_to(api) == [3, 3]


async def test_the_number_that_kubectl_scale_sets_is_where_it_goes_on_from(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=0, autoscale={"maxReplicas": 4, "scaleDown": {"stabilizationWindowSeconds": 3600}})
    dask.target = dask.tasks = 1
    async with running():
        await world.start_scheduler()
        await world.has_workers(1)
        await world.start_workers()
        await world.scale(3)
        await world.has_workers(3)
        await looked(api)
        assert world.condition("Autoscaling")[:2] == ("True", "Holding")
        since = world.status["workers"]["autoscale"]["enough"][0]["since"]
    async with running():
        await looked(api)
        assert world.status["workers"]["autoscale"]["enough"] == [{"replicas": 1, "since": since}]
        await world.scale(9)
        await api.until(lambda: world.cluster["spec"]["workers"]["replicas"] == 4, "as many as may be")
        await world.scale(0)
        await api.until(lambda: world.cluster["spec"]["workers"]["replicas"] == 1, "as many as are needed")
    assert scaled_to(api) == [1, 4, 1]


async def test_what_it_waits_for_is_written_once(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=2, autoscale={"maxReplicas": 4})
    dask.target = dask.tasks = 1
    async with running():
        await world.ready(2)
        await api.until(lambda: world.condition("Autoscaling")[1] == "Holding", "it waits")
        await looked(api)
        before = len(api.asked(action.UPDATE, CLUSTERS))
        await looked(api, times=5)
        assert len(api.asked(action.UPDATE, CLUSTERS)) == before


async def test_a_scheduler_that_does_not_answer(
    api: ApiServer, dask: FakeDask, world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number stays, it is said why, and all else goes on."""
    monkeypatch.setattr(scheduler, "WORKLOAD_SECONDS", 0.2)
    world.apply(replicas=2, autoscale=AT_ONCE)
    dask.target, dask.tasks = 2, 20
    async with running():
        await world.ready(2)
        dask.counting.clear()
        dask.target = dask.tasks = 0
        await api.until(lambda: world.condition("Autoscaling")[1] == "SchedulerUnreachable", "it is said")
        lost, kept = world.workers()
        await world.finish(lost)
        await api.until(lambda: kept in world.workers() and lost not in world.workers(), "it is deleted")
        await world.has_workers(2)
        await world.start_workers()
        assert scaled_to(api) == []
        dask.target, dask.tasks = 3, 30
        dask.counting.set()
        await world.has_workers(3)


async def test_another_autoscaler_is_not_fought(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    world.apply(replicas=1, autoscale=AT_ONCE)
    dask.target, dask.tasks = 3, 30
    api.add(AUTOSCALERS, autoscaler(CLUSTER))
    async with running():
        await world.ready(1)
        await looked(api)
        status, reason, message = world.condition("Autoscaling")
        assert (status, reason) == ("False", "HorizontalPodAutoscaler")
        assert "theirs" in message
        assert scaled_to(api) == []
        await api.until(lambda: told(api, "HorizontalPodAutoscaler"), "there is an Event")

        await world.delete(AUTOSCALERS, "theirs")
        api.add(AUTOSCALERS, autoscaler("another-cluster") | {"metadata": {"name": "of-another"}})
        await world.has_workers(3)
    assert scaled_to(api) == [3]


@pytest.mark.parametrize("status", [403, 503])
async def test_others_cannot_be_listed(
    api: ApiServer, dask: FakeDask, world: World, running: Running, status: int
) -> None:
    """For want of the right, or of an answer. All else goes on."""
    world.apply(replicas=1, autoscale=AT_ONCE)
    dask.target, dask.tasks = 3, 30
    api.refuse(of(action.LIST, AUTOSCALERS), status, "no list today", times=float("inf"))
    async with running():
        await world.ready(1)
        await looked(api)
        found = world.condition("Autoscaling")
    assert found[:2] == ("Unknown", "AutoscalersUnknown")
    assert found[2].endswith("no list today")
    assert scaled_to(api) == []


async def test_a_cluster_without_use_is_left_to_another_autoscaler(
    api: ApiServer, world: World, running: Running
) -> None:
    world.apply(replicas=1, idle={"afterSeconds": 1})
    api.add(AUTOSCALERS, autoscaler(CLUSTER))
    async with running():
        await world.ready(1)
        await looked(api, times=15)  # for longer than the time that counts
        assert world.condition("Idle")[:2] == ("False", "HorizontalPodAutoscaler")
        assert scaled_to(api) == []
        await api.until(lambda: told(api, "HorizontalPodAutoscaler"), "there is an Event")

        await world.delete(AUTOSCALERS, "theirs")
        await world.has_workers(0)
    assert scaled_to(api) == [0]


async def test_without_use_it_is_scaled_to_zero_until_it_is_scaled_up(
    api: ApiServer, dask: FakeDask, world: World, running: Running
) -> None:
    world.apply(replicas=2, idle={"afterSeconds": 1, "action": "ScaleToZero"})
    dask.tasks = 1  # a result that somebody holds
    async with running():
        await world.ready(2)
        await looked(api, times=15)  # for longer than the time that counts
        assert scaled_to(api) == []
        assert world.condition("Idle")[1] == "InUse"

        dask.tasks = 0
        await api.until(lambda: "idleSince" in world.status, "it is remembered")
        await world.has_workers(0)
        await api.until(lambda: world.condition("Idle")[1] == "ScaledToZero", "it is said")
        assert "idleSince" not in world.status
        [message] = told(api, "Scaled")
        assert message.startswith("set spec.workers.replicas to 0: nobody has used the Cluster since ")
        dask.tasks = 1
        await world.scale(1)
        await world.has_workers(1)
    assert scaled_to(api) == [0]


async def test_who_uses_it_at_the_last_moment_keeps_it(
    api: ApiServer, dask: FakeDask, world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client scatters data once it is decided that nobody has used it: with the scheduler, that would be gone."""
    too_late = 0

    def plan_and_scatter(snapshot: Snapshot, now: datetime) -> Plan:
        nonlocal too_late
        decided = planner.plan(snapshot, now)
        if any(isinstance(step, DeleteCluster) for step in decided.actions):
            too_late += 1
            dask.tasks = 1
        return decided

    monkeypatch.setattr(reconciler, "plan", plan_and_scatter)
    world.apply(replicas=0, idle={"afterSeconds": 1, "action": "Delete"})
    async with running():
        await world.start_scheduler()
        await api.until(lambda: world.condition("Idle")[1] == "InUse", "it is noticed")
        await looked(api)
    assert too_late == 1
    assert api.all(CLUSTERS)
    assert told(api, "DeletedIdle") == []


async def test_without_use_it_is_deleted(api: ApiServer, dask: FakeDask, world: World, running: Running) -> None:
    """This very Cluster as it was seen: whoever changes it at the last moment keeps it for another while."""
    world.apply(replicas=0, idle={"afterSeconds": 1, "action": "Delete"})
    uid = world.cluster["metadata"]["uid"]
    fault = api.refuse(of(action.DELETE, CLUSTERS), 409, times=1)
    async with running():
        await world.start_scheduler()
        await api.until(lambda: not api.all(CLUSTERS), "it is gone")
        await api.until(lambda: told(api, "DeletedIdle"), "there is an Event")
    assert fault.met == 1
    assert dask.tasks == 0
    *_, deletion = [r for r in api.asked() if r.method == method.DELETE and r.resource == CLUSTERS]
    assert request_body(deletion)["preconditions"]["uid"] == uid
    assert request_body(deletion)["propagationPolicy"] == "Background"
