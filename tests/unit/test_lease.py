"""Leader election under a virtual clock, with API servers that fail in every way."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import pytest
from kubernetes.aio import client
from kubernetes.aio.leaderelection import leaderelection

from dask_k8s_operator.clients import lease
from dask_k8s_operator.controller import operator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.looptime

Fault = Literal["refuses connections", "hangs", "answers 500", "carries out and hangs up"]
FAULTS: tuple[Fault, ...] = ("refuses connections", "hangs", "answers 500", "carries out and hangs up")

ROUND_TRIP = 0.01
STOPPING = operator.SHUTDOWN_SECONDS
STARTING = lease.RETRY_SECONDS + 4 * ROUND_TRIP
"""How long one that waits for a free Lease may take to notice that, and to take it."""


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


class ApiServer:
    """The Lease, as everybody sees it."""

    def __init__(self) -> None:
        self.lease: Any = None
        self.writes = 0


class Connection:
    """What the client's API for Leases does, for one who may be cut off from the API server."""

    def __init__(self, server: ApiServer) -> None:
        self.fault: Fault | None = None
        self._server = server

    async def read_namespaced_lease(self, *_: str) -> Any:
        return await self._request(self._read)

    async def create_namespaced_lease(self, _: str, new: Any) -> Any:
        return await self._request(lambda: self._write(new, None))

    async def replace_namespaced_lease(self, _: str, __: str, replacement: Any) -> Any:
        new = deepcopy(replacement)
        return await self._request(lambda: self._write(new, new.metadata.resource_version))

    async def _request(self, carry_out: Any) -> Any:
        await asyncio.sleep(ROUND_TRIP)
        match self.fault:
            case "refuses connections":
                raise aiohttp.ClientConnectionError("refused")
            case "hangs":
                await asyncio.Event().wait()
            case "answers 500":
                raise client.ApiException(status=500, reason="no")
            case "carries out and hangs up":
                carry_out()
                raise aiohttp.ServerDisconnectedError
        return carry_out()

    def _read(self) -> Any:
        if self._server.lease is None:
            absent = client.ApiException(status=404)
            absent.body = json.dumps({"code": 404})
            raise absent
        return deepcopy(self._server.lease)

    def _write(self, new: Any, version: str | None) -> Any:
        found = self._server.lease
        if version != (None if found is None else found.metadata.resource_version):
            raise client.ApiException(status=409, reason="Conflict")
        self._server.writes += 1
        self._server.lease = deepcopy(new)
        self._server.lease.metadata.resource_version = str(self._server.writes)
        return deepcopy(self._server.lease)


class Candidate:
    """One who would lead; what it does then takes as long to stop as it may."""

    def __init__(self, server: ApiServer) -> None:
        self.connection = Connection(server)
        self.worked: list[tuple[float, float]] = []
        self.begun: float | None = None
        self.done = asyncio.Event()
        self.task = asyncio.create_task(
            lease.lead(self.connection, namespace="science", name="dask-operator", work=self._work)
        )

    async def _work(self) -> None:
        self.begun = now()
        try:
            await self.done.wait()
        finally:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(STOPPING)
            self.worked.append((self.begun, now()))
            self.begun = None

    async def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """An API server without a Lease."""
    # A time with a fraction: the library can't write one without (37.0.2).
    wall = SimpleNamespace(time=lambda: now() + 1_700_000_000.0001)
    monkeypatch.setattr(leaderelection, "time", wall)
    monkeypatch.setattr(client, "CoordinationV1Api", lambda api_client: api_client)
    return ApiServer()


@asynccontextmanager
async def leader(server: ApiServer) -> AsyncIterator[Candidate]:
    """One who leads. Not a fixture, because outside a test time passes as slowly as ever."""
    candidate = Candidate(server)
    await asyncio.sleep(1)
    assert candidate.begun is not None
    try:
        yield candidate
    finally:
        await candidate.end()


@asynccontextmanager
async def leader_and_another(server: ApiServer, *, later: float = 0) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """One who leads, and one who waits, for long already, and looks so much later than the first renews."""
    async with leader(server) as first:
        await asyncio.sleep(lease.RETRY_SECONDS + later - 1)
        second = Candidate(server)
        await asyncio.sleep(100)
        assert (first.worked, second.begun) == ([], None)
        try:
            yield first, second
        finally:
            await second.end()


@pytest.mark.parametrize("end", ["told to", "by itself"])
async def test_who_ends_hands_over_in_seconds(server: ApiServer, end: str) -> None:
    async with leader_and_another(server) as (first, second):
        if end == "told to":
            await first.end()
        else:
            first.done.set()
            await first.task
        ((_, stopped),) = first.worked
        await asyncio.sleep(STARTING)
        assert second.begun is not None
        assert stopped < second.begun


async def test_who_is_killed_is_followed_when_the_lease_has_run_out(server: ApiServer) -> None:
    async with leader_and_another(server) as (first, second):
        first.connection.fault = "hangs"
        killed = now()
        await first.end()
        await asyncio.sleep(killed + lease.LEASE_SECONDS + STARTING - now())
        assert second.begun is not None


@pytest.mark.very_many_cases
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("later", [0.1, 0.45, 0.5, 0.6, 0.75, 1.5])
@pytest.mark.parametrize("moment", [0.5, 1.015])
async def test_who_is_cut_off_has_stopped_before_another_starts(
    server: ApiServer, fault: Fault, moment: float, later: float
) -> None:
    async with leader_and_another(server, later=later) as (first, second):
        await asyncio.sleep(moment)
        first.connection.fault = fault
        await asyncio.sleep(60)
        assert second.begun is not None
        assert first.worked[0][1] < second.begun
        first.connection.fault = None
        await asyncio.sleep(60)
        assert (first.begun is None) != (second.begun is None)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_of_some_seconds_interrupts_nothing(server: ApiServer, fault: Fault) -> None:
    async with leader_and_another(server) as both:
        for candidate in both:
            candidate.connection.fault = fault
        await asyncio.sleep(5)
        for candidate in both:
            candidate.connection.fault = None
        await asyncio.sleep(60)
        assert [(c.begun is not None, c.worked) for c in both] == [(True, []), (False, [])]


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_a_long_outage_it_works_again(
    server: ApiServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with leader(server) as first:
        first.connection.fault = fault
        began = now()
        await asyncio.sleep(300)
        ((_, stopped),) = first.worked
        assert stopped <= began + lease.RENEW_SECONDS + STOPPING
        first.connection.fault = None
        await asyncio.sleep(STARTING + lease.ANSWER_SECONDS)
        assert first.begun is not None
    (told,) = (record.message for record in caplog.records if record.name == lease.__name__)
    assert "science/dask-operator could not be renewed for 10 s" in told


async def test_what_the_work_fails_with_is_raised_and_the_lease_given_back(server: ApiServer) -> None:
    async def fails() -> None:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        await lease.lead(Connection(server), namespace="science", name="dask-operator", work=fails)
    assert server.lease.spec.holder_identity is None
