"""Looks at schedulers more often than a pass over their Clusters is worth, and sets one off when there is news.

A pass reads a Cluster's pods and more from the API server. How many workers a scheduler asks for is a small question to
the scheduler alone, and mostly has the same answer as before.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.scheduler import SchedulerError
from dask_k8s_operator.domain.workload import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_k8s_operator.clients.access import Scheduler
    from dask_k8s_operator.controller.keys import ClusterKey
    from dask_k8s_operator.domain.scaling import Expectation

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""From one look to the next: as often as Dask's own `Adaptive` looks."""


class Lookout:
    """The Clusters whose schedulers are looked at, and what each is expected to say.

    A restart forgets them, and the first pass over each Cluster brings them back.
    """

    def __init__(self, scheduler: Callable[[ClusterKey], Scheduler], wake: Callable[[ClusterKey], None]) -> None:
        """Look at nobody yet.

        Args:
            scheduler: gives a Cluster's scheduler.
            wake: called with a Cluster's key when its scheduler says something else than expected.
        """
        self._scheduler = scheduler
        self._wake = wake
        self._expected: dict[ClusterKey, Expectation] = {}
        self._tasks: dict[ClusterKey, asyncio.Task[None]] = {}

    def expect(self, key: ClusterKey, expectation: Expectation | None) -> None:
        """Wake the Cluster up as soon as its scheduler says something else than this; None: don't look at it."""
        if expectation is None:
            self._expected.pop(key, None)
            return
        self._expected[key] = expectation
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._look(key), name=f"{key}: lookout")

    async def close(self) -> None:
        """Stop looking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._expected.clear()

    async def _look(self, key: ClusterKey) -> None:
        try:
            while key in self._expected:
                await asyncio.sleep(LOOK_SECONDS)
                await self._compare(key)
        finally:
            del self._tasks[key]

    async def _compare(self, key: ClusterKey) -> None:
        try:
            work = await self._scheduler(key).workload(Question())
        except SchedulerError as error:
            logger.debug("%s: %s", key, error)  # the next pass says so
            return
        expected = self._expected.get(key)
        if expected is not None and not expected.met_by(work):
            # Once is enough: the pass expects what it finds.
            self._expected[key] = expected.of(work)
            self._wake(key)
