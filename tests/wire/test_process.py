"""The operator as a process of its own: how it starts, what it logs, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from kmock import action

from tests.wire.apiserver import CLUSTERS, PODS, ApiServer, by_kopf, of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.wire.dask import FakeDask
    from tests.wire.world import World


class Process:
    """A running operator."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def end(self, *, within: float = 60) -> tuple[int, list[str]]:
        """Wait for its end; gives the exit status and what it logged."""
        _, err = await asyncio.wait_for(self._process.communicate(), within)
        assert self._process.returncode is not None
        return self._process.returncode, err.decode().splitlines()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)


@asynccontextmanager
async def operator(kubeconfig: Path, *options: str) -> AsyncIterator[Process]:
    """Start the operator; it is killed at the end if it still runs then."""
    command = [sys.executable, "-m", "dask_k8s_operator", "run", f"--kubeconfig={kubeconfig}"]
    environment = {key: value for key, value in os.environ.items() if key != "KUBERNETES_SERVICE_HOST"}
    process = await asyncio.create_subprocess_exec(
        *command, "--health-address=127.0.0.1:0", *options, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def watching(api: ApiServer) -> None:
    """Wait until it watches all: starting Python takes a while on a busy machine."""
    async with asyncio.timeout(60):
        while not all(api.asked(action.WATCH, kind) for kind in (CLUSTERS, PODS)):
            await api.next_request()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_within_five_seconds_though_a_retirement_hangs(
    number: signal.Signals, api: ApiServer, dask: FakeDask, world: World, kubeconfig: Path
) -> None:
    world.apply(replicas=2)
    dask.going_on.clear()
    async with operator(kubeconfig, "--log-format=json", "--log-level=debug") as process:
        await watching(api)
        await world.ready(2)
        await world.scale(1)
        await api.until(lambda: dask.retired, "the scheduler is asked")
        told = time.monotonic()
        process.tell(number)
        status, lines = await process.end()
        assert time.monotonic() - told < 5
    assert status == 0
    entries = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)
    assert entries[-1]["message"] == "stopped"
    assert "Traceback" not in "".join(lines)
    assert "secret" not in "".join(lines), "the token of the kubeconfig"


NO_CRD = "the CustomResourceDefinition clusters.dask.charmtx.com is not installed: kubectl apply -k deploy/"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, NO_CRD),
        (403, "can't read Clusters, apply the RBAC of deploy/: User can't list"),
        (401, "the API server doesn't take the credentials: User can't list"),
    ],
)
async def test_what_is_missing_is_said_in_one_line(status: int, line: str, api: ApiServer, kubeconfig: Path) -> None:
    api.refuse(of(action.LIST, CLUSTERS), status, "User can't list")
    async with operator(kubeconfig) as process:
        assert await process.end() == (1, [f"dask-k8s-operator: {line}"])


async def test_a_port_that_is_taken_is_said_in_one_line(kubeconfig: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with operator(kubeconfig, f"--health-address=127.0.0.1:{port}", "--log-level=error") as process:
            status, lines = await process.end()
    assert status == 1
    [line] = lines
    assert line.startswith("dask-k8s-operator: ")
    assert str(port) in line


async def test_without_credentials_that_are_good_it_ends_in_words(api: ApiServer, kubeconfig: Path) -> None:
    async with operator(kubeconfig, "--log-level=error") as process:
        await watching(api)
        api.refuse(lambda request: request.action == action.LIST, 401, times=float("inf"))
        await api.drop_watches(PODS)
        status, lines = await process.end()
    assert status == 1
    message = (
        "the API server no longer takes the credentials of the kubeconfig or of the pod's service account: renew them"
    )
    assert f"dask-k8s-operator: {message}" in lines


@pytest.mark.parametrize("verb", [action.LIST, action.WATCH])
async def test_it_ends_where_it_may_not_watch_so_that_another_is_started(
    verb: action, api: ApiServer, world: World, kubeconfig: Path
) -> None:
    """By an answer that isn't worth trying again. It waits for no task that doesn't end."""
    world.apply(replicas=1)
    api.refuse(by_kopf(verb, PODS), 409)
    async with operator(kubeconfig) as process:
        _, lines = await process.end()
    assert any("Watcher for pods" in line and "has failed" in line for line in lines)
