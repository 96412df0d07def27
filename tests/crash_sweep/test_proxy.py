"""The proxy passes requests and events on, and does to them what the incident says."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from integration.crash_sweep import proxy as proxies
from integration.crash_sweep.incidents import (
    PODS,
    SHORT,
    Fault,
    HeldOpen,
    Incident,
    LateEvents,
    LostEvents,
    StaleReads,
    Struck,
)
from integration.crash_sweep.kinds import Request
from integration.crash_sweep.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from integration.crash_sweep.run import Run

PATH = "/api/v1/namespaces/a/pods"
PATCH = Request("PATCH pods", 1)
EVENTS = [{"type": kind, "object": {"number": n}} for n, kind in enumerate(["ADDED", "MODIFIED", "BOOKMARK"])]


class Server:
    """An API server with pods, which counts changes."""

    def __init__(self) -> None:
        self.changes = 0
        self.thinks = 0.0
        self.bodies: list[Any] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        if request.query.get("watch"):
            response = web.StreamResponse()
            await response.prepare(request)
            for event in EVENTS:
                await response.write(json.dumps(event).encode() + b"\n")
            return response
        if request.method != "GET":
            self.changes += 1
            self.bodies.append(await request.json())
            await asyncio.sleep(self.thinks)
        return web.json_response({"changes": self.changes, "asked": request.raw_path})


class Setting:
    """A client, the proxy and a server, and how often the proxy restarted the operator."""

    def __init__(self, session: aiohttp.ClientSession, proxy: Proxy, server: Server) -> None:
        self.session, self.proxy, self.server = session, proxy, server
        self.restarts: list[int] = []

    async def begin(self, incident: Incident | None) -> Run:
        """Begin a run; each restart is noted with the number of changes that the server had seen."""
        restart = lambda: self.restarts.append(self.server.changes)  # noqa: E731
        return await asyncio.to_thread(self.proxy.begin, incident, restart=restart)

    async def change(self) -> int:
        """Ask for a change, of a kind that the client doesn't try again by itself; gives the status."""
        async with self.session.patch(f"{self.proxy.url}{PATH}/x", json={"uid": "1"}) as answer:
            return answer.status

    async def read(self) -> int:
        """How many changes there were, as a read tells."""
        async with self.session.get(f"{self.proxy.url}{PATH}", params={"labelSelector": "a=b,c"}) as answer:
            found: dict[str, Any] = await answer.json()
            assert found["asked"] == answer.request_info.url.raw_path_qs
            return int(found["changes"])

    async def watch(self) -> list[str]:
        """The types of all events."""
        async with self.session.get(f"{self.proxy.url}{PATH}?watch=true") as answer:
            return [json.loads(line)["type"] async for line in answer.content]


@pytest_asyncio.fixture
async def setting() -> AsyncIterator[Setting]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy = Proxy(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await asyncio.to_thread(proxy.start)
    async with aiohttp.ClientSession() as session:
        yield Setting(session, proxy, server)
    await asyncio.to_thread(proxy.close)
    await runner.cleanup()


async def test_calm(setting: Setting) -> None:
    run = await setting.begin(None)
    assert await setting.read() == 0
    assert await setting.change() == 200
    assert await setting.read() == 1
    assert setting.server.bodies == [{"uid": "1"}]
    assert await setting.watch() == [event["type"] for event in EVENTS]
    seen = [str(seen.request) for seen in run.seen]
    assert seen == ["LIST pods #1", "PATCH pods #1", "LIST pods #2", "WATCH pods #1"]
    assert setting.restarts == []


@pytest.mark.parametrize(
    ("fault", "changes", "restarts"),
    [
        (Fault.KILLED_BEFORE, 0, [0]),
        (Fault.KILLED_AFTER, 1, [1]),
        (Fault.NO_ANSWER, 1, []),
    ],
)
async def test_without_an_answer(setting: Setting, fault: Fault, changes: int, restarts: list[int]) -> None:
    run = await setting.begin(Struck(PATCH, fault))
    with pytest.raises(aiohttp.ClientConnectionError):
        await setting.change()
    assert setting.server.changes == changes
    assert setting.restarts == restarts
    assert run.met


@pytest.mark.parametrize(("fault", "status"), [(Fault.NOT_DONE, 500), (Fault.CONFLICT, 409)])
async def test_refused(setting: Setting, fault: Fault, status: int) -> None:
    await setting.begin(Struck(PATCH, fault))
    assert await setting.change() == status
    assert setting.server.changes == 0
    assert await setting.change() == 200
    assert setting.server.changes == 1


@pytest.mark.parametrize(("from_start", "told"), [(True, 1), (False, 2)])
async def test_reads_from_the_past(setting: Setting, *, from_start: bool, told: int) -> None:
    await setting.read()
    await setting.change()
    await setting.begin(StaleReads(Request("PATCH pods", 2), PODS, from_start=from_start))
    await setting.change()
    assert await setting.read() == 2
    await setting.change()
    assert setting.server.changes == 3
    assert await setting.read() == told


async def test_lost_events(setting: Setting) -> None:
    await setting.begin(LostEvents(PODS, frozenset({"MODIFIED"}), first_seen=0))
    assert await setting.watch() == ["ADDED", "BOOKMARK"]


async def test_late_events(setting: Setting) -> None:
    await setting.begin(LateEvents(PODS))
    began = time.monotonic()
    assert await setting.watch() == [event["type"] for event in EVENTS]
    assert SHORT <= time.monotonic() - began < SHORT * 2


async def test_events_are_late_in_their_own_run_only(setting: Setting) -> None:
    await setting.begin(LateEvents(PODS))
    began = time.monotonic()
    watching = asyncio.create_task(setting.watch())
    await asyncio.sleep(0.2)
    assert not watching.done()
    await setting.begin(None)
    assert await watching == [event["type"] for event in EVENTS]
    assert time.monotonic() - began < SHORT


@pytest.mark.parametrize(("fault", "restarts"), [(Fault.KILLED_AFTER, [0]), (Fault.NO_ANSWER, [])])
async def test_a_watch_is_struck_like_any_request(setting: Setting, fault: Fault, restarts: list[int]) -> None:
    run = await setting.begin(Struck(Request("WATCH pods", 1), fault))
    with suppress(aiohttp.ClientError):  # where there was no byte of an answer, the client itself asks again
        await setting.watch()
        assert len(run.seen) == 2
    assert setting.restarts == restarts
    assert await setting.watch() == [event["type"] for event in EVENTS]


@pytest.mark.parametrize(("fault", "restarts"), [(Fault.KILLED_DURING, [1]), (Fault.CUT_OFF, [])])
async def test_a_request_that_takes_long_is_lost_and_carried_out(
    setting: Setting, fault: Fault, restarts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "HELD_SECONDS", 0.2)
    setting.server.thinks = 1.0
    run = await setting.begin(HeldOpen(PATCH, fault, frozen=0))
    with pytest.raises(aiohttp.ClientConnectionError):
        await setting.change()
    assert run.met
    assert setting.server.changes == 1
    assert setting.restarts == restarts


async def test_a_request_that_was_to_be_held_open_and_is_not_did_not_come_about(setting: Setting) -> None:
    run = await setting.begin(HeldOpen(PATCH, Fault.KILLED_DURING, frozen=0))
    assert await setting.change() == 200
    assert not run.met
    assert setting.restarts == []


async def test_the_operator_rests_once_it_has_looked_and_asks_no_more(setting: Setting) -> None:
    await setting.begin(Struck(PATCH, Fault.KILLED_BEFORE))
    assert not setting.proxy.operator_rests()
    await setting.read()
    assert not setting.proxy.operator_rests()
    await asyncio.sleep(proxies.QUIET_SECONDS)
    assert setting.proxy.operator_rests()
    with pytest.raises(aiohttp.ClientConnectionError):
        await setting.change()
    await asyncio.sleep(proxies.QUIET_SECONDS)
    assert not setting.proxy.operator_rests()
