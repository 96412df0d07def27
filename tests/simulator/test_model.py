"""The model of Dask beside a real scheduler that has the same workers, tasks and data."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from tests.dask.support import until
from tests.simulator.dask import MEMORY_LIMIT, Job, Scheduler, Task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DURATIONS = (5.0, 17.0, 60.0)
"""In seconds: over which the work is to be done."""

MIB = 1 << 20

pytestmark = pytest.mark.very_many_cases


class Pretended:
    """A result that takes so much memory, by what it says itself."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __sizeof__(self) -> int:
        return self._size


RELEASE = threading.Event()


def wait_for_release(_: int) -> None:
    RELEASE.wait()


class Real:
    """A real scheduler and its workers, none of which tells how long a task has been running."""

    def __init__(self, scheduler: Any, client: Any) -> None:
        self.scheduler = scheduler
        self.client = client
        self._workers: list[Any] = []

    async def join(self, count: int, *, threads: int) -> None:
        for number in range(count):
            worker = distributed.Worker(
                self.scheduler.address, name=number, host="127.0.0.1", nthreads=threads, memory_limit=MEMORY_LIMIT
            )
            self._workers.append(await worker)
            worker.periodic_callbacks["heartbeat"].stop()

    async def learn(self, seconds: float) -> None:
        """Have run a task of the kind that the others will be, that took so long."""
        await self.client.submit(int, key=("nap", "first"))
        self.scheduler.task_prefixes["nap"].duration_average = seconds

    async def submit(self, count: int) -> list[Any]:
        futures: list[Any] = self.client.map(wait_for_release, range(count), key=_keys(count))
        settled = {"processing", "queued", "no-worker"}
        tasks = self.scheduler.tasks
        await until(
            lambda: all(key in tasks and tasks[key].state in settled for key in _keys(count)),
            "the tasks are where they are to be",
        )
        return futures

    async def hold(self, sizes: list[int]) -> list[Any]:
        """Have data on one worker each, in their order."""
        return [
            await self.client.scatter(Pretended(size), workers=[worker.address], hash=False)
            for worker, size in zip(self._workers, sizes, strict=True)
            if size
        ]

    def targets(self) -> list[int]:
        return [self.scheduler.adaptive_target(target_duration=seconds) for seconds in DURATIONS]

    async def close(self) -> None:
        RELEASE.set()
        for worker in self._workers:
            await worker.close()


def _keys(count: int) -> list[tuple[str, int]]:
    return [("nap", number) for number in range(count)]


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    scheduler = distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0")
    async with scheduler, distributed.Client(scheduler.address, asynchronous=True) as client:
        RELEASE.clear()
        made = Real(scheduler, client)
        try:
            yield made
        finally:
            await made.close()


class Model:
    """The model of it, in a time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, Callable[[], None]]] = []
        self.scheduler = Scheduler(self._later, lambda: self.now)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._events.append((self.now + seconds, what))

    def join(self, count: int, *, threads: int) -> None:
        for name in range(count):
            self.scheduler.join(name, threads)

    def go_on(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while due := sorted((event for event in self._events if event[0] <= end), key=lambda event: event[0]):
            self._events.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = end

    def targets(self) -> list[int]:
        return [self.scheduler.adaptive_target(seconds) for seconds in DURATIONS]


@pytest.mark.parametrize("running_for", [None, 3.0, 40.0])
@pytest.mark.parametrize("known", [None, 0.3, 4.1])
@pytest.mark.parametrize(("size", "tasks"), [((3, 1), 2), ((3, 1), 5), ((2, 4), 9), ((2, 2), 333)])
async def test_asks_for_as_many_workers(
    real: Real, size: tuple[int, int], tasks: int, known: float | None, running_for: float | None
) -> None:
    workers, threads = size
    model = Model()
    model.join(workers, threads=threads)
    await real.join(workers, threads=threads)
    if known is not None:
        model.scheduler.submit(Job(0.0, (Task("nap", known),)))
        model.go_on(known)
        await real.learn(known)

    futures = await real.submit(tasks)
    model.scheduler.submit(Job(model.now, tuple(Task("nap", 1000.0) for _ in range(tasks))))
    if running_for is not None:
        model.go_on(running_for + 0.5)  # half a second after the last word of it
        real.scheduler.task_prefixes["nap"].add_exec_time(running_for)

    assert model.targets() == real.targets()
    assert model.scheduler.ready == len(futures)


@pytest.mark.parametrize("tasks", [1, 7, 99, 101, 640])
async def test_asks_for_as_many_where_there_are_none(real: Real, tasks: int) -> None:
    model = Model()
    model.scheduler.submit(Job(0.0, tuple(Task("nap", 1.0) for _ in range(tasks))))
    futures = await real.submit(tasks)
    assert model.targets() == real.targets()
    assert model.scheduler.queued == len(futures)


@pytest.mark.parametrize(
    "sizes",
    [
        [0, 0, 0],
        [100, 0, 0],
        [0, 300, 200],
        [400, 300, 200],
        [120, 110, 100],
        [700, 600, 650],
    ],
)
async def test_closes_the_same_workers_for_their_data(real: Real, sizes: list[int]) -> None:
    model = Model()
    model.join(len(sizes), threads=1)
    await real.join(len(sizes), threads=1)
    model.scheduler.submit(Job(0.0, tuple(Task("made", 1.0, size=size * MIB) for size in sizes), held=1000.0))
    model.go_on(1.0)
    futures = await real.hold([size * MIB for size in sizes])

    assert [worker.nbytes for worker in model.scheduler.workers.values()] == [size * MIB for size in sizes]
    assert model.targets() == real.targets()
    chosen = partial(real.scheduler.workers_to_close, attribute="name")
    # In which order those go that hold as much as each other is a matter of their addresses.
    if len(set(sizes)) == len(sizes):
        assert model.scheduler.workers_to_close() == chosen()
        assert model.scheduler.workers_to_close(n=2) == chosen(n=2)
    else:
        assert len(model.scheduler.workers_to_close()) == len(chosen())
    del futures


async def test_gives_each_worker_as_many_tasks(real: Real) -> None:
    model = Model()
    model.join(2, threads=4)
    await real.join(2, threads=4)
    futures = await real.submit(30)
    model.scheduler.submit(Job(0.0, tuple(Task("nap", 1.0) for _ in range(30))))
    given = [len(worker.processing) for worker in real.scheduler.workers.values()]
    assert [worker.processing for worker in model.scheduler.workers.values()] == given
    assert model.scheduler.queued == len(real.scheduler.queued)
    del futures
