"""A virtual time in which pods start and stop, and what a rule makes of it."""

from __future__ import annotations

import heapq
import itertools
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.simulator.dask import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.loads import Load


@dataclass(eq=False)
class Pod:
    """A worker pod.

    Attributes:
        name: its name and its worker's, a number as Dask's own clusters name their workers.
        created: when it was made.
        ready: when its worker registered.
        deleted: when it was gone.
    """

    name: int
    created: float
    ready: float | None = None
    deleted: float | None = None


class Rule(ABC):
    """Decides from time to time how many workers there are to be.

    Attributes:
        name: for the table.
        every: seconds from one look to the next.
    """

    name: str
    every: float

    @abstractmethod
    def look(self, world: World) -> None:
        """Look at the world, and change the number of its workers."""


@dataclass(eq=False)
class World:
    """The pods and the scheduler of one Dask cluster.

    Attributes:
        load: what is computed.
        now: the time, in seconds.
        pods: all that have ever been, the oldest first.
        live: those that are there and are not on their way out, the oldest first.
    """

    load: Load
    now: float = 0.0
    pods: list[Pod] = field(default_factory=list)
    live: list[Pod] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.later, lambda: self.now)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something done after so many seconds."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), what))

    def create(self, count: int) -> None:
        """Make pods."""
        for _ in range(count):
            pod = Pod(len(self.pods), self.now)
            self.pods.append(pod)
            self.live.append(pod)
            # The same for the same pod under each rule, so that none is lucky.
            dice = random.Random(pod.name)  # noqa: S311 (it is to be the same again)
            self.later(dice.uniform(*self.load.startup), partial(self._start, pod))

    def drop(self, pod: Pod) -> None:
        """Delete a pod that hasn't started."""
        self._delete(pod)

    def retire(self, pod: Pod) -> None:
        """Retire a worker as `Scheduler.retire_workers` does: at once, and what it computes begins anew elsewhere.

        The last one with data stays. (Forced out, as by Dask's own clusters, it would lose them.)
        """
        if self.scheduler.leave(pod.name):
            self._delete(pod)

    def drain(self, pod: Pod, patience: float = 60.0) -> None:
        """Retire a worker as this operator does: what it computes may finish first."""
        self.live.remove(pod)
        self.scheduler.drain(pod.name)
        self._let_go(pod, self.now + patience)

    def run(self, rule: Rule, *, until: float | None = None) -> None:
        """Go through the load.

        Args:
            rule: what makes and removes workers.
            until: the second to stop at; None: when all should be done and all workers gone (`Load.until`).
        """
        end = self.load.until if until is None else until
        for job in self.load.jobs:
            self.later(job.at, partial(self.scheduler.submit, job))
        self.later(0.0, lambda: self._tick(rule))
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    def _tick(self, rule: Rule) -> None:
        rule.look(self)
        self.later(rule.every, lambda: self._tick(rule))

    def _start(self, pod: Pod) -> None:
        if pod.deleted is None:
            pod.ready = self.now
            self.scheduler.join(pod.name, self.load.threads)

    def _let_go(self, pod: Pod, deadline: float) -> None:
        busy = bool(self.scheduler.workers[pod.name].executing)
        if (busy and self.now < deadline) or not self.scheduler.leave(pod.name):
            self.later(1.0, lambda: self._let_go(pod, deadline))
        else:
            self._delete(pod)

    def _delete(self, pod: Pod) -> None:
        pod.deleted = self.now
        if pod in self.live:
            self.live.remove(pod)
