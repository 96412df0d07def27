"""The work queue under a virtual clock: hours pass in no time, and each moment is exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.controller.workqueue import Outdated, WorkQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.looptime


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


class Handler:
    """Handles keys as it is told, and remembers when it began with which.

    Args:
        takes: how long it is busy with a key, in seconds.
        fails: how often it fails before it succeeds.
        error: how it fails.
        again: what it answers when it succeeds.
    """

    def __init__(
        self, *, takes: float = 0, fails: int = 0, error: type[Exception] = RuntimeError, again: timedelta | None = None
    ) -> None:
        self.begun: list[tuple[float, str]] = []
        self.busy: Counter[str] = Counter()
        self.most = 0
        self._takes, self._fails, self._error, self._again = takes, fails, error, again

    async def __call__(self, key: str) -> timedelta | None:
        self.begun.append((now(), key))
        self.busy[key] += 1
        self.most = max(self.most, self.busy.total())
        assert self.busy[key] == 1, "one at a time for each key"
        try:
            await asyncio.sleep(self._takes)
        finally:
            self.busy[key] -= 1
        if self._fails:
            self._fails -= 1
            raise self._error("out of order")
        return self._again

    def times(self, key: str = "a") -> list[float]:
        """When it began with this key."""
        return [round(when, 6) for when, which in self.begun if which == key]


@asynccontextmanager
async def running(
    handler: Handler, *, concurrency: int = 4, jitter: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[WorkQueue[str]]:
    """A queue that is worked off."""
    queue: WorkQueue[str] = WorkQueue(jitter)
    working = asyncio.create_task(queue.run(handler, concurrency=concurrency))
    try:
        yield queue
    finally:
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working


async def test_a_key_is_handled_once_at_once() -> None:
    handler = Handler()
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(3600)
    assert handler.begun == [(0, "a")]


async def test_a_key_added_before_the_queue_runs_is_handled() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    handler = Handler()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.run(handler, concurrency=1), 1)
    assert handler.times() == [0]


async def test_a_queue_that_runs_again_goes_on_with_what_was_cut_short_and_what_came_meanwhile() -> None:
    queue: WorkQueue[str] = WorkQueue()
    handler = Handler(takes=10)
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.run(handler, concurrency=1), 3)
    queue.add("b")
    queue.add("c", after=4)
    await asyncio.sleep(2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.run(handler, concurrency=4), 20)
    assert handler.begun == [(0, "a"), (5, "a"), (5, "b"), (7, "c")]


async def test_a_key_added_often_is_handled_once() -> None:
    handler = Handler()
    async with running(handler) as queue:
        for _ in range(100):
            queue.add("a")
        await asyncio.sleep(1)
    assert handler.times() == [0]


@pytest.mark.parametrize("delays", [(5, 9), (9, 5), (5, 5), (9, 5, 7)])
async def test_the_earlier_of_several_times_wins(delays: tuple[float, ...]) -> None:
    handler = Handler()
    async with running(handler) as queue:
        for delay in delays:
            queue.add("a", after=delay)
        await asyncio.sleep(3600)
    assert handler.times() == [5]


async def test_keys_become_due_in_order_of_time() -> None:
    handler = Handler()
    async with running(handler) as queue:
        for key, after in {"a": 3, "b": 1, "c": 2}.items():
            queue.add(key, after=after)
        await asyncio.sleep(10)
    assert handler.begun == [(1, "b"), (2, "c"), (3, "a")]


async def test_keys_due_together_go_in_the_order_in_which_they_came() -> None:
    handler = Handler(takes=1)
    async with running(handler, concurrency=1) as queue:
        for key in "bca":
            queue.add(key)
        await asyncio.sleep(10)
    assert [key for _, key in handler.begun] == ["b", "c", "a"]


async def test_a_key_added_while_it_is_handled_is_handled_once_more_afterwards() -> None:
    """What it is handled for now may have been read before the news."""
    handler = Handler(takes=10)
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        for _ in range(3):
            queue.add("a")
        await asyncio.sleep(100)
    assert handler.times() == [0, 10]


async def test_a_key_added_for_later_while_it_is_handled_waits_for_its_time() -> None:
    handler = Handler(takes=10)
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a", after=60)
        await asyncio.sleep(100)
    assert handler.times() == [0, 61]


async def test_others_go_on_while_one_is_busy() -> None:
    handler = Handler(takes=100)
    async with running(handler, concurrency=2) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
    assert handler.begun == [(0, "a"), (1, "b")]


async def test_no_more_at_a_time_than_allowed() -> None:
    handler = Handler(takes=10)
    async with running(handler, concurrency=3) as queue:
        for key in "abcdefg":
            queue.add(key)
        await asyncio.sleep(100)
    assert handler.most == 3
    assert [when for when, _ in handler.begun] == [0, 0, 0, 10, 10, 10, 20]


class TestAgain:
    """The handler says when it wants the key back."""

    async def test_comes_back_then(self) -> None:
        handler = Handler(takes=1, again=timedelta(minutes=5))
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(700)
        assert handler.times() == [0, 301, 602]

    async def test_an_event_in_between_replaces_that(self) -> None:
        handler = Handler(again=timedelta(minutes=5))
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(100)
            queue.add("a")
            await asyncio.sleep(350)
        assert handler.times() == [0, 100, 400]

    async def test_news_that_came_meanwhile_come_first(self) -> None:
        handler = Handler(takes=10, again=timedelta(minutes=5))
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(1)
            queue.add("a")
            await asyncio.sleep(50)
        assert handler.times() == [0, 10]


class TestBackoff:
    """What fails is tried again, later and later."""

    async def test_doubles_up_to_a_minute(self) -> None:
        handler = Handler(fails=12)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(600)
        times = handler.times()
        pauses = [round(after - before, 6) for before, after in pairwise(times)]
        assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60]

    async def test_begins_at_once_where_what_was_read_was_out_of_date(self, caplog: pytest.LogCaptureFixture) -> None:
        """Once is nothing to speak of; again and again is."""
        handler = Handler(fails=12, error=Outdated)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(600)
        pauses = [round(after - before, 6) for before, after in pairwise(handler.times())]
        assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60]
        told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert told[0] == "a: out of order; again in 1.6 s"
        assert len(told) == 7

    async def test_is_stretched_by_up_to_half(self) -> None:
        """What failed together for the same cause isn't tried again together."""
        jitter = iter([0.0, 1.0, 0.5])
        handler = Handler(fails=3)
        async with running(handler, jitter=lambda: next(jitter)) as queue:
            queue.add("a")
            await asyncio.sleep(60)
        assert handler.times() == [0, 0.2, 0.8, 1.8]

    async def test_starts_anew_after_a_success(self) -> None:
        handler = Handler(fails=3)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(10)
            handler._fails = 1
            queue.add("a")
            await asyncio.sleep(10)
        assert handler.times() == [0, 0.2, 0.6, 1.4, 10, 10.2]

    async def test_is_each_keys_own(self) -> None:
        handler = Handler(fails=4)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(1)
            queue.add("b")
            await asyncio.sleep(10)
        assert handler.times("a") == [0, 0.2, 0.6, 1.4]
        assert handler.times("b") == [1, 1.2]

    async def test_news_dont_wait_for_it(self) -> None:
        """Somebody mended the spec: it is tried at once, and not again when the backoff would have ended."""
        handler = Handler(fails=9)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(60)
            handler._fails = 0
            queue.add("a")
            await asyncio.sleep(600)
        assert handler.times()[-2:] == [51.0, 60.0]

    async def test_tells_the_failure_once_and_in_words(self, caplog: pytest.LogCaptureFixture) -> None:
        handler = Handler(fails=1)
        async with running(handler) as queue:
            queue.add("a")
            await asyncio.sleep(10)
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
            "a: out of order; again in 0.2 s"
        ]


async def test_a_key_can_be_cancelled_with_the_queue() -> None:
    handler = Handler(takes=1000)
    async with running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        assert handler.busy["a"] == 1
    assert handler.busy["a"] == 0
    assert now() == 1
