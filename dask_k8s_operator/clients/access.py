"""A scheduler by whatever ways there are to it: its HTTP API, and its RPC port where that can be reached."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.scheduler import (
    LIST_SECONDS,
    WORKLOAD_SECONDS,
    SchedulerApiMissing,
    SchedulerClient,
    SchedulerError,
)
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpcUnusable
from dask_k8s_operator.domain.snapshot import Detail, Listed, Unreachable

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
    from dask_k8s_operator.domain.snapshot import Worker
    from dask_k8s_operator.domain.workload import Question, Workload

logger = logging.getLogger(__name__)


class Scheduler:
    """One scheduler. Every method raises `SchedulerError` where none of the ways gives an answer."""

    def __init__(self, http: SchedulerClient, rpc: SchedulerRpc | None) -> None:
        """Combine the ways.

        Args:
            http: the HTTP API, which some images and environments turn off.
            rpc: the RPC port; None where it can't be reached, as from outside the cluster.
        """
        self._http = http
        self._rpc = rpc

    async def view(self, drained: Collection[str]) -> Listed:
        """The workers that are registered now, and what else can be had about them.

        Args:
            drained: addresses of drained workers, whose running tasks matter.
        """
        # The list is read last: it is what deletions rest on.
        detail = await self._detail(drained)
        return Listed(await self._workers(LIST_SECONDS), detail)

    async def workload(self, question: Question) -> Workload:
        """What there is to do. What only the RPC port tells is left out where that can't be used."""
        work, more, (submitted, unanswered), registered = await asyncio.gather(
            self._http.workload(), self._targets(question), self._last_submission(question), self._registered(question)
        )
        demand = replace(work.demand, patient=more[0], lasting=more[1]) if more else work.demand
        return replace(
            work, demand=demand, submitted=submitted, unanswered=unanswered, registered=registered, question=question
        )

    async def drain(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers take no more tasks; see `SchedulerRpc.drain`. Only planned where there is detail."""
        if self._rpc is None:
            raise SchedulerError("workers can be drained only where the scheduler's RPC port can be reached")
        return await self._rpc.drain(addresses)

    async def retire(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers' data moved to others and let them go; see `SchedulerClient.retire`."""
        try:
            return await self._http.retire(addresses)
        except SchedulerApiMissing:
            if self._rpc is None:
                raise
            return await self._rpc.retire(addresses)

    async def _detail(self, drained: Collection[str]) -> Detail | Unreachable | None:
        if self._rpc is None:
            return None
        try:
            return await self._rpc.detail(drained)
        except SchedulerRpcUnusable as error:
            logger.debug("going on without the RPC port: %s", error)
            return None
        except SchedulerError as error:
            logger.debug("no answer from the RPC port: %s", error)
            return Unreachable(str(error))

    async def _workers(self, seconds: float) -> tuple[Worker, ...]:
        try:
            return await self._http.workers(timeout=seconds)
        except SchedulerApiMissing:
            if self._rpc is None:
                raise
            return await self._rpc.workers()

    async def _registered(self, question: Question) -> tuple[Worker, ...] | None:
        if not question.registered:
            return None
        try:
            return await self._workers(WORKLOAD_SECONDS)
        except SchedulerError as error:
            logger.debug("going on without the list of workers: %s", error)
            return None

    async def _targets(self, question: Question) -> list[int] | None:
        if self._rpc is None or question.pace is None:
            return None
        pace = question.pace
        try:
            return await self._rpc.targets(pace.patience, pace.startup + pace.patience)
        except SchedulerError as error:
            logger.debug("going on without the RPC port: %s", error)
            return None

    async def _last_submission(self, question: Question) -> tuple[datetime | None, str | None]:
        """When it was, or why there is no answer: not the same as that there was none, where a Cluster is deleted."""
        if self._rpc is None or not question.submissions:
            return None, None
        try:
            return await self._rpc.last_submission(), None
        except SchedulerRpcUnusable as error:
            logger.debug("going on without the RPC port: %s", error)
            return None, None
        except SchedulerError as error:
            return None, str(error)
