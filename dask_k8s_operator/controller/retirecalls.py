"""The `retire_workers` calls under way: each blocks for as long as data moves, and no reconcile waits for one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.scheduler import SchedulerClient, SchedulerError
from dask_k8s_operator.domain.snapshot import RetireCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_k8s_operator.controller.keys import ClusterKey

logger = logging.getLogger(__name__)

_NOTHING = RetireCalls()


class RetireCallRegister:
    """At most one call per Cluster, and the answers that no status remembers yet.

    A restart forgets them. That loses nothing: the status says who was asked, and the scheduler's list of workers
    says who is gone.
    """

    def __init__(self, wake: Callable[[ClusterKey], None]) -> None:
        """Make an empty register.

        Args:
            wake: called with a Cluster's key when its call has been answered.
        """
        self._wake = wake
        self._calls: dict[ClusterKey, RetireCalls] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, key: ClusterKey) -> RetireCalls:
        """What is known of the Cluster's calls."""
        return self._calls.get(key, _NOTHING)

    def start(self, key: ClusterKey, scheduler: SchedulerClient, addresses: frozenset[str]) -> None:
        """Ask the scheduler in the background; does nothing while another call for the Cluster is under way."""
        if self.of(key).in_flight:
            return
        self._calls[key] = RetireCalls(in_flight=addresses)
        task = asyncio.create_task(self._call(key, scheduler, addresses), name=f"retire {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def settle(self, key: ClusterKey, seen: RetireCalls) -> None:
        """Forget answers once the status remembers them."""
        if not seen.in_flight and self.of(key) == seen:
            self._calls.pop(key, None)

    def forget(self, key: ClusterKey) -> None:
        """Forget the answers for a Cluster that is gone."""
        if not self.of(key).in_flight:
            self._calls.pop(key, None)

    async def close(self) -> None:
        """Stop waiting for answers. The schedulers go on with what they were asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self, key: ClusterKey, scheduler: SchedulerClient, addresses: frozenset[str]) -> None:
        answer = _NOTHING
        try:
            moved = await scheduler.retire(addresses)
        except SchedulerError as error:
            # Whether it was carried out is for the next look at the scheduler's workers to find out.
            logger.warning("%s: no answer to the retirement of %s: %s", key, ", ".join(sorted(addresses)), error)
        else:
            answer = RetireCalls(moved=moved & addresses, refused=addresses - moved)
            logger.info("%s: retired %s; refused %s", key, sorted(answer.moved), sorted(answer.refused))
        finally:
            self._calls[key] = answer
            self._wake(key)
