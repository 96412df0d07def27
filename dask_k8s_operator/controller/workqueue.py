"""A queue of keys to reconcile: each key once, never twice at the same time, later when asked, slower when failing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from datetime import timedelta

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

FIRST_BACKOFF = 0.2
"""Seconds before a key that failed once is tried again; doubled each time."""

FIRST_BACKOFF_OUTDATED = 0.05
"""The same where what was read was out of date: the next reading will hardly be."""

LONGEST_BACKOFF = 60.0

WORTH_TELLING = 1.0
"""A backoff from which on it's worth telling that what is read is out of date again and again."""


class Outdated(Exception):
    """What a handler acted on has changed since it read it: no failure, if it doesn't happen again and again."""


class WorkQueue(Generic[Key]):
    """Keys that are due now or later.

    A key that is added while it waits is handled once, at the earlier of the two times. One that is added while
    it is being handled is handled once more afterwards. All methods are for the event loop's own thread.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """Make an empty queue.

        Args:
            jitter: a number in 0..1 for each backoff, which is stretched by up to half, so that what failed together
                isn't tried again together.
        """
        self._jitter = jitter
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._due: set[Key] = set()
        self._busy: set[Key] = set()
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, *, after: float = 0.0) -> None:
        """Have the key handled `after` this many seconds, or earlier where it is due earlier."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if key in self._due or (timer is not None and timer.when() <= loop.time() + after):
            return
        if timer is not None:
            timer.cancel()
            del self._timers[key]
        if after > 0:
            self._timers[key] = loop.call_later(after, self._ring, key)
        else:
            self._make_due(key)

    async def run(self, handle: Callable[[Key], Awaitable[timedelta | None]], *, concurrency: int) -> None:
        """Handle keys until cancelled; what is being handled then is cancelled with it, and due in the next run.

        Args:
            handle: called with a key; gives how long to wait until it's due again (None: only when added). When
                it raises, the key is tried again with exponential backoff, which begins at once after `Outdated`.
            concurrency: how many keys may be handled at a time.
        """
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(self._worker(handle))

    async def _worker(self, handle: Callable[[Key], Awaitable[timedelta | None]]) -> None:
        while True:
            key = await self._ready.get()
            self._due.discard(key)
            self._busy.add(key)
            try:
                again = await handle(key)
            except asyncio.CancelledError:
                self._due.add(key)
                raise
            except Outdated as error:
                delay = self._backoff(key, FIRST_BACKOFF_OUTDATED)
                level = logging.WARNING if delay >= WORTH_TELLING else logging.DEBUG
                logger.log(level, "%s: %s; again in %.2g s", key, error, delay)
                self.add(key, after=delay)
            except Exception as error:  # whatever it is, the others go on, and this one is tried again
                delay = self._backoff(key, FIRST_BACKOFF)
                logger.warning("%s: %s; again in %.1f s", key, str(error) or repr(error), delay)
                logger.debug("the failure in full", exc_info=True)
                self.add(key, after=delay)
            else:
                self._failures.pop(key, None)
                if again is not None:
                    self.add(key, after=again.total_seconds())
            finally:
                self._busy.discard(key)
                if key in self._due:
                    self._ready.put_nowait(key)

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        self._make_due(key)

    def _make_due(self, key: Key) -> None:
        self._due.add(key)
        if key not in self._busy:
            self._ready.put_nowait(key)

    def _backoff(self, key: Key, first: float) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        doublings = min(failures - 1, 20)
        delay = min(first * (1 << doublings), LONGEST_BACKOFF)
        return delay * (1 + self._jitter() / 2)
