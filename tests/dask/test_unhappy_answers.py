"""Schedulers that are busy, gone or answer nonsense, and what the client says about them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import dask
import distributed
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dask_k8s_operator.clients.scheduler import (
    HttpTransport,
    SchedulerApiMissing,
    SchedulerClient,
    SchedulerFailed,
    SchedulerUnreachable,
    TransportError,
    http_client,
)
from dask_k8s_operator.domain.manifests import HTTP_ROUTES
from tests.dask.support import PATIENCE_SECONDS, free_port, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from tests.dask.support import LocalDask


@contextlib.asynccontextmanager
async def answering(http: httpx.AsyncClient, status: int, body: str) -> AsyncIterator[SchedulerClient]:
    """A client of a server that answers everything with the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    async with TestServer(app) as server:
        yield SchedulerClient(HttpTransport(http, str(server.make_url(""))))


@pytest.mark.parametrize("status", [500, 400, 401, 302])
async def test_an_error_status_is_a_failure_that_quotes_the_answer(http: httpx.AsyncClient, status: int) -> None:
    async with answering(http, status, '{"Error": "Internal Server Error"}') as client:
        with pytest.raises(SchedulerFailed, match=f"get_workers with status {status}.*Internal Server Error"):
            await client.workers()
        with pytest.raises(SchedulerFailed, match=f"retire_workers with status {status}"):
            await client.retire(["tcp://127.0.0.1:1"])


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_that_finds_no_scheduler(http: httpx.AsyncClient, status: int) -> None:
    async with answering(http, status, "upstream connect error") as client:
        with pytest.raises(SchedulerUnreachable, match=f"a proxy on the way answered {status}"):
            await client.workers()
        with pytest.raises(SchedulerUnreachable):
            await client.retire(["tcp://127.0.0.1:1"])


async def test_not_found_means_that_the_api_is_off(http: httpx.AsyncClient) -> None:
    async with answering(http, 404, "") as client:
        with pytest.raises(SchedulerApiMissing):
            await client.workers()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "null",
        '{"workers": null}',
        '{"workers": ["a"]}',
        '{"workers": [{}]}',
        '{"workers": [{"name": "a"}]}',
        '{"workers": [{"name": "a", "address": null}]}',
    ],
)
async def test_a_list_that_makes_no_sense(http: httpx.AsyncClient, body: str) -> None:
    async with answering(http, 200, body) as client:
        with pytest.raises(SchedulerFailed, match="get_workers can't be understood"):
            await client.workers()


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null"])
async def test_a_retirement_whose_answer_makes_no_sense(http: httpx.AsyncClient, body: str) -> None:
    async with answering(http, 200, body) as client:
        with pytest.raises(SchedulerFailed, match="retire_workers can't be understood"):
            await client.retire(["tcp://127.0.0.1:1"])


async def test_a_long_answer_is_quoted_in_part(http: httpx.AsyncClient) -> None:
    async with answering(http, 500, "x" * 100_000) as client:
        with pytest.raises(SchedulerFailed, match=r"x{200}…") as caught:
            await client.workers()
        assert len(str(caught.value)) < 500


async def test_connection_refused(http: httpx.AsyncClient) -> None:
    client = SchedulerClient(HttpTransport(http, f"http://127.0.0.1:{free_port()}"))

    with pytest.raises(SchedulerUnreachable, match="check that its pod is running"):
        await client.workers()
    with pytest.raises(SchedulerUnreachable):
        await client.retire(["tcp://127.0.0.1:1"])


async def test_no_such_name(http: httpx.AsyncClient) -> None:
    client = SchedulerClient(HttpTransport(http, "http://scheduler.invalid:8787"))

    with pytest.raises(SchedulerUnreachable):
        await client.workers()


async def test_a_connection_that_breaks(http: httpx.AsyncClient) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SchedulerUnreachable):
            await SchedulerClient(HttpTransport(http, f"http://127.0.0.1:{port}")).workers()


async def test_an_answer_that_drips_in_for_ever_ends_with_the_timeout(http: httpx.AsyncClient) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        transport = HttpTransport(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        request = transport.request("GET", "/", body=None, timeout=0.2)
        with pytest.raises(TransportError, match=r"no answer within 0.2 s"):
            await asyncio.wait_for(request, PATIENCE_SECONDS)


async def test_calls_that_last_long_leave_room_for_others(http: httpx.AsyncClient) -> None:
    """A retirement holds its connection for as long as data moves, which must not keep other clusters waiting."""
    release = asyncio.Event()
    waiting = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal waiting
        if request.method == "POST":
            waiting += 1
            await release.wait()
            return web.json_response({})
        return web.json_response({"workers": []})

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    async with TestServer(app) as server:
        client = SchedulerClient(HttpTransport(http, str(server.make_url(""))))
        calls = [asyncio.create_task(client.retire(["tcp://127.0.0.1:1"])) for _ in range(150)]
        try:
            await until(lambda: waiting == 150, "all calls have arrived")
            assert await client.workers() == ()
        finally:
            release.set()
        assert await asyncio.gather(*calls) == [frozenset()] * 150


async def test_proxy_variables_are_ignored(local: LocalDask, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")

    async with http_client() as http:
        assert await SchedulerClient(HttpTransport(http, local.base_url)).workers() == ()


@pytest.fixture
def scheduler_apart() -> Iterator[distributed.Scheduler]:
    """A scheduler whose event loop runs in a thread of its own, so that it can be blocked."""
    with (
        dask.config.set({"distributed.scheduler.http.routes": list(HTTP_ROUTES)}),
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
    ):
        yield cluster.scheduler


async def test_a_busy_scheduler_answers_late(scheduler_apart: distributed.Scheduler, http: httpx.AsyncClient) -> None:
    """Its event loop is blocked but its kernel takes the connection: it's slow, and not gone."""
    client = SchedulerClient(HttpTransport(http, f"http://127.0.0.1:{scheduler_apart.http_server.port}"))
    blocked, release = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait()

    scheduler_apart.loop.add_callback(block)
    try:
        await asyncio.to_thread(blocked.wait)
        patient = asyncio.create_task(client.workers())
        with pytest.raises(SchedulerUnreachable, match=r"no answer within 0.2 s"):
            await client.workers(timeout=0.2)
        assert not patient.done()
    finally:
        release.set()
    assert await patient == ()
