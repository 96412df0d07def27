"""What a scheduler's HTTP API doesn't offer, over the port that workers and clients use.

Only plain values are sent and nothing is unpickled, so that the versions of Dask on both sides may differ
(`tests/dask/test_rpc.py` and `tests/dask/versions` pin what is used here).
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed.comm import CommClosedError, connect
from distributed.comm.addressing import parse_host_port
from distributed.core import send_recv

from dask_k8s_operator.clients.scheduler import (
    LIST_SECONDS,
    RETIRE_SECONDS,
    WORKLOAD_SECONDS,
    SchedulerFailed,
    SchedulerUnreachable,
)
from dask_k8s_operator.domain.snapshot import Detail, Worker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import timedelta

CONNECT_SECONDS = 3.0
"""How long the kernel of the scheduler's node may take to take a connection."""

ASK_SECONDS = LIST_SECONDS
"""How long a question may take that the scheduler answers by itself; a busy one gets to it late."""

STACK_SECONDS = 3.0
"""How long the question for running tasks may take, which the scheduler passes on to workers: some may be frozen."""

STACKS_AT_A_TIME = 16
"""So many workers are asked for their running tasks at a time, each over a connection of its own."""

SILENT_SECONDS = 10.0
"""Without a heartbeat for so long, a worker is taken for frozen. They come every half second, and every 5 s from very
many workers (`distributed.scheduler.heartbeat_interval`)."""


class SchedulerRpcUnusable(SchedulerUnreachable):
    """Nobody listens at the port, or somebody who hangs up at the greeting, as one who expects TLS does."""


class SchedulerRpc:
    """What the operator asks of one scheduler by RPC.

    Every method raises `SchedulerUnreachable` when no answer came (`SchedulerRpcUnusable` where none will) and
    `SchedulerFailed` when it was an error, or makes no sense.
    """

    def __init__(self, address: str) -> None:
        """Prepare; connects with each call, because a scheduler may be another one by then.

        Args:
            address: such as `tcp://name-scheduler.namespace.svc:8786`.
        """
        self._address = address

    async def workers(self) -> tuple[Worker, ...]:
        """The workers that are registered now."""
        identity = await self._ask("identity")
        with self._understanding("identity"):
            return tuple(Worker(str(worker["name"]), address) for address, worker in identity["workers"].items())

    async def detail(self, drained: Collection[str]) -> Detail:
        """What there is to know about the workers before some of them are retired.

        Args:
            drained: addresses of drained workers: only of them the running tasks are asked for.
        """
        identity, closable = await asyncio.gather(self._ask("identity"), self._ask("workers_to_close", target=0))
        with self._understanding("identity or workers_to_close"):
            workers = identity["workers"]
            running = frozenset(address for address, worker in workers.items() if worker["status"] == "running")
            held_bytes = {a: held for a, w in workers.items() if (held := _held(w["metrics"])) is not None}
            counts = {a: _executing_by_heartbeat(workers[a]["metrics"]) for a in drained if a in workers}
            closable, silent = tuple(closable), _silent(workers)
        return Detail(
            running=running,
            executing=await self._executing(counts),
            held_bytes=held_bytes,
            closable=closable,
            silent=silent,
        )

    async def targets(self, *durations: timedelta) -> list[int]:
        """How many workers (threads, while there are none) would have the work done within each of these times."""
        ask = partial(self._ask, "adaptive_target", within=WORKLOAD_SECONDS)
        answers = await asyncio.gather(*(ask(target_duration=time.total_seconds()) for time in durations))
        with self._understanding("adaptive_target"):
            return [int(answer) for answer in answers]

    async def last_submission(self) -> datetime | None:
        """When a graph of tasks was last submitted, by the scheduler's clock, as far as its log goes back.

        The log may have 100,000 entries (`distributed.admin.low-level-log-length`), so this isn't to be asked often.
        """
        times: list[float] = []
        # Old schedulers (2022.5.1 is one) tell it elsewhere, and only of graphs of several tasks.
        for topic, action in {"scheduler": "update-graph", "all": "update_graph"}.items():
            if not times:
                log = await self._ask("events", topic=topic, within=WORKLOAD_SECONDS)
                with self._understanding("events"):
                    times = [when for when, entry in log if isinstance(entry, dict) and entry.get("action") == action]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    async def drain(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers take no more tasks, and copy their data to others.

        Running tasks go on; what they return stays with the worker. There is no way back for a drained worker.

        Returns:
            The addresses that the answer lists. A missing one was refused or is unknown.

        Raises:
            ValueError: no addresses. A scheduler would choose workers by itself.
        """
        return await self._retire(addresses, remove=False)

    async def retire(self, addresses: Collection[str]) -> frozenset[str]:
        """Have the workers' data moved to others and let them go, as `SchedulerClient.retire` does."""
        return await self._retire(addresses, remove=True)

    async def _retire(self, addresses: Collection[str], *, remove: bool) -> frozenset[str]:
        if not addresses:
            raise ValueError("no addresses to retire")
        answer = await self._ask("retire_workers", workers=sorted(addresses), remove=remove, within=RETIRE_SECONDS)
        with self._understanding("retire_workers"):
            return frozenset(answer)

    async def _executing(self, counts: dict[str, int]) -> dict[str, int]:
        """How many tasks run on each of some drained workers.

        Their own count is up to a heartbeat old, so those that count none are asked for the stacks of the tasks
        that they have been given. The scheduler's list of these isn't enough: it has tasks, too, that a
        drained worker never starts. A worker that doesn't answer counts as busy.

        Args:
            counts: by heartbeat.
        """
        idle = [address for address, count in counts.items() if not count]
        if not idle:
            return counts
        given = await self._ask("processing")
        with self._understanding("processing"):
            keys = {address: list(given.get(address, ())) for address in idle}
        slots, asked = asyncio.Semaphore(STACKS_AT_A_TIME), [address for address in idle if keys[address]]
        found = await asyncio.gather(*(self._stacks(address, keys[address], slots) for address in asked))
        return counts | dict(zip(asked, found, strict=True))

    async def _stacks(self, address: str, keys: list[Any], slots: asyncio.Semaphore) -> int:
        try:
            async with slots:
                stacks = await self._ask("call_stack", keys=keys, within=STACK_SECONDS)
        except (SchedulerUnreachable, SchedulerFailed):
            return len(keys)
        with self._understanding("call_stack"):
            return len(stacks.get(address, ()))

    async def _ask(self, operation: str, *, within: float | None = None, **arguments: object) -> Any:
        """Have the scheduler do something.

        Args:
            operation: the name of what it does.
            within: seconds until it must have answered; `ASK_SECONDS` where it isn't given. It must have answered the
                handshake within `ASK_SECONDS` in any case: Dask has no limit of its own for that.
            arguments: the operation's.
        """
        comm = None
        try:
            await self._check_port()
            async with asyncio.timeout(ASK_SECONDS if within is None else within):
                async with asyncio.timeout(ASK_SECONDS):
                    comm = await connect(self._address, timeout=ASK_SECONDS, deserialize=False)
                return await send_recv(comm, op=operation, **arguments)
        except (OSError, TimeoutError) as error:
            turned_away = comm is None and isinstance(error, ConnectionRefusedError | CommClosedError)
            kind = SchedulerRpcUnusable if turned_away else SchedulerUnreachable
            raise kind(f"the scheduler can't be reached at {self._address}: {error!r}") from error
        except Exception as error:  # whatever the scheduler raised is raised here under a name of its own
            raise SchedulerFailed(f"the scheduler at {self._address} failed at {operation}: {error!r}") from error
        finally:
            if comm is not None:
                comm.abort()  # not `close`, which waits for the other side

    async def _check_port(self) -> None:
        """Fail at once where nobody listens, for which Dask itself would wait as long as for a busy scheduler."""
        host, port = parse_host_port(self._address.partition("://")[2])
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()

    @contextmanager
    def _understanding(self, operation: str) -> Iterator[None]:
        """Make an error of what can't be read in the answer to an operation."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SchedulerFailed(
                f"the answer of the scheduler at {self._address} to {operation} can't be understood: {error!r}"
            ) from error


def _executing_by_heartbeat(metrics: dict[str, Any]) -> int:
    counts = metrics.get("task_counts", metrics)  # before 2023.5 the counts stood among the metrics themselves
    return int(counts.get("executing", 0)) + int(counts.get("long-running", 0))


def _silent(workers: dict[str, Any]) -> frozenset[str]:
    # By the scheduler's clock, of which the newest heartbeat is the best that there is to know.
    now = max((float(worker["last_seen"]) for worker in workers.values()), default=0.0)
    return frozenset(a for a, worker in workers.items() if now - float(worker["last_seen"]) > SILENT_SECONDS)


def _held(metrics: dict[str, Any]) -> int | None:
    """How much data a worker holds; None where it is too old to tell (2022.5.1 is)."""
    if "managed_bytes" not in metrics:
        return None
    spilled = metrics.get("spilled_bytes") or metrics.get("spilled_nbytes") or {}
    return int(metrics["managed_bytes"]) + int(spilled.get("memory", 0))
