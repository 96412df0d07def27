"""What a scheduler's HTTP API doesn't offer, over the port that workers and clients use.

Only plain values are sent and nothing is unpickled, so that the versions of Dask on both sides may differ
(`tests/dask/test_rpc.py` and `tests/dask/versions` pin what is used here).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from distributed.comm.addressing import parse_host_port
from distributed.core import rpc

from dask_k8s_operator.clients.scheduler import (
    LIST_SECONDS,
    RETIRE_SECONDS,
    WORKLOAD_SECONDS,
    SchedulerFailed,
    SchedulerUnreachable,
)
from dask_k8s_operator.domain.snapshot import Detail, Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import timedelta

CONNECT_SECONDS = 3.0
"""How long the kernel of the scheduler's node may take to take a connection."""

ASK_SECONDS = LIST_SECONDS
"""How long a question may take that the scheduler answers by itself; a busy one gets to it late."""

STACK_SECONDS = 3.0
"""How long the question for running tasks may take, which the scheduler passes on to workers: some may be frozen."""

SILENT_SECONDS = 10.0
"""Without a heartbeat for so long, a worker is taken for frozen. They come every half second, and every 5 s from very
many workers (`distributed.scheduler.heartbeat_interval`)."""


class SchedulerRpc:
    """What the operator asks of one scheduler by RPC.

    Every method raises `SchedulerUnreachable` when no answer came and `SchedulerFailed` when it was an error.
    """

    def __init__(self, address: str) -> None:
        """Prepare; connects with each call, because a scheduler may be another one by then.

        Args:
            address: such as `tcp://name-scheduler.namespace.svc:8786`.
        """
        self._address = address

    async def workers(self) -> tuple[Worker, ...]:
        """The workers that are registered now."""
        identity = await self._call(lambda scheduler: scheduler.identity())
        return tuple(Worker(str(worker["name"]), address) for address, worker in identity["workers"].items())

    async def detail(self, drained: Collection[str]) -> Detail:
        """What there is to know about the workers before some of them are retired.

        Args:
            drained: addresses of drained workers: only of them the running tasks are asked for.
        """
        identity, closable = await asyncio.gather(
            self._call(lambda scheduler: scheduler.identity()),
            self._call(lambda scheduler: scheduler.workers_to_close(target=0)),
        )
        workers = identity["workers"]
        return Detail(
            running=frozenset(address for address, worker in workers.items() if worker["status"] == "running"),
            executing=await self._executing({address: workers[address] for address in drained if address in workers}),
            held_bytes={address: _held(worker["metrics"]) for address, worker in workers.items()},
            closable=tuple(closable),
            silent=_silent(workers),
        )

    async def targets(self, *durations: timedelta) -> list[int]:
        """How many workers (threads, while there are none) would have the work done within each of these times."""

        async def ask(scheduler: Any) -> list[int]:
            return [int(await scheduler.adaptive_target(target_duration=time.total_seconds())) for time in durations]

        answer: list[int] = await self._call(ask, within=WORKLOAD_SECONDS)
        return answer

    async def last_submission(self) -> datetime | None:
        """When a graph of tasks was last submitted, by the scheduler's clock, as far as its log goes back.

        The log may have 100,000 entries (`distributed.admin.low-level-log-length`), so this isn't to be asked often.
        """
        log = await self._call(lambda scheduler: scheduler.events(topic="scheduler"), within=WORKLOAD_SECONDS)
        times = [time for time, entry in log if isinstance(entry, dict) and entry.get("action") == "update-graph"]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    async def drain(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers take no more tasks, and copy their data to others.

        Running tasks go on; what they return stays with the worker. There is no way back for a drained worker.

        Returns:
            The addresses that the answer lists. A missing one was refused or is unknown.
        """
        return frozenset(await self._retire(addresses, remove=False))

    async def retire(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers' data moved to others and let them go, as `SchedulerClient.retire` does."""
        return frozenset(await self._retire(addresses, remove=True))

    async def _retire(self, addresses: Collection[str], *, remove: bool) -> dict[str, Any]:
        if not addresses:
            raise ValueError("no addresses to retire")  # the scheduler would choose some by itself
        answer: dict[str, Any] = await self._call(
            lambda scheduler: scheduler.retire_workers(workers=sorted(addresses), remove=remove), within=RETIRE_SECONDS
        )
        return answer

    async def _executing(self, drained: dict[str, Any]) -> dict[str, int]:
        """How many tasks run on each of the workers.

        Their own count is up to a heartbeat old, so those that count none are asked for the stacks of the tasks
        that they have been given. The scheduler's list of these isn't enough: it has tasks, too, that a
        drained worker never starts. A worker that doesn't answer counts as busy.
        """
        counts = {address: _executing_by_heartbeat(worker["metrics"]) for address, worker in drained.items()}
        idle = [address for address, count in counts.items() if not count]
        if not idle:
            return counts
        given = await self._call(lambda scheduler: scheduler.processing())
        for address in idle:
            keys = list(given.get(address, ()))
            if keys:
                counts[address] = await self._stacks(address, keys)
        return counts

    async def _stacks(self, address: str, keys: list[Any]) -> int:
        try:
            stacks = await self._call(lambda scheduler: scheduler.call_stack(keys=keys), within=STACK_SECONDS)
        except (SchedulerUnreachable, SchedulerFailed):
            return len(keys)
        return len(stacks.get(address, ()))

    async def _call(self, ask: Callable[[Any], Awaitable[Any]], *, within: float = ASK_SECONDS) -> Any:
        try:
            await self._check_port()
            async with asyncio.timeout(within):
                async with rpc(self._address, deserialize=False, timeout=ASK_SECONDS) as scheduler:
                    return await ask(scheduler)
        except (OSError, TimeoutError) as error:
            raise SchedulerUnreachable(f"the scheduler can't be reached at {self._address}: {error!r}") from error
        except Exception as error:  # whatever the scheduler raised is raised here under a name of its own
            raise SchedulerFailed(f"the scheduler at {self._address} failed: {error!r}") from error

    async def _check_port(self) -> None:
        """Fail at once where nobody listens, for which Dask itself would wait as long as for a busy scheduler."""
        host, port = parse_host_port(self._address.partition("://")[2])
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()


def _executing_by_heartbeat(metrics: dict[str, Any]) -> int:
    counts = metrics.get("task_counts", metrics)  # before 2023.5 the counts stood among the metrics themselves
    return int(counts.get("executing", 0)) + int(counts.get("long-running", 0))


def _silent(workers: dict[str, Any]) -> frozenset[str]:
    # By the scheduler's clock, of which the newest heartbeat is the best that there is to know.
    now = max((float(worker["last_seen"]) for worker in workers.values()), default=0.0)
    return frozenset(a for a, worker in workers.items() if now - float(worker["last_seen"]) > SILENT_SECONDS)


def _held(metrics: dict[str, Any]) -> int:
    spilled = metrics.get("spilled_bytes") or metrics.get("spilled_nbytes") or {}
    return int(metrics.get("managed_bytes", 0)) + int(spilled.get("memory", 0))
