"""The built-in autoscaler's decision: how many workers there should be, by what the scheduler asks for. Pure.

What has to be remembered between two looks stands in `status.workers.autoscale`, so a restart of the operator, or
another one that takes over, goes on where the last one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median_high, median_low
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask_k8s_operator.domain.snapshot import Pod

TARGET_DURATION = timedelta(seconds=5)
"""How soon Dask wants the work that there is to be done (`distributed.adaptive.target-duration`)."""

PATIENCE = 0.75
"""How soon the work is to be done once new workers have started, in parts of the time that they take to start.

Dask's five seconds are for workers that start at once. Of those that take a minute, one for every five seconds of
work would mostly start and stop. The larger this number, the fewer workers are made, and the longer people wait;
`tests/simulator/tuning.py` tells how it and the next three were chosen.
"""

HOLD = 0.75
"""For how long a falling target is held where the spec doesn't say, in parts of the time that a worker takes to start.

The longer another takes to start, the longer it is worth while to keep one that has nothing to do.
"""

SHORTEST_HOLD = timedelta(seconds=3)

LONGEST_HOLD = timedelta(seconds=150)

LONGEST_STARTUP = timedelta(minutes=15)
"""What took longer waited for something, such as a node, that the next worker may not have to wait for."""

REMEMBERED = 5
"""How many levels are remembered beside the one decided.

Fewer hold workers for a little longer than the window, and nothing else.
"""


@dataclass(frozen=True)
class Autoscale:
    """`spec.workers.autoscale`.

    Attributes:
        minimum: so many workers stay, whatever the scheduler asks for.
        maximum: there are never more.
        up_window: for how long more workers must have been asked for before they are made.
        down_window: for how long fewer must have been enough before any goes; None: as long as one takes to start.
    """

    minimum: int
    maximum: int
    up_window: timedelta
    down_window: timedelta | None


@dataclass(frozen=True)
class Pace:
    """How workers start, as far as that is known.

    Attributes:
        startup: how long one takes to start.
        threads: how many tasks one computes at a time.
        workers: how many of them run in a pod.
    """

    startup: timedelta
    threads: int = 1
    workers: int = 1

    @property
    def patience(self) -> timedelta:
        """How soon work is to be done by workers that have started."""
        return max(self.startup * PATIENCE, TARGET_DURATION)


@dataclass(frozen=True)
class Demand:
    """How many workers the scheduler asks for (`Scheduler.adaptive_target`), over various times.

    While the scheduler has no workers, it doesn't know how many threads one has, and asks for threads.

    Attributes:
        target: so many would have the work done within Dask's target duration.
        patient: so many within `Pace.patience`; None where the scheduler couldn't be asked.
        lasting: so many within the time that a new worker takes to start, and then `Pace.patience`.
        threads: how many threads each of the scheduler's workers has, on average; None: unknown, or it has none.
    """

    target: int
    patient: int | None = None
    lasting: int | None = None
    threads: float | None = None


@dataclass(frozen=True)
class Workforce:
    """The pods.

    Attributes:
        ready: how many work.
        starting: for how long each of the others has been starting.
        startup: how long those that work took to start, half of them no longer; None where that isn't known of any.
        workers: how many Dask workers each of those that work has; None where that isn't known.
    """

    ready: int
    starting: tuple[timedelta, ...] = ()
    startup: timedelta | None = None
    workers: int | None = None

    @classmethod
    def of(
        cls, pods: Iterable[Pod], now: datetime, registered: Mapping[str, frozenset[str]] | None = None
    ) -> Workforce:
        """Read it from the Cluster's worker pods.

        Args:
            pods: the pods.
            now: the time.
            registered: the workers that the scheduler has of each, by the pod's uid. A pod without a readiness probe,
                which is one with a command of the user's own, is ready as soon as its shell has started. None: being
                ready has to do.
        """
        live = [pod for pod in pods if pod.live]
        working = [pod for pod in live if (pod.ready if registered is None else pod.uid in registered)]
        counts = [len(registered[pod.uid]) for pod in working] if registered is not None else []
        took = [pod.startup for pod in working if pod.startup is not None]
        return cls(
            ready=len(working),
            starting=tuple(max(now - pod.created, timedelta(0)) for pod in live if pod not in working),
            startup=median_low(took) if took else None,
            workers=median_high(counts) if counts else None,
        )

    def work_until(self, pace: Pace) -> timedelta:
        """How much they can compute until a worker that is made now has started and `Pace.patience` is over.

        A pod that has been starting for more than twice the usual time may never work, so it doesn't count.
        """
        late = 2 * pace.startup
        on_their_way = [min(age, pace.startup) + pace.patience for age in self.starting if age <= late]
        return sum(on_their_way, start=self.ready * (pace.startup + pace.patience))


@dataclass(frozen=True)
class Level:
    """A number of workers, and since when it has been enough (or, while more are asked for, since when it has not).

    Attributes:
        replicas: the number.
        since: when that was first seen, with no look at the scheduler since that said otherwise.
    """

    replicas: int
    since: datetime


@dataclass(frozen=True)
class Memory:
    """What is remembered from one look to the next.

    Attributes:
        enough: levels below the replicas, the highest and oldest first: since then, no more were asked for.
        wanted: levels above them, the lowest and oldest first: since then, at least so many were asked for. What was
            decided is among them until there are so many replicas: it may not have been written.
        replicas: how many were wanted at that look; None: there are no levels.
        pace: how workers started that may be gone by now.
    """

    enough: tuple[Level, ...] = ()
    wanted: tuple[Level, ...] = ()
    replicas: int | None = None
    pace: Pace | None = None

    def below(self, replicas: int) -> tuple[Level, ...]:
        """What has been enough; nothing where somebody has raised the number since, which lasts for the window."""
        if self.replicas is not None and replicas > self.replicas:
            return ()
        return tuple(level for level in self.enough if level.replicas < replicas)

    def above(self, replicas: int) -> tuple[Level, ...]:
        """What has been asked for."""
        return tuple(level for level in self.wanted if level.replicas > replicas)

    def learn(self, workforce: Workforce, threads: float | None) -> Memory:
        """Remember how those that work have started."""
        if workforce.startup is None:
            return self
        known = self.pace or Pace(workforce.startup)
        pace = Pace(
            startup=min(workforce.startup, LONGEST_STARTUP),
            threads=max(round(threads), 1) if threads else known.threads,
            workers=workforce.workers or known.workers,
        )
        return replace(self, pace=pace)

    def forget_levels(self) -> Memory:
        """What is left when nothing is known of the last looks."""
        return Memory(pace=self.pace)

    def to_status(self) -> dict[str, Any]:
        """As it stands in the status."""
        status: dict[str, Any] = {
            name: [{"replicas": level.replicas, "since": level.since.isoformat()} for level in levels]
            for name, levels in (("enough", self.enough), ("wanted", self.wanted))
            if levels
        }
        if self.replicas is not None:
            status["replicas"] = self.replicas
        if self.pace is not None:
            seconds = round(self.pace.startup.total_seconds())
            status |= {"startupSeconds": seconds, "threads": self.pace.threads, "workers": self.pace.workers}
        return status

    @classmethod
    def from_status(cls, status: Mapping[str, Any]) -> Memory:
        """Read it from the status."""
        startup = status.get("startupSeconds")
        return cls(
            enough=_levels(status.get("enough", ())),
            wanted=_levels(status.get("wanted", ())),
            replicas=status.get("replicas"),
            pace=None
            if startup is None
            else Pace(timedelta(seconds=startup), status.get("threads", 1), status.get("workers", 1)),
        )


@dataclass(frozen=True)
class Decision:
    """How many workers there should be from now on.

    Attributes:
        replicas: the number.
        reason: why, for a person.
        memory: what to remember.
        again: when the next level has lasted for its window, if nothing else is asked for until then.
    """

    replicas: int
    reason: str
    memory: Memory
    again: timedelta | None = None


def decide(
    spec: Autoscale, demand: Demand, workforce: Workforce, *, replicas: int, memory: Memory, now: datetime
) -> Decision:
    """Decide how many workers there should be.

    More are made as soon as they are asked for, as far as they would come early enough to help. Fewer are kept only
    once fewer have been enough at every look for the whole window. While tasks wait that the rest could not do
    within Dask's target duration, the scheduler asks for more than the rest, so none is removed.

    Args:
        spec: the bounds and windows.
        demand: what the scheduler says.
        workforce: what the pods say; those that start count as workers on their way.
        replicas: how many are wanted now (`spec.workers.replicas`), whoever wrote that.
        memory: what the last decision left, and `Memory.learn` made of it.
        now: the time.
    """
    rest = memory.forget_levels()
    if not spec.minimum <= replicas <= spec.maximum:
        bounded = min(max(replicas, spec.minimum), spec.maximum)
        return Decision(bounded, f"spec.workers.autoscale allows {spec.minimum} to {spec.maximum} workers", rest)
    need = min(max(_need(demand, workforce, memory.pace, replicas), spec.minimum), spec.maximum)
    if need > replicas:
        wanted = _follow(memory.above(replicas), need, now, refuted=lambda level: level > need)
        grown = max(_matured(wanted, spec.up_window, now), default=replicas)
        left = _left(wanted, grown, lambda level: level > grown) if spec.up_window else ()
        reason = f"the scheduler asks for {grown} workers{_for(spec.up_window)}"
        rest = replace(rest, wanted=left, replicas=replicas if left else None)
        return Decision(grown, reason, rest, _until(rest.above(grown), spec.up_window, now))
    if need < replicas:
        window = hold(spec, workforce, memory.pace)
        enough = _follow(memory.below(replicas), need, now, refuted=lambda level: level < need)
        kept = min(_matured(enough, window, now), default=replicas)
        left = _left(enough, kept, lambda level: level < kept) if window else ()
        reason = f"the scheduler asks for no more than {kept} workers{_for(window)}"
        rest = replace(rest, enough=left, replicas=replicas if left else None)
        return Decision(kept, reason, rest, _until(rest.below(kept), window, now))
    return Decision(replicas, f"the scheduler asks for {replicas} workers", rest)


def hold(spec: Autoscale, workforce: Workforce, pace: Pace | None) -> timedelta:
    """For how long a falling target is held."""
    if spec.down_window is not None:
        return spec.down_window
    startup = max([pace.startup if pace else timedelta(0), *workforce.starting])
    return min(max(startup * HOLD, SHORTEST_HOLD), LONGEST_HOLD)


def _need(demand: Demand, workforce: Workforce, pace: Pace | None, replicas: int) -> int:
    """How many pods are of use: the target's, but no more than have the work done soon after they have started.

    By the time that a new worker has started, those that there are will have done their part, and what is left may
    take for `Pace.patience`.
    """
    scale = workforce.workers or (pace.workers if pace else 1)
    if pace and demand.threads is None:
        scale *= pace.threads
    target = math.ceil(demand.target / scale)
    if pace is None or demand.patient is None or demand.lasting is None or target <= replicas:
        return target
    there = workforce.ready + len(workforce.starting)
    work = math.ceil(demand.lasting / scale) * (pace.startup + pace.patience)
    more = max(math.ceil((work - workforce.work_until(pace)) / pace.patience), 0)
    return max(min(target, math.ceil(demand.patient / scale), there + more), replicas)


def _follow(levels: Sequence[Level], need: int, now: datetime, *, refuted: Callable[[int], bool]) -> tuple[Level, ...]:
    """The levels that still hold, and what is needed now, since the first look that a level it refutes is from."""
    kept = [level for level in levels if not refuted(level.replicas)]
    since = levels[len(kept)].since if len(kept) < len(levels) else now
    if not kept or kept[-1].replicas != need:
        kept.append(Level(need, since))
    return tuple(kept)


def _left(levels: Sequence[Level], decided: int, beyond: Callable[[int], bool]) -> tuple[Level, ...]:
    """What was decided, until it is written, and what may be decided next.

    Of one level too many, the last but one is left out: what that stood for comes about a little later.
    """
    now = [level for level in levels if level.replicas == decided]
    later = [level for level in levels if beyond(level.replicas)]
    return (*now, *later[: REMEMBERED - 1], *later[REMEMBERED - 1 :][-1:])


def _matured(levels: Iterable[Level], window: timedelta, now: datetime) -> list[int]:
    return [level.replicas for level in levels if now >= level.since + window]


def _until(levels: Iterable[Level], window: timedelta, now: datetime) -> timedelta | None:
    return min((level.since + window - now for level in levels), default=None)


def _for(window: timedelta) -> str:
    return f" for {window.total_seconds():.0f} s" if window else ""


def _levels(entries: Iterable[Mapping[str, Any]]) -> tuple[Level, ...]:
    return tuple(Level(entry["replicas"], datetime.fromisoformat(entry["since"])) for entry in entries)
