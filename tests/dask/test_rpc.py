"""What Dask does when it is spoken to by RPC: draining, proposing workers to close, how many it would like.

Every call is made without unpickling anything, as a client whose Dask is of another version has to.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import distributed
import pytest
from distributed.core import rpc

from tests.dask.support import PATIENCE_SECONDS, free_port, local_dask, never_ends, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.dask.support import LocalDask


@pytest.fixture
async def remote(local: LocalDask) -> AsyncIterator[Any]:
    """The scheduler of `local`, by RPC."""
    async with rpc(local.scheduler.address, deserialize=False) as scheduler:
        yield scheduler


def task(name: str) -> str:
    """Say that it has started, wait for its release, and return the name of its worker."""
    distributed.Event(f"started-{name}").set()
    distributed.Event(f"release-{name}").wait()
    return str(distributed.get_worker().name)


def begin(local: LocalDask, worker: Any, name: str) -> Any:
    """Start a `task` on this worker if possible."""
    return local.client.submit(task, name, key=name, workers=[worker.address], allow_other_workers=True)


def _plain(value: object) -> bool:
    """Whether nothing in it would have to be unpickled. JSON's types aren't enough: keys of metrics are tuples."""
    if isinstance(value, dict):
        return all(_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


async def test_answers_are_plain(local: LocalDask, remote: Any) -> None:
    worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
    await local.hold()

    answers = [
        await remote.identity(),
        await remote.processing(workers=[worker.address]),
        await remote.call_stack(keys=[]),
        await remote.workers_to_close(n=1),
        await remote.adaptive_target(),
        await remote.retire_workers(workers=[worker.address]),
    ]
    for answer in answers:
        assert _plain(answer), answer


async def test_retires_by_address_and_by_name_where_the_http_api_is_off(http: httpx.AsyncClient) -> None:
    async with local_dask(http, routes=()) as local, rpc(local.scheduler.address, deserialize=False) as remote:
        one, two, _ = [await local.worker(name) for name in ("pod-a", 7, "pod-c")]
        data = await local.hold()

        assert (await remote.retire_workers(workers=[one.address])).keys() == {one.address}
        assert (await remote.retire_workers(names=["7"])).keys() == {two.address}
        assert local.scheduler.aliases.keys() == {"pod-c"}
        assert await data.lost(local) == []
        assert await remote.retire_workers(names=["pod-c"]) == {}


async def test_tells_the_status_and_the_bytes_of_each_worker(local: LocalDask, remote: Any) -> None:
    worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
    await remote.retire_workers(workers=[worker.address], remove=False)

    workers = (await remote.identity())["workers"]
    assert sorted((w["name"], w["status"]) for w in workers.values()) == [
        ("pod-a", "closing_gracefully"),
        ("pod-b", "running"),
    ]


async def test_a_drained_worker_ends_what_runs_and_starts_nothing(local: LocalDask, remote: Any) -> None:
    worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
    data = await local.hold()
    running, ready = begin(local, worker, "running"), begin(local, worker, "ready")
    await distributed.Event("started-running").wait()
    await until(lambda: len(local.scheduler.workers[worker.address].processing) == 2, "both are on the worker")

    assert (await remote.retire_workers(workers=[worker.address], remove=False)).keys() == {worker.address}
    assert local.scheduler.workers.keys() > {worker.address}, "it stays registered"
    assert local.status(worker.address) == "closing_gracefully"
    assert await local.client.submit(lambda: distributed.get_worker().name) == "pod-b"
    assert set((await remote.processing(workers=[worker.address]))[worker.address]) == {"running", "ready"}
    stacks = await remote.call_stack(keys=["running", "ready"])
    assert {address: list(keys) for address, keys in stacks.items()} == {worker.address: ["running"]}

    await distributed.Event("release-running").set()
    assert await running == "pod-a"
    # What had not started never does, and stays in the list: an empty list is nothing to wait for.
    await never_ends(ready)
    assert await remote.processing(workers=[worker.address]) == {worker.address: ("ready",)}
    assert await remote.call_stack(keys=["ready"]) == {}

    await distributed.Event("release-ready").set()
    assert (await remote.retire_workers(workers=[worker.address])).keys() == {worker.address}
    assert await asyncio.wait_for(ready, PATIENCE_SECONDS) == "pod-b"
    assert local.runs.finished["running"] == local.runs.finished["ready"] == 1
    assert await data.lost(local) == []


async def test_a_drained_worker_that_is_then_refused_does_not_come_back(local: LocalDask, remote: Any) -> None:
    worker, other = await local.worker("pod-a"), await local.worker("pod-b")
    future = begin(local, worker, "a")
    await distributed.Event("started-a").wait()
    await remote.retire_workers(workers=[worker.address], remove=False)
    await remote.retire_workers(workers=[other.address])
    await distributed.Event("release-a").set()
    assert await future == "pod-a"

    assert await remote.retire_workers(workers=[worker.address]) == {}
    await never_ends(local.client.submit(sum, [1, 2]))


async def test_asking_what_an_unknown_worker_processes_is_an_error(remote: Any) -> None:
    with pytest.raises(Exception, match="KeyError"):
        await remote.processing(workers=["tcp://127.0.0.1:1"])


async def test_no_scheduler() -> None:
    async with rpc(f"tcp://127.0.0.1:{free_port()}", timeout=0.5) as nobody:
        with pytest.raises(OSError, match="Timed out"):
            await nobody.identity()


async def test_proposes_idle_workers_first_then_those_with_the_fewest_bytes(local: LocalDask, remote: Any) -> None:
    much, little, busy = [await local.worker(name) for name in ("much", "little", "busy")]
    bytes_of = {much: 20_000, little: 10_000}
    held = [await local.client.scatter(b"x" * size, workers=[w.address]) for w, size in bytes_of.items()]
    future = begin(local, busy, "a")
    await distributed.Event("started-a").wait()

    assert await remote.workers_to_close(n=1) == (little.address,)
    assert await remote.workers_to_close(n=2, attribute="name") == ("little", "much")
    assert await remote.workers_to_close(target=0, attribute="name") == ("little", "much", "busy")
    assert await remote.workers_to_close(n=3, minimum=2, attribute="name") == ("little",)
    assert len(local.scheduler.workers) == 3, "it only proposes"
    await distributed.Event("release-a").set()
    assert await future == "busy"
    del held


async def test_never_proposes_workers_with_tasks_that_have_seceded(local: LocalDask, remote: Any) -> None:
    worker, _ = await local.worker("seceded"), await local.worker("other")

    def seceding() -> None:
        distributed.secede()
        distributed.Event("seceded").set()
        distributed.Event("release").wait()

    future = local.client.submit(seceding, workers=[worker.address])
    await distributed.Event("seceded").wait()
    await until(lambda: local.scheduler.workers[worker.address].long_running, "the scheduler knows")

    assert await remote.workers_to_close(n=2, attribute="name") == ("other",)
    await distributed.Event("release").set()
    await future


async def test_how_many_workers_the_scheduler_would_like(
    local: LocalDask, remote: Any, http: httpx.AsyncClient
) -> None:
    async def target() -> int:
        answer = (await http.get(local.base_url + "/api/v1/adaptive_target")).json()
        assert answer == {"workers": await remote.adaptive_target()}
        return int(answer["workers"])

    assert await target() == 0
    waiting = local.client.submit(sum, [1, 2])
    await until(lambda: local.scheduler.tasks, "the scheduler knows the task")
    assert await target() == 1

    await local.worker("pod-a")
    assert await waiting == 3
    assert await target() == 1, "one for the result"
    del waiting
    await until(lambda: not local.scheduler.tasks, "the result is released")
    assert await target() == 0
