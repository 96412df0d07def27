"""Why the scheduler is asked for one thing after the other: what two overlapping calls can do to a key."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import distributed.scheduler
import pytest

from tests.dask.support import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.dask.support import LocalDask

MANY = 20
"""So many keys can't all have moved before the scheduler looks for the first time."""


END = threading.Event()
"""Set when the task may end. Workers are in this process."""


def _need(_: int) -> None:
    END.wait()


@pytest.fixture
async def busy(local: LocalDask) -> AsyncIterator[Busy]:
    END.clear()
    try:
        yield Busy(local)
    finally:
        END.set()


class Pauses:
    """The scheduler's pauses before it looks again whether a worker's keys have moved: they end when a test says so."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.over = asyncio.Event()
        names = {name: getattr(asyncio, name) for name in dir(asyncio)}
        patch.setattr(distributed.scheduler, "asyncio", SimpleNamespace(**names | {"sleep": self._sleep}))

    async def _sleep(self, seconds: float) -> None:
        if seconds >= 0.01:  # the shortest of these pauses
            await self.over.wait()
        await asyncio.sleep(0)


class Busy:
    """Workers `a`, `b` and `c`; `a` and `b` have the key `shared`, and a task on `a` needs it that doesn't end.

    That task is why `a` keeps its copy when it is retired, though there is another one.
    """

    def __init__(self, local: LocalDask) -> None:
        self.local = local
        self.others: Any = None
        self.shared: Any = None
        self.task: Any = None

    async def start(self) -> tuple[str, str]:
        # What it does by itself every two seconds comes when the test says so: before the first call, it would
        # take one of the two copies for superfluous.
        amm = self.local.scheduler.extensions["amm"]
        self.local.scheduler.periodic_callbacks[f"amm-{id(amm)}"].stop()
        a, b, _ = [await self.local.worker(name) for name in "abc"]
        self.others = await self.local.client.scatter(
            {f"key-{number}": number for number in range(MANY)}, workers=[a.address]
        )
        self.shared = await self.local.client.scatter([1], workers=[a.address, b.address], broadcast=True)
        self.task = self.local.client.submit(_need, self.shared[0], workers=[a.address], allow_other_workers=True)
        await until(lambda: self.local.scheduler.workers[a.address].processing, "the task runs")
        return a.address, b.address

    def copies(self) -> set[str]:
        """Who has the key."""
        task = self.local.scheduler.tasks.get(self.shared[0].key)
        return {worker.address for worker in task.who_has or ()} if task else set()


def _run_memory_manager(local: LocalDask) -> None:
    """What the scheduler does by itself every two seconds."""
    local.scheduler.extensions["amm"].run_once()


async def _has_moved_all(local: LocalDask, address: str) -> None:
    keys = local.scheduler.workers[address].has_what
    await until(lambda: all(len(task.who_has) > 1 for task in keys), "all keys of the worker have other copies")


async def test_two_calls_lose_a_key_that_both_workers_have(
    local: LocalDask, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, Dask has become better, and calls may overlap."""
    a, b = await busy.start()
    pauses = Pauses(monkeypatch)
    first = asyncio.create_task(local.api.retire([a]))
    await until(lambda: local.status(a) == "closing_gracefully", "the first call runs")
    await _has_moved_all(local, a)
    _run_memory_manager(local)
    assert busy.copies() == {a, b}, "the scheduler is through with `a` and hasn't removed it yet"

    second = asyncio.create_task(local.api.retire([b]))
    await until(lambda: b not in busy.copies(), "the second call drops a copy")
    pauses.over.set()
    await asyncio.wait_for(asyncio.gather(first, second), PATIENCE_SECONDS)
    assert busy.copies() == set()


@pytest.mark.parametrize("at_once", [True, False])
async def test_one_call_for_both_or_one_after_the_other_loses_nothing(
    local: LocalDask, busy: Busy, *, at_once: bool
) -> None:
    a, b = await busy.start()
    for addresses in [[a, b]] if at_once else [[a], [b]]:
        assert await asyncio.wait_for(local.api.retire(addresses), PATIENCE_SECONDS) == set(addresses)
    assert busy.copies() == {local.address("c")}
