"""The calls to drain and retire workers: each blocks for as long as data moves, and no reconcile waits for one."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.scheduler import SchedulerError
from dask_k8s_operator.domain.actions import Drain, Retire
from dask_k8s_operator.domain.snapshot import RetireCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_k8s_operator.clients.access import Scheduler
    from dask_k8s_operator.controller.keys import ClusterKey

logger = logging.getLogger(__name__)

STALLED_SECONDS = 10.0
"""A call that takes longer holds no other workers up: a frozen worker can block one for minutes."""


@dataclass
class _Call:
    """One request to a scheduler.

    Attributes:
        uid: of the Cluster.
        action: what was asked for.
        since: when, by the event loop's clock.
        task: what waits for the answer.
        answer: the addresses that the answer listed; None while there is none.
    """

    uid: str
    action: Drain | Retire
    since: float
    answer: frozenset[str] | None = None
    task: asyncio.Task[None] | None = None


class RetireCallRegister:
    """The calls under way, and the answers that no status remembers yet.

    A restart forgets them. That loses nothing: the status says who was asked, and the scheduler's list of workers
    says who is gone.
    """

    def __init__(self, wake: Callable[[ClusterKey], None]) -> None:
        """Make an empty register.

        Args:
            wake: called with a Cluster's key when one of its calls has ended.
        """
        self._wake = wake
        self._calls: dict[ClusterKey, list[_Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, key: ClusterKey, uid: str) -> RetireCalls:
        """What is known of the Cluster's calls; those for an earlier one of its name are given up."""
        self._give_up(key, lambda call: call.uid != uid)
        calls = self._calls.get(key, [])
        stalled = asyncio.get_running_loop().time() - STALLED_SECONDS
        pending = [call for call in calls if call.answer is None]
        return RetireCalls(
            in_flight=_union(call.action.addresses for call in pending),
            stalled=_union(call.action.addresses for call in pending if call.since <= stalled),
            drained=_union(call.answer or () for call in calls if isinstance(call.action, Drain)),
            moved=_union(call.answer or () for call in calls if isinstance(call.action, Retire)),
            refused=_union(call.action.addresses - call.answer for call in calls if call.answer is not None),
        )

    def start(self, key: ClusterKey, uid: str, scheduler: Scheduler, action: Drain | Retire) -> None:
        """Ask the scheduler in the background; does nothing while another call names one of the same workers."""
        if action.addresses & self.of(key, uid).in_flight:
            return
        call = _Call(uid, action, since=asyncio.get_running_loop().time())
        self._calls.setdefault(key, []).append(call)
        call.task = asyncio.create_task(self._run(key, scheduler, call), name=f"{key}: {action}")
        self._tasks.add(call.task)
        call.task.add_done_callback(self._tasks.discard)

    def settle(self, key: ClusterKey, seen: RetireCalls) -> None:
        """Forget the answers that were seen, once the status remembers them."""
        told = (seen.drained | seen.moved | seen.refused) - seen.in_flight
        self._keep(key, lambda call: call.answer is None or not call.action.addresses <= told)

    def forget(self, key: ClusterKey) -> None:
        """Give up what was asked for a Cluster that is gone, and with it its scheduler."""
        self._give_up(key, lambda _: True)

    async def close(self) -> None:
        """Stop waiting for answers, and forget all. The schedulers go on with what they were asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._calls.clear()

    def _give_up(self, key: ClusterKey, unwanted: Callable[[_Call], bool]) -> None:
        for call in filter(unwanted, self._calls.get(key, [])):
            if call.task is not None:
                call.task.cancel()
        self._keep(key, lambda call: not unwanted(call))

    def _keep(self, key: ClusterKey, wanted: Callable[[_Call], bool]) -> None:
        kept = [call for call in self._calls.pop(key, []) if wanted(call)]
        if kept:
            self._calls[key] = kept

    async def _run(self, key: ClusterKey, scheduler: Scheduler, call: _Call) -> None:
        ask = scheduler.drain if isinstance(call.action, Drain) else scheduler.retire
        try:
            listed = await ask(call.action.addresses)
            call.answer = listed & call.action.addresses
            logger.info("%s: %s: done for %s", key, call.action, sorted(call.answer))
        except SchedulerError as error:
            # Whether it was carried out is for the next look at the scheduler's workers to find out.
            logger.warning("%s: no answer to: %s: %s", key, call.action, error)
        finally:
            if call.answer is None:
                self._keep(key, lambda other: other is not call)
            self._wake(key)


def _union(sets: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(address for addresses in sets for address in addresses)
