"""What stands between the operator and everybody else: passes requests on, or does to them what a run says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from integration.crash_sweep.incidents import HOLDING, TYPES, Fault, Incident
from integration.crash_sweep.kinds import asks_scheduler, kind_at_scheduler, kind_of, reads, resource_of
from integration.crash_sweep.rpc import HELD_SECONDS, is_set_within, relay
from integration.crash_sweep.run import Answer, Run
from integration.crash_sweep.schedulerports import HTTP_PORT, RPC_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from integration.crash_sweep.schedulerports import SchedulerPorts

T = TypeVar("T")

QUIET_SECONDS = 0.6
"""An operator that has asked for nothing for so long waits for an event, or for some seconds to pass."""

_LONGEST_LINE = 2**22  # bytes of an event
_PASSED_ON = ("Accept", "Content-Type")
_REFUSALS = {Fault.NOT_DONE: (500, "InternalError"), Fault.CONFLICT: (409, "Conflict")}


class Proxy:
    """An HTTP server that everything that the operator asks for goes through. Runs in a thread of its own.

    Attributes:
        url: its URL, once it has started.
        upstream: the URL of the API server, which takes requests without credentials.
    """

    def __init__(self, upstream: str, scheduler: SchedulerPorts | None = None) -> None:
        """Prepare to pass requests on.

        Args:
            upstream: see above.
            scheduler: what stands for a scheduler, where the operator doesn't reach that through the API server.
        """
        self.upstream = upstream
        self._scheduler = scheduler
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._run = Run(None, past={})
        self._run_over = asyncio.Event()
        self._restart: Callable[[], None] = lambda: None
        self._latest: dict[str, Answer] = {}
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._last = time.monotonic()
        self._has_looked = False
        self._session: aiohttp.ClientSession
        self._runners: list[web.AppRunner] = []
        self._rpc: asyncio.Server | None = None
        self.url = ""

    def start(self) -> None:
        """Serve on a free port of the loopback device."""
        self._thread.start()
        self._call(self._serve())

    def close(self) -> None:
        """End."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def begin(self, incident: Incident | None, *, restart: Callable[[], None]) -> Run:
        """Begin a run.

        Args:
            incident: what is to happen in it.
            restart: kills the operator and starts another; called in the proxy's thread, which serves nobody meanwhile.
        """
        return self._call(self._begin(incident, restart))

    def restart_operator(self) -> None:
        """Have the operator restarted, as the faults do that kill it."""
        self._call(self._restarted())

    def operator_rests(self) -> bool:
        """Whether the operator, the last that was started, has looked around and asks for nothing more."""
        return self._has_looked and not self._under_way and time.monotonic() - self._last > QUIET_SECONDS

    async def _serve(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=_LONGEST_LINE)
        self.url = await self._serve_http("127.0.0.1", 0, self.upstream, _kind_at_api_server)
        if (ports := self._scheduler) is not None:
            await self._serve_http(ports.address, HTTP_PORT, f"http://{ports.service}:{HTTP_PORT}", _kind_at_scheduler)
            self._rpc = await asyncio.start_server(self._handle_rpc, ports.address, RPC_PORT)

    async def _serve_http(self, host: str, port: int, upstream: str, kind: Callable[[web.Request], str]) -> str:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, upstream, kind(request))

        app = web.Application(client_max_size=_LONGEST_LINE)
        app.router.add_route("*", "/{path:.*}", handle)
        # A watch ends with the connection of whoever watches; what else has arrived is carried out, see `_ask`.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return f"http://{host}:{runner.addresses[0][1]}"

    async def _end(self) -> None:
        if self._rpc is not None:
            self._rpc.close()
        for runner in self._runners:
            await runner.cleanup()
        await self._session.close()

    async def _begin(self, incident: Incident | None, restart: Callable[[], None]) -> Run:
        answers = await asyncio.gather(*(self._fetch("GET", self.upstream + read, {}, b"") for read in self._latest))
        self._latest = dict(zip(self._latest, answers, strict=True))
        self._run_over.set()  # what is held back until some time is told at once, or it would be late in the next run
        self._run, self._run_over, self._restart = Run(incident, past=self._latest), asyncio.Event(), restart
        return self._run

    async def _restarted(self) -> None:
        self._kill()

    async def _handle(self, request: web.Request, upstream: str, kind: str) -> web.StreamResponse:
        run, body = self._run, await request.read()
        self._note_request(kind)
        fault = run.arrives(kind, self._latest)
        if fault is Fault.KILLED_BEFORE:
            self._kill()
            return _hang_up(request)
        if fault in _REFUSALS:
            return _refuse(kind, *_REFUSALS[fault])
        if kind.startswith("WATCH "):
            return await self._pass_events_on(request, resource_of(kind), fault)
        if reads(kind) and (answer := run.stale_answer(resource_of(kind), request.raw_path)) is not None:
            return _respond(answer)
        if fault in HOLDING:
            return await self._hold_open(request, upstream, body, fault)
        answer = await self._ask(request, upstream, body)
        self._note_request(kind)
        if reads(kind):
            self._latest[request.raw_path] = answer
        if fault is Fault.KILLED_AFTER:
            self._kill()
            return _hang_up(request)
        if fault is Fault.NO_ANSWER:
            return _hang_up(request)
        self._has_looked = self._has_looked or kind == "LIST pods"
        return _respond(answer)

    async def _handle_rpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._scheduler is not None
        with suppress(OSError):
            await relay(
                (reader, writer),
                await asyncio.open_connection(self._scheduler.service, RPC_PORT),
                arrives=self._rpc_arrives,
                kill=self._kill,
                lose=self._lose,
            )
        writer.transport.abort()

    def _rpc_arrives(self, kind: str) -> Fault | None:
        self._note_request(kind)
        return self._run.arrives(kind, self._latest)

    def _note_request(self, kind: str) -> None:
        if resource_of(kind) != "leases":  # one that has a Lease never ceases to renew it
            self._last = time.monotonic()

    def _kill(self) -> None:
        self._has_looked = False
        self._restart()

    def _lose(self, fault: Fault) -> None:
        self._run.lost_while_held()
        if fault is Fault.KILLED_DURING:
            self._kill()

    async def _hold_open(self, request: web.Request, upstream: str, body: bytes, fault: Fault) -> web.StreamResponse:
        asking = asyncio.ensure_future(self._ask(request, upstream, body))
        await asyncio.wait({asking}, timeout=HELD_SECONDS)
        if asking.done():
            return _respond(asking.result())
        self._lose(fault)
        return _hang_up(request)

    async def _ask(self, request: web.Request, upstream: str, body: bytes) -> Answer:
        """Pass a request on, to the end, even when whoever asked has gone."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        task = asyncio.create_task(self._fetch(request.method, upstream + request.raw_path, headers, body))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _fetch(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        async with self._session.request(method, URL(url, encoded=True), headers=headers, data=body or None) as answer:
            return Answer(answer.status, {"Content-Type": answer.headers["Content-Type"]}, await answer.read())

    async def _pass_events_on(self, request: web.Request, resource: str, fault: Fault | None) -> web.StreamResponse:
        async with self._session.get(URL(self.upstream + request.raw_path, encoded=True)) as events:
            if fault is Fault.NO_ANSWER:
                return _hang_up(request)
            response = web.StreamResponse(status=events.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            if fault is Fault.KILLED_AFTER:
                self._kill()
                return _hang_up(request)
            due: asyncio.Queue[tuple[float, asyncio.Event, bytes] | None] = asyncio.Queue()
            async with asyncio.TaskGroup() as group:
                group.create_task(_write_when_due(response, due))
                async for line in events.content:
                    event = json.loads(line)
                    kind, version = event["type"], event["object"].get("metadata", {}).get("resourceVersion", "")
                    if kind in TYPES and self._run.loses_event(resource, kind):
                        continue
                    at = time.monotonic() + self._run.event_delay(resource, version)
                    due.put_nowait((at, self._run_over, line))
                due.put_nowait(None)
            return response

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextmanager
def running(scheduler: SchedulerPorts | None) -> Iterator[Proxy]:
    """A proxy to the API server that KUBECONFIG leads to, and to a scheduler."""
    command = ["kubectl", "proxy", "--port=0", "--disable-filter"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()  # "Starting to serve on 127.0.0.1:40123"
            proxy = Proxy(f"http://{said.split()[-1]}", scheduler)
            proxy.start()
            try:
                yield proxy
            finally:
                proxy.close()
        finally:
            process.kill()


def write_kubeconfig(file: Path, *, server: str, namespace: str) -> None:
    """Write a kubeconfig (as JSON, which is YAML) for a server that asks for no credentials."""
    name = "crash-sweep"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    file.write_text(json.dumps(config))


async def _write_when_due(
    response: web.StreamResponse, due: asyncio.Queue[tuple[float, asyncio.Event, bytes] | None]
) -> None:
    with suppress(ConnectionError):  # whoever watched has gone
        while (event := await due.get()) is not None:
            at, run_over, line = event
            await is_set_within(run_over, max(at - time.monotonic(), 0))
            await response.write(line)


def _kind_at_api_server(request: web.Request) -> str:
    return kind_of(request.method, request.path, request.query)


def _kind_at_scheduler(request: web.Request) -> str:
    return kind_at_scheduler(request.method, request.path)


def _respond(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _refuse(kind: str, status: int, reason: str) -> web.Response:
    if asks_scheduler(kind):
        return web.Response(status=status, text="Internal Server Error")
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    return web.json_response(body | {"message": f"{kind}: refused by the crash sweep"}, status=status)


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
