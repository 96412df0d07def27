"""The connection to the API server: watches that end, credentials that expire, and whether it answers at all."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from kmock import Request, action

from dask_k8s_operator.clients.kubernetes import ConfigurationError
from tests.wire.apiserver import CLUSTERS, PODS, ApiServer, by_kopf, from_test, of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.wire.conftest import Running
    from tests.wire.world import World


def anything(request: Request) -> bool:
    """All that the operator asks for."""
    return not from_test(request)


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


class TestReadiness:
    """Whether the operator can do its job, as the kubelet asks every two seconds."""

    async def test_it_tells_whether_the_api_server_answers(
        self, api: ApiServer, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        async with running(), probing(caplog) as probe:
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

    async def test_of_many_namespaces_each_probe_asks_for_one(
        self, api: ApiServer, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By turns; one whose Clusters can't be read is asked for until they can be."""
        caplog.set_level("INFO")
        async with running(namespaces=("a", "b", "c")), probing(caplog) as probe:
            await api.until(lambda: {one.namespace for one in api.asked(action.WATCH, CLUSTERS)} == {*"abc"}, "watches")
            before = len(api.asked(action.LIST, CLUSTERS))
            api.refuse(lambda request: lists_clusters(request) and request.namespace == "b", 403, times=2)
            assert [(await probe("/readyz"))[0] for _ in range(6)] == [200, 503, 503, 200, 200, 200]
            asked = api.asked(action.LIST, CLUSTERS)[before:]
            assert [request.namespace for request in asked] == [*"abbbca"]


lists_clusters = of(action.LIST, CLUSTERS)


@asynccontextmanager
async def probing(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Callable[[str], Awaitable[tuple[int, str]]]]:
    """Gives a function that asks an endpoint of the operator and returns the answer's status and text."""
    async with aiohttp.ClientSession() as http:

        async def probe(path: str) -> tuple[int, str]:
            async with http.get(f"http://127.0.0.1:{health_port(caplog)}{path}") as answer:
                return answer.status, await answer.text()

        yield probe


def renew_token(kubeconfig: Path, old: str, new: str) -> None:
    """Write another token into the kubeconfig."""
    kubeconfig.write_text(kubeconfig.read_text().replace(old, new))


def health_port(caplog: pytest.LogCaptureFixture) -> int:
    """Where the probes are served, by the log."""
    [args] = [record.args for record in caplog.records if record.msg.startswith("health endpoints")]
    assert isinstance(args, tuple)
    return int(str(args[1]))
