"""A real scheduler with its HTTP API on, real workers and a client, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dask
import distributed

from dask_k8s_operator.clients.scheduler import HttpTransport, SchedulerClient
from dask_k8s_operator.domain.manifests import HTTP_ROUTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

PATIENCE_SECONDS = 120.0
"""How long to wait for anything that does come. Long, because the machine may be busy with other things."""

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")
"""Options of a scheduler or worker process of a test. The pages of the dashboard are slow to import."""


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until the condition, which may be a coroutine function, holds.

    Raises:
        AssertionError: it still doesn't after `PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, f"still not so: {what}"
        await asyncio.sleep(0.01)


async def never_ends(future: Any) -> None:
    """See that nothing runs a task, for long enough to tell it from one that is merely slow to start.

    Raises:
        AssertionError: it ended.
    """
    with contextlib.suppress(TimeoutError):
        await distributed.wait(future, timeout=1)
    assert future.status == "pending"


class Runs(distributed.SchedulerPlugin):  # type: ignore[misc]  # distributed publishes no types
    """Counts how often each task's result arrived in memory, by key."""

    def __init__(self) -> None:
        self.finished: Counter[str] = Counter()

    def transition(self, key: str, start: str, finish: str, *_: object, **__: object) -> None:
        if (start, finish) == ("processing", "memory"):
            self.finished[key] += 1


class Withholding(distributed.Worker):  # type: ignore[misc]  # distributed publishes no types
    """A worker that gives none of its data away until it is released."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.release = asyncio.Event()
        super().__init__(*args, **kwargs)

    async def get_data(self, comm: Any, *args: Any, **kwargs: Any) -> Any:
        await self.release.wait()
        return await super().get_data(comm, *args, **kwargs)


class Data:
    """Results that a client holds: scattered ones, which nothing can bring back, and computed ones."""

    def __init__(self, scattered: dict[str, Any], computed: list[Any]) -> None:
        self._scattered = scattered
        self._computed = computed

    async def lost(self, dask: LocalDask) -> list[str]:
        """The keys whose result is gone, or wrong, or was computed more than once."""
        scattered = self._scattered
        await until(lambda: all(f.status != "pending" for f in scattered.values()), "it is known what is lost")
        lost = [key for key, future in scattered.items() if future.status != "finished"]
        if lost:
            return lost
        values = await dask.client.gather(scattered)
        lost += [key for key, value in values.items() if value != _scattered_value(key)]
        lost += [
            future.key
            for number, future in enumerate(self._computed)
            if await future != number * number or dask.runs.finished[future.key] != 1
        ]
        return lost


class LocalDask:
    """A scheduler, and workers and a client as asked for, all in this event loop unless said otherwise."""

    def __init__(self, scheduler: Any, client: Any, http: httpx.AsyncClient, stack: contextlib.AsyncExitStack):
        self.scheduler = scheduler
        self.client = client
        self.base_url = f"http://127.0.0.1:{scheduler.http_server.port}"
        self.api = SchedulerClient(HttpTransport(http, self.base_url))
        self.runs = Runs()
        scheduler.add_plugin(self.runs)
        self._stack = stack

    async def worker(
        self, name: object, *, host: str = "127.0.0.1", kind: type[distributed.Worker] = distributed.Worker
    ) -> Any:
        """Start a worker in this event loop, and wait until the scheduler gives it tasks."""
        worker = kind(self.scheduler.address, name=name, host=host, nthreads=1, memory_limit=0)
        await self._stack.enter_async_context(worker)
        await self._runs(str(name))
        return worker

    async def worker_process(self, name: str) -> asyncio.subprocess.Process:
        """Start a worker as pods do, as a process without a nanny, and wait until the scheduler gives it tasks."""
        command = ["dask", "worker", "--no-nanny", "--name", name, "--nthreads", "1", *LOOPBACK]
        process = await start(self._stack, *command, self.scheduler.address)
        await self._runs(name)
        return process

    async def _runs(self, name: str) -> None:
        """Wait for a new worker: when it registers it is still starting, and says afterwards that it runs."""
        workers = self.scheduler.workers
        await until(
            lambda: any(str(w.name) == name and w.status is distributed.Status.running for w in workers.values()),
            f"worker {name} runs",
        )

    def address(self, name: str) -> str:
        """The address of the worker with this name, which is registered."""
        return str(self.scheduler.aliases[name])

    def status(self, address: str) -> str:
        """What the scheduler takes the worker's status to be."""
        return str(self.scheduler.workers[address].status.name)

    def refusals(self) -> list[str]:
        """The addresses of workers whose retirement the scheduler refused, in order."""
        events = [event for _, event in self.scheduler.get_events("all")]
        refused = [e["could-not-retire"] for e in events if e["action"] == "retire-workers"]
        return [address for addresses in refused for address in addresses]

    async def hold(self, *, count: int = 20) -> Data:
        """Have every worker hold results: as many scattered as computed ones."""
        values = {f"scattered-{i}": _scattered_value(f"scattered-{i}") for i in range(count)}
        scattered = await self.client.scatter(values)
        computed = self.client.map(_square, range(count), key=[f"computed-{i}" for i in range(count)])
        await distributed.wait(computed)
        return Data(scattered, computed)


@contextlib.asynccontextmanager
async def local_dask(http: httpx.AsyncClient, *, routes: tuple[str, ...] = HTTP_ROUTES) -> AsyncIterator[LocalDask]:
    """A scheduler with these HTTP routes and a client; takes away all workers at the end."""
    with dask.config.set({"distributed.scheduler.http.routes": list(routes)}):
        scheduler = distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(scheduler)
        client = await stack.enter_async_context(distributed.Client(scheduler.address, asynchronous=True))
        yield LocalDask(scheduler, client, http, stack)


@dataclass(frozen=True)
class FrozenScheduler:
    """A scheduler's process that was started and then stopped: its kernel accepts connections, nobody answers.

    Attributes:
        address: of its RPC port.
        base_url: of its HTTP server.
    """

    address: str
    base_url: str


@contextlib.contextmanager
def frozen_scheduler() -> Iterator[FrozenScheduler]:
    """Start a scheduler and freeze it; it is killed at the end."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "scheduler.json"
        options = ["--port=0", "--dashboard-address=127.0.0.1:0", f"--scheduler-file={file}", *LOOPBACK]
        process = subprocess.Popen([sys.executable, "-m", "dask", "scheduler", *options])  # noqa: S603 -- our own
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not file.exists() or not file.read_text().endswith("}"):
                assert time.monotonic() < deadline, "the scheduler hasn't started"
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            found = json.loads(file.read_text())
            yield FrozenScheduler(found["address"], f"http://127.0.0.1:{found['services']['dashboard']}")
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start(
    stack: contextlib.AsyncExitStack, *command: str, env: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a Python module as a process that is killed and waited for at the end, if it still runs then.

    Args:
        stack: what ends with the test.
        command: the module and its arguments.
        env: variables to add to the environment.
    """
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, env={**os.environ, **(env or {})})
    stack.push_async_callback(end, process)
    return process


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a process unless it has ended, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _square(number: int) -> int:
    return number * number


def _scattered_value(key: str) -> str:
    return key * 10
