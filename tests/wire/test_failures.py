"""Requests that fail, and answers that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import aiohttp
import pytest
from kmock import KubernetesError, Request, action

from dask_k8s_operator.clients.connection import connect
from dask_k8s_operator.clients.kubernetes import AlreadyExists, ConfigurationError, Conflict
from dask_k8s_operator.domain import handover, planner
from tests.wire.apiserver import CLUSTERS, DEPLOYMENTS, NAMESPACE, PODS, SERVICES, ApiServer, by_kopf, from_test, of
from tests.wire.world import CLUSTER

if TYPE_CHECKING:
    from pathlib import Path

    from kmock import resource

    from tests.wire.conftest import Running
    from tests.wire.dask import FakeDask
    from tests.wire.world import World

Where = Callable[[Request], bool]

STATUS = of(action.UPDATE, CLUSTERS)


def of_scheduler(call: str) -> Where:
    """The operator's calls to the scheduler, through the API server."""

    def where(request: Request) -> bool:
        return request.url.path.endswith(f"/proxy/api/v1/{call}")

    return where


def anything(request: Request) -> bool:
    """All that the operator asks for."""
    return not from_test(request)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scheduler looked at and asked again after a moment instead of seconds."""
    monkeypatch.setattr(handover, "ASK_AGAIN", timedelta(seconds=0.2))
    monkeypatch.setattr(handover, "GOES_ON", timedelta(seconds=0.2))
    monkeypatch.setattr(planner, "POLL", timedelta(seconds=0.1))


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


class TestWatches:
    """Events are wake-ups; what is missed is found out."""

    async def test_a_deletion_that_nobody_was_told_of_is_noticed_at_the_next_list(
        self, api: ApiServer, world: World, running: Running
    ) -> None:
        world.apply(replicas=2)
        async with running():
            [gone, stays] = await world.ready(2)
            made = len(api.asked(action.CREATE, PODS))
            lists = len(api.asked(action.LIST, PODS))
            world.lose_pod(gone)
            assert len(api.asked(action.CREATE, PODS)) == made
            await api.drop_watches(PODS)
            after = await world.has_workers(2)
        assert stays in after
        assert len(api.asked(action.LIST, PODS)) > lists

    @pytest.mark.parametrize("verb", [action.LIST, action.WATCH])
    @pytest.mark.parametrize("how", ["answer 500", "hang up"])
    async def test_it_watches_again(
        self, how: str, verb: action, api: ApiServer, world: World, running: Running
    ) -> None:
        where = by_kopf(verb, PODS)
        fault = api.hang_up(where) if how == "hang up" else api.refuse(where, 500)
        world.apply(replicas=1)
        async with running():
            await world.ready(1)
            watches = 2 if verb == action.WATCH else 1
            await api.until(lambda: fault.met and len(api.asked(action.WATCH, PODS)) >= watches, "watches again")
            await world.delete(PODS, world.workers()[0])
            await world.has_workers(1)


class TestCredentials:
    """Tokens expire."""

    async def test_a_new_token_is_taken_up(
        self, api: ApiServer, world: World, running: Running, kubeconfig: Path
    ) -> None:
        def with_old_token(request: Request) -> bool:
            return by_kopf(action.WATCH, PODS)(request) and request.headers["Authorization"] == "Bearer secret"

        world.apply(replicas=1)
        async with running():
            await world.ready(1)
            fault = api.refuse(with_old_token, 401, times=float("inf"))
            renew_token(kubeconfig, "secret", "secret2")
            await api.drop_watches(PODS)
            await api.until(lambda: fault.met, "the old token is refused")
            await world.delete(PODS, world.workers()[0])
            await world.has_workers(1)

    async def test_a_401_that_passes_is_tried_again(self, api: ApiServer, world: World, running: Running) -> None:
        fault = api.refuse(of(action.FETCH, CLUSTERS), 401, times=2)
        world.apply(replicas=1)
        async with running():
            await world.ready(1)
        assert fault.met == 2

    async def test_without_any_that_is_good_the_operator_ends_and_says_so(
        self, api: ApiServer, running: Running
    ) -> None:
        """Then another one may be started, with new credentials."""

        async def until_it_ends() -> None:
            async with running() as operator:
                api.refuse(by_kopf(action.WATCH, PODS), 401, times=float("inf"))
                await api.drop_watches(PODS)
                await asyncio.wait({operator}, timeout=20)

        with pytest.raises(ConfigurationError, match="the API server no longer takes the credentials"):
            await until_it_ends()


async def test_readiness_tells_whether_the_api_server_answers(
    api: ApiServer, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(), aiohttp.ClientSession() as http:

        async def probe(path: str) -> tuple[int, str]:
            async with http.get(f"http://127.0.0.1:{health_port(caplog)}{path}") as answer:
                return answer.status, await answer.text()

        assert await probe("/readyz") == (200, "ok")
        api.hang_up(anything, times=float("inf"))
        status, text = await probe("/readyz")
        assert status == 503
        assert text.startswith("no answer from the API server to GET /apis/dask.charmtx.com/")
        assert (await probe("/healthz")) == (200, "ok"), "a restart wouldn't help"
        api.recover()
        api.refuse(of(action.LIST, CLUSTERS), 403, "forbidden: User can't list Clusters")
        assert await probe("/readyz") == (
            503,
            "can't read Clusters, apply the RBAC of deploy/: forbidden: User can't list Clusters",
        )
        assert await probe("/readyz") == (200, "ok")


def renew_token(kubeconfig: Path, old: str, new: str) -> None:
    """Write another token into the kubeconfig."""
    kubeconfig.write_text(kubeconfig.read_text().replace(old, new))


def health_port(caplog: pytest.LogCaptureFixture) -> int:
    """Where the probes are served, by the log."""
    [args] = [record.args for record in caplog.records if record.msg.startswith("health endpoints")]
    assert isinstance(args, tuple)
    return int(str(args[1]))
