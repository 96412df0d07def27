"""The preStop hook of a pod as a process, run as the kubelet would run it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.hook import prestop_command
from tests.dask.support import PATIENCE_SECONDS, end, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GRACE_SECONDS = 300

NOWHERE = "192.0.2.1"
"""An IP that no worker has: these find their worker by its name, since all are on one loopback address."""

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="pods have a shell")


@contextlib.asynccontextmanager
async def hook(
    base_url: str,
    *,
    name: str = "pod-a",
    ip: str = NOWHERE,
    port: int | None = None,
    command: list[str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The hook of one pod, as a process."""
    process = await asyncio.create_subprocess_exec(
        *(command or without_operator()),
        env=environment(base_url, name=name, ip=ip, port=port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await end(process)


def without_operator() -> list[str]:
    """The hook where no operator comes first."""
    *command, turn = prestop_command(GRACE_SECONDS)
    assert float(turn) == 60
    return [*command, "0"]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """The exit status of the hook and what it said."""
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, (output + errors).decode()


def environment(base_url: str, *, name: str = "pod-a", ip: str = NOWHERE, port: int | None = None) -> dict[str, str]:
    """The environment of the pod, and a proxy that leads nowhere."""
    return {
        **({} if port is None else {names.ENV_WORKER_PORT: str(port)}),
        "PATH": os.environ["PATH"],
        "http_proxy": f"http://127.0.0.1:{free_port()}",
        names.ENV_SCHEDULER_ADDRESS: "tcp://scheduler.invalid:8786",
        names.ENV_SCHEDULER_DASHBOARD: base_url,
        names.ENV_WORKER_NAME: name,
        names.ENV_WORKER_ADDRESS: ip,
    }


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A worker's port, and whether anybody has tried it."""
    tried = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.set()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], tried
