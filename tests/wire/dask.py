"""A scheduler's HTTP API, as it answers (see `tests/dask` for what real ones do), without a scheduler behind it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import RawTestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FakeDask:
    """A scheduler whose workers are what the test says.

    Attributes:
        workers: names by address.
        refuses: addresses whose retirement it refuses.
        retired: the addresses that each call was for, in order.
        holding: while this is not set, retirements go on for ever.
        most: how many retirements went on at a time, at most.
        target: how many workers it asks for.
        tasks: how many it knows of.
        counting: while this is not set, it doesn't say what there is to do.
        answers_after: how many seconds it takes for any answer, and until it begins with what is asked for.
        looking: how many questions for its workers wait for an answer.
        most_looks: how many did at a time, at most.
    """

    def __init__(self) -> None:
        self.workers: dict[str, str] = {}
        self.refuses: set[str] = set()
        self.retired: list[frozenset[str]] = []
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.most = 0
        self.target = 0
        self.tasks = 0
        self.counting = asyncio.Event()
        self.counting.set()
        self.answers_after = 0.0
        self.looking = 0
        self.most_looks = 0
        self._now = 0

    async def respond(self, method: str, path: str, body: bytes) -> web.Response:
        """Answer one request."""
        match method, path:
            case "GET", "/api/v1/get_workers":
                self.looking += 1
                self.most_looks = max(self.most_looks, self.looking)
                try:
                    await asyncio.sleep(self.answers_after)
                finally:
                    self.looking -= 1
                found = [{"name": name, "address": address} for address, name in self.workers.items()]
                return web.json_response({"num_workers": len(found), "workers": found})
            case "GET", "/json/counts.json":
                await asyncio.sleep(self.answers_after)
                await self.counting.wait()
                count = len(self.workers)
                return web.json_response(
                    {"desired_workers": self.target, "tasks": self.tasks, "workers": count, "cores": count}
                )
            case "POST", "/api/v1/retire_workers":
                return web.json_response(await self._retire(frozenset(json.loads(body)["workers"])))
        return web.Response(status=404)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Listen on loopback; gives the port."""

        async def answer(request: web.BaseRequest) -> web.Response:
            return await self.respond(request.method, request.path, await request.read())

        async with RawTestServer(answer, host="127.0.0.1") as server:
            assert server.port is not None
            yield server.port

    async def _retire(self, addresses: frozenset[str]) -> dict[str, dict[str, str]]:
        self.retired.append(addresses)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self.answers_after)
            await self.going_on.wait()
        finally:
            self._now -= 1
        gone = [address for address in self.workers if address in addresses - self.refuses]
        return {address: {"name": self.workers.pop(address)} for address in gone}
