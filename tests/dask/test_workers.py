"""Listing workers: what `/api/v1/get_workers` answers, and what the client makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask
import distributed
import pytest

from dask_k8s_operator.clients.scheduler import HttpTransport, SchedulerApiMissing, SchedulerClient
from dask_k8s_operator.domain.manifests import HTTP_ROUTES
from dask_k8s_operator.domain.snapshot import Worker
from tests.dask.support import local_dask

if TYPE_CHECKING:
    import httpx

    from tests.dask.support import LocalDask


async def test_lists_name_and_address(local: LocalDask, http: httpx.AsyncClient) -> None:
    worker = await local.worker("pod-a")

    assert await local.api.workers() == (Worker(name="pod-a", address=worker.address),)
    answer = (await http.get(local.base_url + "/api/v1/get_workers")).json()
    assert answer == {"num_workers": 1, "workers": [{"name": "pod-a", "address": worker.address}]}


async def test_no_workers(local: LocalDask) -> None:
    assert await local.api.workers() == ()


async def test_a_numeric_name_is_an_int_on_the_wire_and_a_string_here(
    local: LocalDask, http: httpx.AsyncClient
) -> None:
    worker = await local.worker(17)

    answer = (await http.get(local.base_url + "/api/v1/get_workers")).json()
    assert answer["workers"][0]["name"] == 17
    assert await local.api.workers() == (Worker(name="17", address=worker.address),)


async def test_the_host_of_an_address_is_the_pods_ip(local: LocalDask) -> None:
    await local.worker("pod-a")

    (worker,) = await local.api.workers()
    assert worker.host == "127.0.0.1"


async def test_retiring_and_paused_workers_are_listed_like_any_other(local: LocalDask) -> None:
    await local.worker("pod-a")
    await local.worker("pod-b")
    await local.scheduler.retire_workers(names=["pod-a"], remove=False)
    local.scheduler.workers[local.address("pod-b")].status = distributed.Status.paused

    assert sorted(worker.name for worker in await local.api.workers()) == ["pod-a", "pod-b"]


async def test_a_trailing_slash_is_not_found(local: LocalDask, http: httpx.AsyncClient) -> None:
    assert (await http.get(local.base_url + "/api/v1/get_workers/")).status_code == 404


async def test_a_trailing_slash_of_the_base_url_does_no_harm(local: LocalDask, http: httpx.AsyncClient) -> None:
    assert await SchedulerClient(HttpTransport(http, local.base_url + "/")).workers() == ()


async def test_the_api_is_off_by_default(http: httpx.AsyncClient) -> None:
    defaults = tuple(dask.config.get("distributed.scheduler.http.routes"))
    assert set(HTTP_ROUTES) - set(defaults) == {"distributed.http.scheduler.api"}
    assert set(defaults) - set(HTTP_ROUTES) == set(), "a default route that turning the API on would take away"

    async with local_dask(http, routes=defaults) as local:
        with pytest.raises(SchedulerApiMissing, match="DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"):
            await local.api.workers()
        with pytest.raises(SchedulerApiMissing, match=r"distributed\.http\.scheduler\.api"):
            await local.api.retire(["tcp://127.0.0.1:1"])
