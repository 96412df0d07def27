"""Requests that fail, and answers that get lost."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from kmock import KubernetesError, Request, action

from dask_k8s_operator.clients.connection import connect
from dask_k8s_operator.clients.kubernetes import AlreadyExists, Conflict
from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, NAMESPACE, PODS, SERVICES, STATUS, ApiServer, Where, of
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from pathlib import Path

    from kmock import resource

    from tests.wire.conftest import Running
    from tests.wire.world import World


async def test_a_cluster_that_is_read_as_it_was_is_read_again(api: ApiServer, world: World, running: Running) -> None:
    """No further event would tell of the change that one has told of."""
    world.apply(replicas=1)
    async with running():
        await world.ready(1)
        past = api.tell_of_past(CLUSTERS, CLUSTER, times=4)
        await world.scale(2)
        await world.ready(2)
    assert past.met == 4


class TestConflicts:
    """Somebody else wrote since the Cluster was read."""

    async def test_it_reads_again_and_goes_on(
        self, api: ApiServer, world: World, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        fault = api.refuse(STATUS, 409, times=3)
        world.apply(replicas=2)
        async with running():
            await world.ready(2)
        assert fault.met == 3
        assert len(api.asked(action.CREATE, PODS)) == 2
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []

    async def test_nothing_is_done_before_the_status_is_written(
        self, api: ApiServer, world: World, running: Running
    ) -> None:
        """It is what remembers who was asked for, and it tells two operators apart."""
        fault = api.refuse(STATUS, 409, times=float("inf"))
        world.apply(replicas=2)
        async with running():
            await api.until(lambda: fault.met >= 3, "it has tried three times")
            assert api.asked(action.CREATE) == []
            api.recover()
            await world.has_workers(2)

    async def test_it_does_not_spin(self, api: ApiServer, world: World, running: Running) -> None:
        fault = api.refuse(STATUS, 409, times=float("inf"))
        world.apply(replicas=1)
        loop = asyncio.get_running_loop()
        async with running():
            begun = loop.time()
            await api.until(lambda: fault.met >= 8, "it has tried eight times")
            assert loop.time() - begun >= 0.05 * (2**6 - 1), "later and later"

    async def test_not_every_one_says_that_the_object_is_there_already(self, api: ApiServer, kubeconfig: Path) -> None:
        """As that of a ResourceQuota that somebody else uses at the same moment."""
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": NAMESPACE}}
        kubernetes = await connect(kubeconfig)
        try:
            api.refuse(of(action.CREATE, PODS), 409, "Operation cannot be fulfilled on resourcequotas: modified")
            with pytest.raises(Conflict) as caught:
                await kubernetes.create(pod)
            assert caught.type is Conflict
            await kubernetes.create(pod)
            with pytest.raises(AlreadyExists):
                await kubernetes.create(pod)
        finally:
            await kubernetes.close()

    async def test_a_pod_that_changed_since_is_not_deleted(
        self, api: ApiServer, world: World, running: Running
    ) -> None:
        """The kubelet may have started it: a second look tells."""
        world.apply(replicas=2)
        async with running():
            await world.has_workers(2)
            fault = api.refuse(of(action.DELETE, PODS), 409, "the UID or the resourceVersion don't match")
            await world.scale(1)
            await world.has_workers(1)
        assert fault.met == 1
        first, second = api.asked(action.DELETE)
        position = [id(request) for request in api.asked()]
        between = api.asked()[position.index(id(first)) : position.index(id(second))]
        assert any(r.action == action.LIST and r.resource == PODS for r in between), "read again"


@pytest.mark.parametrize(
    "what",
    [
        pytest.param((of(action.FETCH, CLUSTERS), 2), id="read Cluster"),
        pytest.param((of(action.LIST, PODS), 2), id="list Pods"),
        pytest.param((of(action.FETCH, DEPLOYMENTS), 2), id="read Deployment"),
        pytest.param((STATUS, 2), id="write status"),
        pytest.param((of(action.CREATE, PODS), 3), id="create Pods"),
        pytest.param((of(action.CREATE, DEPLOYMENTS), 1), id="create Deployment"),
        pytest.param((of(action.CREATE, SERVICES), 1), id="create Service"),
    ],
)
@pytest.mark.parametrize("how", ["answer 500", "hang up", "lose the answer"])
async def test_it_gets_there_without_one_object_too_many(
    how: str, what: tuple[Where, int], api: ApiServer, world: World, running: Running
) -> None:
    where, times = what
    world.apply(replicas=3)
    async with running():
        match how:
            case "answer 500":
                fault = api.refuse(where, 500, times=times)
            case "hang up":
                fault = api.hang_up(where, times=times)
            case _:
                fault = api.lose_answer(where, times=times)
        await world.ready(3)
    assert fault.met == times
    assert len(api.all(PODS)) == 4, "three workers and a scheduler"
    assert (len(api.all(DEPLOYMENTS)), len(api.all(SERVICES))) == (1, 1)


class TestRefusedCreations:
    """A quota, a policy, a template that makes no valid pod."""

    @pytest.mark.parametrize(("status", "valid"), [(403, "True"), (422, "False"), (400, "False")])
    async def test_the_condition_says_what_the_server_said(
        self, status: int, valid: str, api: ApiServer, world: World, running: Running
    ) -> None:
        api.refuse(of(action.CREATE, PODS), status, "exceeded quota: small", times=float("inf"))
        world.apply(replicas=2)
        async with running():
            await world.start_scheduler()
            await api.until(lambda: world.condition("Ready")[1] == "CreationRefused", "the condition")
            message = "the API server refused to create the Pod: exceeded quota: small"
            assert world.condition("WorkersReady") == ("False", "CreationRefused", message)
            assert world.condition("Ready") == ("False", "CreationRefused", message)
            assert world.condition("TemplateValid")[0] == valid
            api.recover()
            await world.ready(2)
            assert world.condition("TemplateValid")[0] == "True"

    @pytest.mark.parametrize("kind", [PODS, DEPLOYMENTS])
    async def test_it_is_tried_again_later_and_later(
        self, kind: resource, api: ApiServer, world: World, running: Running
    ) -> None:
        """What it writes about a try, in words that differ each time, must not be what starts the next one."""

        def refuse(request: Request) -> bool:
            if not of(action.CREATE, kind)(request):
                return False
            tries.append(asyncio.get_running_loop().time())
            fault.error = KubernetesError(422, "Invalid", f"no, and that for the {len(tries)}. time")
            return True

        tries: list[float] = []
        world.apply(replicas=1)
        async with running():
            [worker] = await world.ready(1)
            fault = api.refuse(refuse, 422, times=float("inf"))
            await world.delete(kind, worker if kind == PODS else f"{CLUSTER}-scheduler")
            await api.until(lambda: len(tries) >= 4, "four tries")
            told = f"for the {len(tries)}. time"
            await api.until(lambda: told in world.condition("TemplateValid")[2], "the condition tells the last one")
        pauses = [after - before for before, after in pairwise(tries)]
        # News from before the deletion may have started the second try.
        assert pauses[1] >= 0.4
        assert pauses[2] >= 0.8

    async def test_one_that_is_refused_keeps_no_other_from_being_made(
        self, api: ApiServer, world: World, running: Running
    ) -> None:
        api.refuse(of(action.CREATE, PODS), 403, times=1)
        world.apply(replicas=3)
        async with running():
            await world.has_workers(3)
        assert len(api.asked(action.CREATE, PODS)) == 4
