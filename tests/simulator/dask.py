"""A model of Dask's scheduler and its workers: who computes what when, and what the scheduler asks for.

Modelled as `distributed` 2026.8.0 does it: the queue and its saturation, the learning of task durations,
`Scheduler.adaptive_target` and `Scheduler.workers_to_close`. Not modelled: what it costs to move data, and on which
worker a task would find its own.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SATURATION = 1.1
"""How many tasks a worker is given for each of its threads (`distributed.scheduler.worker-saturation`)."""

UNKNOWN_SECONDS = 0.5
"""How long a task is thought to take before one of its kind has run (`unknown-task-duration`)."""

TARGET_SECONDS = 5.0
"""`distributed.adaptive.target-duration`."""

MEMORY_LIMIT = 1 << 30
"""Bytes that a worker may hold."""


@dataclass(frozen=True)
class Task:
    """A task of a job.

    Attributes:
        prefix: its kind: durations are learned for each.
        seconds: how long it takes.
        after: places in the job of the tasks that it waits for.
        size: bytes of its result.
    """

    prefix: str
    seconds: float
    after: tuple[int, ...] = ()
    size: int = 1000


@dataclass(frozen=True)
class Job:
    """What a client computes at one time.

    Attributes:
        at: when it is submitted, in seconds.
        tasks: in an order in which each comes after those that it waits for.
        held: for how many seconds the client holds the results.
    """

    at: float
    tasks: tuple[Task, ...]
    held: float = 0.0

    @property
    def work(self) -> float:
        """Seconds of computing in it."""
        return sum(task.seconds for task in self.tasks)


@dataclass
class _Prefix:
    count: int = 0  # in processing
    average: float = -1.0
    longest: float = -1.0

    @property
    def seconds(self) -> float:
        if self.average >= 0:
            return self.average
        return 2 * self.longest if self.longest > 0 else UNKNOWN_SECONDS

    def running_for(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        if seconds > 2 * self.average:
            self.average = -1

    def took(self, seconds: float) -> None:
        self.average = seconds if self.average < 0 else 0.5 * seconds + 0.5 * self.average


@dataclass(eq=False)
class _Running:
    """A job under way."""

    job: Job
    open: list[int]  # how many tasks each still waits for
    followers: list[list[int]]
    left: int


@dataclass(eq=False)
class Work:
    """A task of a job that has been submitted."""

    run: _Running
    place: int
    prefix: _Prefix
    began: float = 0.0

    @property
    def task(self) -> Task:
        """What there is to do."""
        return self.run.job.tasks[self.place]


@dataclass(eq=False)
class Worker:
    """A registered worker.

    Attributes:
        name: as its pod's.
        threads: how many tasks it computes at a time.
        executing: what it computes, in the order in which it began.
        waiting: what it was given besides.
        draining: it gets no more.
        holds: bytes for each job whose results it has.
    """

    name: int
    threads: int
    executing: dict[Work, None] = field(default_factory=dict)
    waiting: deque[Work] = field(default_factory=deque)
    draining: bool = False
    holds: dict[_Running, int] = field(default_factory=dict)

    @property
    def processing(self) -> int:
        """How many tasks it has been given that are not done."""
        return len(self.executing) + len(self.waiting)

    @property
    def nbytes(self) -> int:
        """How much data it holds."""
        return sum(self.holds.values())

    @property
    def free(self) -> int:
        """How many more tasks it may be given."""
        return 0 if self.draining else max(math.ceil(SATURATION * self.threads), 1) - self.processing


class Scheduler:
    """Gives tasks to workers.

    Attributes:
        workers: by name.
        worked: seconds of computing that led to results.
        rerun: how many tasks were cut short and begin anew.
        done: when each job was done, by its place in the order of submission.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], None], now: Callable[[], float]) -> None:
        """Make one without workers.

        Args:
            later: has something done after so many seconds.
            now: the time, in seconds.
        """
        self._later = later
        self._now = now
        self._queued: deque[Work] = deque()
        self._prefixes: dict[str, _Prefix] = {}
        self._submitted: list[_Running] = []
        self.workers: dict[int, Worker] = {}
        self.worked = 0.0
        self.rerun = 0
        self.done: dict[int, float] = {}

    def submit(self, job: Job) -> None:
        """Begin with a job."""
        followers: list[list[int]] = [[] for _ in job.tasks]
        for place, task in enumerate(job.tasks):
            for other in task.after:
                followers[other].append(place)
        run = _Running(job, [len(task.after) for task in job.tasks], followers, len(job.tasks))
        self._submitted.append(run)
        self._enqueue(run, [place for place, missing in enumerate(run.open) if missing == 0])

    def join(self, name: int, threads: int) -> None:
        """Have a new worker."""
        self.workers[name] = Worker(name, threads)
        self._assign()

    def drain(self, name: int) -> None:
        """Give a worker no more tasks, and those that it hasn't begun to others."""
        worker = self.workers[name]
        worker.draining = True
        self._give_back(worker, worker.waiting)
        self._assign()

    def leave(self, name: int) -> bool:
        """Have a worker's data moved and let it go; tells whether somebody could take the data."""
        worker = self.workers[name]
        heirs = [other for other in self.workers.values() if other is not worker and not other.draining]
        if worker.holds and not heirs:
            return False
        for run, size in worker.holds.items():
            heir = min(heirs, key=lambda other: other.nbytes)
            heir.holds[run] = heir.holds.get(run, 0) + size
        del self.workers[name]
        self.rerun += len(worker.executing)
        self._give_back(worker, [*worker.executing, *worker.waiting])
        worker.executing.clear()
        self._assign()
        return True

    @property
    def ready(self) -> int:
        """How many tasks could be computed now or are."""
        return len(self._queued) + sum(worker.processing for worker in self.workers.values())

    @property
    def queued(self) -> int:
        """How many tasks no worker could be given."""
        return len(self._queued)

    def adaptive_target(self, seconds: float = TARGET_SECONDS) -> int:
        """`Scheduler.adaptive_target`: how many workers would have the work done within so many seconds."""
        self._hear_heartbeats()
        occupancy = math.fsum(prefix.count * prefix.seconds for prefix in self._prefixes.values())
        first = list(itertools.islice(self._queued, 100))
        waiting = math.fsum(work.prefix.seconds for work in first) * max(len(self._queued) / 100, 1.0)
        cpu = min(math.ceil((occupancy + waiting) / seconds), self.ready)
        count = len(self.workers)
        if count:
            cpu = math.ceil(cpu / sum(worker.threads for worker in self.workers.values()) * count)
        used = sum(worker.nbytes for worker in self.workers.values())
        target = max(2 * count if used > 0.6 * count * MEMORY_LIMIT else 0, cpu)
        return target if target >= count else count - len(self.workers_to_close())

    def workers_to_close(self, n: int | None = None) -> list[int]:
        """`Scheduler.workers_to_close`: whom it would close, of all that are idle, or of all if `n` says how many."""
        workers = list(self.workers.values())
        if not n and all(worker.processing for worker in workers):
            return []
        ranked = sorted(workers, key=lambda worker: (not worker.processing, -worker.nbytes))
        limit, total = len(workers) * MEMORY_LIMIT, sum(worker.nbytes for worker in workers)
        close: list[int] = []
        for worker in reversed(ranked):
            if n is None and worker.processing:
                break
            limit -= MEMORY_LIMIT
            if (n is not None and len(close) < n) or (n is None and limit >= 2 * total):
                close.append(worker.name)
            else:
                break
        return close

    def _enqueue(self, run: _Running, places: Iterable[int]) -> None:
        for place in places:
            prefix = self._prefixes.setdefault(run.job.tasks[place].prefix, _Prefix())
            self._queued.append(Work(run, place, prefix))
        self._assign()

    def _give_back(self, worker: Worker, works: Iterable[Work]) -> None:
        for work in list(works):
            work.prefix.count -= 1
            self._queued.appendleft(Work(work.run, work.place, work.prefix))
        worker.waiting.clear()

    def _assign(self) -> None:
        free = sorted((w for w in self.workers.values() if w.free > 0), key=lambda w: w.processing / w.threads)
        while self._queued and free:
            for worker in free:
                if self._queued and worker.free > 0:
                    work = self._queued.popleft()
                    work.prefix.count += 1
                    worker.waiting.append(work)
                    self._execute(worker)
            free = [worker for worker in free if worker.free > 0]
        if not self._queued:
            self._steal(free)

    def _steal(self, free: list[Worker]) -> None:
        victims = [worker for worker in self.workers.values() if worker.waiting]
        for thief in free:
            while victims and len(thief.executing) < thief.threads:
                thief.waiting.append(victims[-1].waiting.pop())
                self._execute(thief)
                if not victims[-1].waiting:
                    victims.pop()

    def _execute(self, worker: Worker) -> None:
        while worker.waiting and len(worker.executing) < worker.threads:
            work = worker.waiting.popleft()
            work.began = self._now()
            worker.executing[work] = None
            self._later(work.task.seconds, partial(self._finish, worker, work))

    def _finish(self, worker: Worker, work: Work) -> None:
        if work not in worker.executing:
            return  # its worker left before
        del worker.executing[work]
        task, run = work.task, work.run
        work.prefix.count -= 1
        work.prefix.took(task.seconds)
        self.worked += task.seconds
        worker.holds[run] = worker.holds.get(run, 0) + task.size
        run.left -= 1
        if run.left == 0:
            self.done[self._submitted.index(run)] = self._now()
            self._later(run.job.held, lambda: self._release(run))
        follow = run.followers[work.place]
        for place in follow:
            run.open[place] -= 1
        self._execute(worker)
        self._enqueue(run, [place for place in follow if run.open[place] == 0])

    def _release(self, run: _Running) -> None:
        for worker in self.workers.values():
            worker.holds.pop(run, None)

    def _hear_heartbeats(self) -> None:
        for worker in self.workers.values():
            for work in worker.executing:
                # Workers tell every half second, or more seldom where there are many of them.
                work.prefix.running_for(max(self._now() - work.began - 0.5, 0.0))
