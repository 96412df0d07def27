"""The Events that a user finds below a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from kmock import action

from dask_k8s_operator.clients.connection import connect
from dask_k8s_operator.controller.recorder import MESSAGE_LENGTH, Recorder
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster
from dask_k8s_operator.domain.events import Event
from tests.wire.apiserver import EVENTS, NAMESPACE, SERVICES, ApiServer, of
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.wire.conftest import Running
    from tests.wire.world import World

BLOCKED = Event("Warning", "ScaleDownBlocked", "nobody takes it")


@pytest.fixture
async def recorder(kubeconfig: Path, api: ApiServer) -> AsyncIterator[Recorder]:
    """A recorder that runs."""
    kubernetes = await connect(kubeconfig)
    made = Recorder(kubernetes, clock=lambda: datetime(2026, 3, 1, 12, 0, len(api.asked()), tzinfo=UTC))
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await kubernetes.close()


@pytest.fixture
def cluster(world: World) -> Cluster:
    """The Cluster that the Events are about."""
    world.apply(replicas=1)
    return Cluster.from_manifest(world.cluster)


def told(api: ApiServer) -> list[dict[str, Any]]:
    """The Events that are there."""
    return api.all(EVENTS)


async def test_equal_ones_are_counted(api: ApiServer, recorder: Recorder, cluster: Cluster) -> None:
    recorder.record(cluster, [BLOCKED])
    await api.until(lambda: told(api), "the first")
    recorder.record(cluster, [BLOCKED, BLOCKED])
    await api.until(lambda: told(api)[0]["count"] == 3, "the third")
    [event] = told(api)
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "ScaleDownBlocked", "nobody takes it")
    assert event["lastTimestamp"] > event["firstTimestamp"]
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == (names.KIND, cluster.name, cluster.uid)


async def test_one_that_is_no_longer_there_is_written_again(
    api: ApiServer, recorder: Recorder, cluster: Cluster, world: World
) -> None:
    recorder.record(cluster, [BLOCKED])
    await api.until(lambda: told(api), "the first")
    await world.delete(EVENTS, told(api)[0]["metadata"]["name"])
    recorder.record(cluster, [BLOCKED])
    await api.until(lambda: [event["count"] for event in told(api)] == [1], "the second")


async def test_one_that_is_refused_is_lost_and_no_other(api: ApiServer, recorder: Recorder, cluster: Cluster) -> None:
    api.refuse(of(action.CREATE, EVENTS), 403)
    recorder.record(cluster, [BLOCKED, Event("Normal", "Ready", "x" * 2000)])
    await api.until(lambda: told(api), "the second")
    [event] = told(api)
    assert event["message"] == "x" * MESSAGE_LENGTH


async def test_those_that_are_told_often_are_counted_on(
    api: ApiServer, recorder: Recorder, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others there are, as long as those are told of less often."""
    monkeypatch.setattr("dask_k8s_operator.controller.recorder.REMEMBERED", 2)
    for number in range(4):
        recorder.record(cluster, [BLOCKED, Event("Normal", "Other", str(number))])
    await api.until(lambda: len(told(api)) >= 5, "the others")
    counts = {event["message"]: event["count"] for event in told(api)}
    assert counts == {"nobody takes it": 4, "0": 1, "1": 1, "2": 1, "3": 1}


async def test_what_was_there_already_is_not_told_of(api: ApiServer, world: World, running: Running) -> None:
    """Somebody made it in between; that it was somebody else's, and is gone by now, is found out by the next pass."""
    world.apply(replicas=1)
    api.refuse(of(action.CREATE, SERVICES), 409, "already exists")
    async with running():
        await world.ready(1)
        await api.until(lambda: "Ready" in {event["reason"] for event in told(api)}, "the last")
    message = f"created Service {CLUSTER}-scheduler: the scheduler has no Service"
    assert [event["count"] for event in told(api) if event["message"] == message] == [1]


async def test_what_an_operator_does_is_told(api: ApiServer, world: World, running: Running) -> None:
    world.apply(replicas=2)
    async with running():
        await world.ready(2)
        await world.scale(1)
        await world.has_workers(1)
        await api.until(lambda: "DeletedWorkers" in {event["reason"] for event in told(api)}, "the deletion")
    said = {event["reason"] for event in told(api)}
    assert said == {"CreatedScheduler", "CreatedWorkers", "Ready", "RetiringWorkers", "DeletedWorkers"}
    assert all(event["metadata"]["namespace"] == NAMESPACE for event in told(api))
