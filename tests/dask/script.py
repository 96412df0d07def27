"""A scheduler that answers the preStop hook as a test has arranged."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Script:
    """A server that gives each call these answers one after the other, the last one again and again.

    None is an answer that doesn't come.
    """

    def __init__(self, workers: list[web.Response | None], retire: list[web.Response]) -> None:
        self.looked = 0
        self.posted: list[list[int]] = []
        self._workers = workers
        self._retire = retire
        self._over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/api/v1/get_workers", self._get_workers)
        app.router.add_post("/api/v1/retire_workers", self._retire_workers)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))
            self._over.set()

    async def _get_workers(self, _: web.Request) -> web.Response:
        answer = self._workers[min(self.looked, len(self._workers) - 1)]
        self.looked += 1
        if answer is None:
            await self._over.wait()
        return _fresh(answer)

    async def _retire_workers(self, request: web.Request) -> web.Response:
        addresses = (await request.json())["workers"]
        self.posted.append([int(address.rpartition(":")[2]) for address in addresses])
        return _fresh(self._retire[min(len(self.posted), len(self._retire)) - 1])


def listed(*names: str) -> web.Response:
    """The list of workers with these names, on the ports from 9000."""
    workers = [{"name": name, "address": f"tcp://127.0.0.1:{number}"} for number, name in enumerate(names, 9000)]
    return web.json_response({"num_workers": len(workers), "workers": workers})


def retired(*ports: int) -> web.Response:
    """The workers on these ports have been retired."""
    return web.json_response({f"tcp://127.0.0.1:{port}": {} for port in ports})


def status(code: int) -> web.Response:
    """This status, and nothing else."""
    return web.Response(status=code, text="{}")


def _fresh(answer: web.Response | None) -> web.Response:
    """An answer that may be sent, unlike one that has been sent before."""
    return web.Response() if answer is None else web.Response(status=answer.status, text=answer.text)
