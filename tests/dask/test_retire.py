"""Retiring workers by `/api/v1/retire_workers`: what Dask does, and what the client makes of the answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from dask_k8s_operator.clients.scheduler import SchedulerUnreachable
from tests.dask.support import PATIENCE_SECONDS, Withholding, never_ends, until

if TYPE_CHECKING:
    import httpx

    from tests.dask.support import LocalDask


async def post(http: httpx.AsyncClient, local: LocalDask, body: object) -> tuple[int, Any]:
    """The status and the JSON of a raw call, for bodies that the client would never send."""
    answer = await http.post(local.base_url + "/api/v1/retire_workers", content=json.dumps(body))
    return answer.status_code, answer.json()


async def test_a_retired_worker_is_listed_and_gone_and_its_data_is_kept(local: LocalDask) -> None:
    worker, *_ = [await local.worker(name) for name in ("pod-a", "pod-b", "pod-c")]
    data = await local.hold()
    assert local.scheduler.workers[worker.address].has_what

    assert await local.api.retire([worker.address]) == {worker.address}

    assert sorted(w.name for w in await local.api.workers()) == ["pod-b", "pod-c"]
    await asyncio.wait_for(worker.finished(), PATIENCE_SECONDS)
    assert await data.lost(local) == []


async def test_two_workers_in_one_call(local: LocalDask) -> None:
    one, two, _ = [await local.worker(name) for name in ("pod-a", "pod-b", "pod-c")]
    data = await local.hold()

    assert await local.api.retire([one.address, two.address]) == {one.address, two.address}

    assert [w.name for w in await local.api.workers()] == ["pod-c"]
    assert await data.lost(local) == []


async def test_an_empty_worker_is_retired_even_if_it_is_the_last(local: LocalDask) -> None:
    worker = await local.worker("pod-a")

    assert await local.api.retire([worker.address]) == {worker.address}


async def test_the_last_worker_with_data_is_refused_stays_and_goes_on_computing(local: LocalDask) -> None:
    worker = await local.worker("pod-a")
    data = await local.hold()

    assert await local.api.retire([worker.address]) == frozenset()

    assert [w.address for w in await local.api.workers()] == [worker.address]
    assert local.refusals() == [worker.address]
    assert await asyncio.wait_for(local.client.submit(sum, [1, 2]), PATIENCE_SECONDS) == 3
    assert await data.lost(local) == []


async def test_all_workers_at_once_are_all_refused(local: LocalDask) -> None:
    workers = [await local.worker(name) for name in ("pod-a", "pod-b")]
    data = await local.hold()

    assert await local.api.retire([worker.address for worker in workers]) == frozenset()

    assert len(await local.api.workers()) == 2
    assert await data.lost(local) == []


async def test_refused_when_all_others_are_paused(local: LocalDask) -> None:
    worker, other = await local.worker("pod-a"), await local.worker("pod-b")
    data = await local.hold()
    other.status = distributed.Status.paused
    await until(lambda: local.status(other.address) == "paused", "the scheduler knows of the pause")

    assert await local.api.retire([worker.address]) == frozenset()

    other.status = distributed.Status.running
    await until(lambda: local.status(other.address) == "running", "the scheduler knows that it runs again")
    assert await local.api.retire([worker.address]) == {worker.address}
    assert await data.lost(local) == []


class Counter:
    """An actor's class."""

    value = 1


async def test_a_worker_with_an_actor_is_refused(local: LocalDask) -> None:
    worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
    actor = await local.client.submit(Counter, actor=True, workers=[worker.address])

    assert await local.api.retire([worker.address]) == frozenset()
    assert await actor.value == 1

    del actor
    await until(lambda: not local.scheduler.workers[worker.address].actors, "the actor is released")
    assert await local.api.retire([worker.address]) == {worker.address}


async def test_an_unknown_address_is_ignored(local: LocalDask, http: httpx.AsyncClient) -> None:
    worker = await local.worker("pod-a")
    unknown = "tcp://127.0.0.1:1"

    assert await post(http, local, {"workers": [unknown]}) == (200, {})
    assert await local.api.retire([unknown, worker.address]) == {worker.address}


async def test_names_are_ignored(local: LocalDask, http: httpx.AsyncClient) -> None:
    await local.worker("pod-a")

    assert await post(http, local, {"names": ["pod-a"]}) == (200, {})
    assert len(await local.api.workers()) == 1


async def test_null_and_n_let_the_scheduler_choose(local: LocalDask, http: httpx.AsyncClient) -> None:
    addresses = {(await local.worker(name)).address for name in ("pod-a", "pod-b", "pod-c")}

    status, chosen = await post(http, local, {"n": 1})
    assert status == 200
    assert len(chosen) == 1
    status, idle = await post(http, local, {"workers": None})
    assert status == 200
    assert idle.keys() == addresses - chosen.keys()


async def test_the_client_never_lets_the_scheduler_choose(local: LocalDask) -> None:
    await local.worker("pod-a")

    with pytest.raises(ValueError, match="no addresses"):
        await local.api.retire([])
    assert len(await local.api.workers()) == 1


async def test_retiring_twice_at_once_lists_it_twice(local: LocalDask) -> None:
    worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
    data = await local.hold()

    answers = await asyncio.gather(*(local.api.retire([worker.address]) for _ in range(2)))

    assert answers == [{worker.address}] * 2
    assert await data.lost(local) == []


async def test_overlapping_calls_that_both_fail_wedge_the_worker_until_another_joins(local: LocalDask) -> None:
    worker = await local.worker("pod-a")
    data = await local.hold()

    answers = await asyncio.gather(*(local.api.retire([worker.address]) for _ in range(2)))
    assert answers == [frozenset()] * 2
    assert local.refusals() == [worker.address] * 2
    stuck = local.client.submit(sum, [1, 2])
    assert await local.api.retire([worker.address]) == frozenset(), "one more call does not free it"
    await never_ends(stuck)

    await local.worker("pod-b")
    assert await local.api.retire([worker.address]) == {worker.address}
    assert await asyncio.wait_for(stuck, PATIENCE_SECONDS) == 3
    assert await data.lost(local) == []


async def test_calls_for_different_workers_may_make_each_other_fail_but_wedge_nobody(local: LocalDask) -> None:
    one, two = await local.worker("pod-a", kind=Withholding), await local.worker("pod-b")
    data = await local.hold()

    call = asyncio.create_task(local.api.retire([one.address]))
    await until(lambda: local.status(one.address) == "closing_gracefully", "the first call is under way")
    assert await local.api.retire([two.address]) == frozenset()
    assert await asyncio.wait_for(call, PATIENCE_SECONDS) == frozenset(), "its data has nowhere to go any more"

    one.release.set()
    for worker in (one, two):
        future = local.client.submit(sum, [1, 2], workers=[worker.address], pure=False)
        assert await asyncio.wait_for(future, PATIENCE_SECONDS) == 3
    assert await data.lost(local) == []


async def test_the_call_lasts_until_the_data_has_moved(local: LocalDask) -> None:
    worker, _ = await local.worker("pod-a", kind=Withholding), await local.worker("pod-b")
    data = await local.hold()

    call = asyncio.create_task(local.api.retire([worker.address]))
    await until(lambda: local.status(worker.address) == "closing_gracefully", "the retirement is under way")
    assert len(await local.api.workers()) == 2
    assert not call.done()

    worker.release.set()
    assert await asyncio.wait_for(call, PATIENCE_SECONDS) == {worker.address}
    assert await data.lost(local) == []


async def test_a_retirement_goes_on_after_a_timeout(local: LocalDask) -> None:
    worker, _ = await local.worker("pod-a", kind=Withholding), await local.worker("pod-b")
    data = await local.hold()

    with pytest.raises(SchedulerUnreachable, match=r"no answer within 1 s"):
        await local.api.retire([worker.address], timeout=1)
    assert local.status(worker.address) == "closing_gracefully"

    worker.release.set()
    await until(lambda: worker.address not in local.scheduler.workers, "the worker is retired")
    assert await data.lost(local) == []


async def test_running_tasks_run_again_elsewhere(local: LocalDask) -> None:
    worker, other = await local.worker("pod-a"), await local.worker("pod-b")
    started, release = distributed.Event("started"), distributed.Event("release")

    def task() -> str:
        distributed.Event("started").set()
        distributed.Event("release").wait()
        return str(distributed.get_worker().name)

    future = local.client.submit(task, workers=[worker.address], allow_other_workers=True)
    await started.wait()
    assert await local.api.retire([worker.address]) == {worker.address}
    await release.set()
    assert await asyncio.wait_for(future, PATIENCE_SECONDS) == other.name
