"""The preStop hook, run as the kubelet would run it, for workers of real schedulers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.trouble import NO_HANDOVER
from tests.dask.prestop import GRACE_SECONDS, ended, hook, listening, needs_sh
from tests.dask.support import PATIENCE_SECONDS, Withholding, free_port, local_dask, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.dask.support import LocalDask

needs_loopback_net = pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address")


@needs_sh
class TestWithRealDask:
    """Schedulers and workers as they are."""

    async def test_one_of_three_hands_its_data_over(self, local: LocalDask) -> None:
        workers = [await local.worker(name) for name in ("pod-a", "pod-b", "pod-c")]
        data = await local.hold()
        assert workers[0].data

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {workers[1].address, workers[2].address}
        assert await data.lost(local) == []

    async def test_a_worker_that_gets_sigterm_after_the_hook_loses_nothing(self, local: LocalDask) -> None:
        worker = await local.worker_process("pod-a")
        await local.worker("pod-b")
        data = await local.hold()

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
        await asyncio.wait_for(worker.wait(), PATIENCE_SECONDS)

        assert await data.lost(local) == []

    async def test_the_only_worker_waits_until_another_joins(self, local: LocalDask) -> None:
        worker = await local.worker("pod-a")
        data = await local.hold()

        async with hook(local.base_url) as process:
            await until(local.refusals, "the hook was refused")
            assert process.returncode is None
            other = await local.worker("pod-b")
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}
        assert set(local.refusals()) == {worker.address}
        assert await data.lost(local) == []

    async def test_all_at_once_wait_for_their_replacements(self, local: LocalDask) -> None:
        for name in ("pod-a", "pod-b"):
            await local.worker(name)
        data = await local.hold()

        async with hook(local.base_url) as one, hook(local.base_url, name="pod-b") as two:
            await until(local.refusals, "a hook was refused")
            await local.worker("pod-c")
            assert await ended(one) == await ended(two) == (0, "")

        assert local.scheduler.aliases.keys() == {"pod-c"}
        assert await data.lost(local) == []

    async def test_beside_the_operators_own_call(self, local: LocalDask) -> None:
        worker, other = await local.worker("pod-a", kind=Withholding), await local.worker("pod-b")
        data = await local.hold()

        operators = asyncio.create_task(local.api.retire([worker.address]))
        await until(lambda: local.status(worker.address) == "closing_gracefully", "the operator's call runs")
        async with hook(local.base_url) as process:
            policies = local.scheduler.extensions["amm"].policies
            await until(lambda: sum("Retire" in repr(p) for p in policies) == 2, "the hook's call runs, too")
            worker.release.set()
            assert await ended(process) == (0, "")

        assert await asyncio.wait_for(operators, PATIENCE_SECONDS) == {worker.address}
        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_leaves_it_to_the_operator_first(self, local: LocalDask) -> None:
        worker, other = await local.worker("pod-a"), await local.worker("pod-b")
        data = await local.hold()

        async with hook(local.base_url, command=prestop_command(GRACE_SECONDS)) as process:
            assert await local.api.retire([worker.address]) == {worker.address}
            assert await ended(process) == (0, "")

        retirements = [e for _, e in local.scheduler.get_events("all") if e["action"] == "retire-workers"]
        assert len(retirements) == 1
        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_without_an_operator_one_comes_after_the_other(self, local: LocalDask) -> None:
        first, second, _ = [(await local.worker(name)).address for name in ("pod-a", "pod-b", "pod-c")]
        data = await local.hold()

        async with hook(local.base_url) as one, hook(local.base_url, name="pod-b") as two:
            assert await ended(one) == await ended(two) == (0, "")

        calls = [set(e["retired"]) for _, e in local.scheduler.get_events("all") if e["action"] == "retire-workers"]
        assert calls == [{address} for address in sorted((first, second))], "as the scheduler lists them"
        assert local.scheduler.aliases.keys() == {"pod-c"}
        assert await data.lost(local) == []

    async def test_frees_a_worker_wedged_in_closing_gracefully(self, local: LocalDask) -> None:
        worker = await local.worker("pod-a")
        data = await local.hold()
        await asyncio.gather(*(local.api.retire([worker.address]) for _ in range(2)))

        async with hook(local.base_url) as process:
            await until(lambda: len(local.refusals()) > 2, "the hook was refused, too")
            other = await local.worker("pod-b")
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_a_worker_that_is_not_registered_has_nothing_to_hand_over(self, local: LocalDask) -> None:
        other = await local.worker("pod-b")

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}

    @needs_loopback_net
    async def test_retires_every_worker_on_the_pods_ip(self, local: LocalDask) -> None:
        for name, host in (("x", "127.0.0.2"), (7, "127.0.0.2"), ("y", "127.0.0.3")):
            await local.worker(name, host=host)
        data = await local.hold()

        async with hook(local.base_url, ip="127.0.0.2") as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.aliases.keys() == {"y"}
        assert await data.lost(local) == []


@needs_sh
class TestWithoutTheApi:
    """The scheduler's HTTP API is off, so that the hook can ask for nothing."""

    @staticmethod
    def command(turn: float) -> list[str]:
        return [*prestop_command(GRACE_SECONDS)[:-1], str(turn)]

    async def test_the_operator_retires_the_worker_by_another_way(self, http: httpx.AsyncClient) -> None:
        async with local_dask(http, routes=()) as local:
            worker = await local.worker("pod-a")
            await local.worker("pod-b")
            data = await local.hold()
            async with hook(local.base_url, ip="127.0.0.1", port=worker.port, command=self.command(60)) as process:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(process.wait(), 3)
                assert await SchedulerRpc(local.scheduler.address).retire([worker.address]) == {worker.address}
                assert await ended(process) == (0, "")
            assert await data.lost(local) == []

    async def test_complains_when_nobody_has_retired_the_worker(self, http: httpx.AsyncClient) -> None:
        async with local_dask(http, routes=()) as local, listening() as (port, _):
            begun = time.monotonic()
            async with hook(local.base_url, ip="127.0.0.1", port=port, command=self.command(1)) as process:
                status, said = await ended(process)
            assert time.monotonic() - begun > 4.5
        assert status == 1
        assert said.startswith(NO_HANDOVER)
        assert "HTTP API is off" in said

    async def test_a_worker_that_is_not_there_has_nothing_to_hand_over(self, http: httpx.AsyncClient) -> None:
        command = self.command(60)
        async with (
            local_dask(http, routes=()) as local,
            hook(local.base_url, ip="127.0.0.1", port=free_port(), command=command) as process,
        ):
            assert await ended(process) == (0, "")


async def timed(base_url: str) -> tuple[int | None, str, float]:
    """How the hook ends, and after how many seconds."""
    begun = time.monotonic()
    async with hook(base_url) as process:
        return *await ended(process), time.monotonic() - begun


@pytest.fixture(scope="module", autouse=True)
def without_scheduler() -> Iterator[list[Future[tuple[int | None, str, float]]]]:
    """Hooks that find no scheduler, which takes so long that other tests run meanwhile."""
    with ThreadPoolExecutor() as threads:
        urls = f"http://127.0.0.1:{free_port()}", "http://scheduler.invalid:8787"
        yield [threads.submit(asyncio.run, timed(url)) for url in urls]


@needs_sh
async def test_gives_up_when_the_scheduler_is_gone(
    without_scheduler: list[Future[tuple[int | None, str, float]]],
) -> None:
    for future in without_scheduler:
        status, said, seconds = await asyncio.wrap_future(future)
        assert (status, said) == (0, "")
        assert 8 <= seconds < 60  # nine pauses of 1.2 s on average, and whatever a busy machine needs for the rest
