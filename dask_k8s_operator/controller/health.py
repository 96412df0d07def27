"""The endpoints that the kubelet probes: `/healthz` (is a restart needed?) and `/readyz` (does it do its job?)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

logger = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""Gives what is wrong, or None where all is well."""


@asynccontextmanager
async def serve_health(*, host: str, port: int, alive: Check, ready: Check) -> AsyncIterator[int]:
    """Serve both endpoints while the context is open.

    Answers 200 "ok", or 503 with what is wrong.

    Args:
        host: the address to listen on.
        port: the port; 0 for a free one.
        alive: the check behind `/healthz`.
        ready: the check behind `/readyz`.

    Yields:
        The port that it listens on.

    Raises:
        OSError: the port can't be had.
    """
    app = web.Application()
    app.add_routes([web.get("/healthz", _endpoint(alive)), web.get("/readyz", _endpoint(ready))])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = int(runner.addresses[0][1])
        logger.info("health endpoints on %s:%d", host, bound)
        yield bound
    finally:
        await runner.cleanup()


def _endpoint(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        wrong = await check()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return handle
