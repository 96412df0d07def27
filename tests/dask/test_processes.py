"""Workers as processes of their own, as in pods: how they end, and what happens when one is frozen or killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.clients.scheduler import HttpTransport, SchedulerClient
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.manifests import HTTP_ROUTES
from tests.dask.support import LOOPBACK, PATIENCE_SECONDS, never_ends, start, until

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.dask.support import LocalDask

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals that pods get")


async def test_a_retired_worker_exits_with_0_and_its_data_is_kept(local: LocalDask) -> None:
    process = await local.worker_process("pod-a")
    await local.worker("pod-b")
    data = await local.hold()
    address = local.address("pod-a")
    assert local.scheduler.workers[address].has_what

    assert await local.api.retire([address]) == {address}

    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    assert await data.lost(local) == []


async def test_a_worker_whose_scheduler_is_gone_exits_with_0(tmp_path: Path, http: httpx.AsyncClient) -> None:
    file = tmp_path / "scheduler.json"
    env = {names.ENV_ROUTES: str(list(HTTP_ROUTES))}
    options = ["--scheduler-file", str(file), *LOOPBACK]
    async with contextlib.AsyncExitStack() as stack:
        scheduler = await start(
            stack, "dask", "scheduler", *options, "--port=0", "--dashboard-address=127.0.0.1:0", env=env
        )
        worker = await start(stack, "dask", "worker", *options, "--no-nanny", "--name=pod-a")
        await until(lambda: file.exists() and file.read_text().endswith("}"), "the scheduler has started")
        port = json.loads(file.read_text())["services"]["dashboard"]
        client = SchedulerClient(HttpTransport(http, f"http://127.0.0.1:{port}"))
        await until(client.workers, "the worker is registered, and the manifest's variable turns the API on")

        scheduler.kill()
        assert await asyncio.wait_for(worker.wait(), PATIENCE_SECONDS) == 0


async def test_sigterm_alone_loses_data(local: LocalDask) -> None:
    process = await local.worker_process("pod-a")
    await local.worker("pod-b")
    data = await local.hold()

    process.terminate()
    await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    assert await data.lost(local) != []


async def test_a_frozen_worker_blocks_its_retirement_and_is_listed_when_it_is_killed(local: LocalDask) -> None:
    process = await local.worker_process("pod-a")
    await local.worker("pod-b")
    data = await local.hold()
    address = local.address("pod-a")
    process.send_signal(signal.SIGSTOP)

    call = asyncio.create_task(local.api.retire([address]))
    await until(lambda: local.status(address) == "closing_gracefully", "the retirement is under way")
    assert {worker.name for worker in await local.api.workers()} == {"pod-a", "pod-b"}
    assert not call.done()

    process.kill()
    assert await asyncio.wait_for(call, PATIENCE_SECONDS) == {address}
    assert await data.lost(local) != [], "being listed did not mean that the data had moved"


async def test_refused_twice_while_frozen_is_a_wedge_too(local: LocalDask) -> None:
    """The scheduler takes a refused worker for closing_gracefully until it has confirmed that it runs again.

    A call before that puts it back into closing_gracefully when it fails, although the two never overlapped.
    """
    process = await local.worker_process("pod-a")
    data = await local.hold()
    address = local.address("pod-a")
    process.send_signal(signal.SIGSTOP)
    assert await local.api.retire([address]) == frozenset()
    assert await local.api.retire([address]) == frozenset()
    process.send_signal(signal.SIGCONT)
    stuck = local.client.submit(sum, [1, 2])
    assert await local.client.run(int, "7", workers=[address]) == {address: 7}, "it answers again"
    await never_ends(stuck)

    await local.worker("pod-b")
    assert await local.api.retire([address]) == {address}
    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    assert await asyncio.wait_for(stuck, PATIENCE_SECONDS) == 3
    assert await data.lost(local) == []
