"""The built-in autoscaler's decision: how many workers there should be, by what the scheduler asks for. Pure.

What has to be remembered between two looks stands in `status.workers.autoscale`, so a restart of the operator, or
another one that takes over, goes on where the last one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dask_k8s_operator.domain.snapshot import Pod

TARGET_DURATION = timedelta(seconds=5)
"""How soon Dask wants the work that there is to be done (`distributed.adaptive.target-duration`)."""

SHORTEST_HOLD = timedelta(seconds=15)
"""Where the spec sets no window, a falling target is held for as long as a worker takes to start, but this at least."""

LONGEST_HOLD = timedelta(seconds=300)

REMEMBERED = 5
"""How many levels are remembered. Fewer hold workers for a little longer than the window, and nothing else."""


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
class Demand:
    """What the scheduler asks for, in workers.

    Attributes:
        target: so many would have the work done within Dask's target duration (`Scheduler.adaptive_target`).
        patient: so many would have it done in the time that a new worker takes to start; None where that is not known.
    """

    target: int
    patient: int | None = None


@dataclass(frozen=True)
class Workforce:
    """What the pods say of how fast workers can be had.

    Attributes:
        ready: how many work.
        starting: for how long each of the others has been starting.
        startup: how long those that work took to start, half of them less; None where there are none.
    """

    ready: int
    starting: tuple[timedelta, ...] = ()
    startup: timedelta | None = None

    @classmethod
    def of(cls, pods: Iterable[Pod], now: datetime) -> Workforce:
        """Read it from the Cluster's worker pods."""
        live = [pod for pod in pods if pod.live]
        took = [pod.ready_since - pod.created for pod in live if pod.ready_since is not None]
        return cls(
            ready=sum(pod.ready for pod in live),
            starting=tuple(max(now - pod.created, timedelta(0)) for pod in live if not pod.ready),
            startup=timedelta(seconds=median(time.total_seconds() for time in took)) if took else None,
        )

    @property
    def longest_startup(self) -> timedelta:
        """How long starting one takes at the worst: as long as it did, or longer than any has been starting for."""
        return max([self.startup or timedelta(0), *self.starting], default=timedelta(0))

    def capacity(self, startup: timedelta) -> float:
        """The workers that there will be, on average, until one that is made now has started.

        One that has been starting for more than twice that time may never work, so it doesn't count.
        """
        return self.ready + sum(min(age / startup, 1.0) for age in self.starting if age <= 2 * startup)


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
        wanted: levels above them, the lowest and oldest first: since then, at least so many were asked for.
    """

    enough: tuple[Level, ...] = ()
    wanted: tuple[Level, ...] = ()

    def to_status(self) -> dict[str, Any]:
        """As it stands in the status."""
        return {
            name: [{"replicas": level.replicas, "since": level.since.isoformat()} for level in levels]
            for name, levels in (("enough", self.enough), ("wanted", self.wanted))
        }

    @classmethod
    def from_status(cls, status: Mapping[str, Any]) -> Memory:
        """Read it from the status."""
        return cls(*(_levels(status.get(name, ())) for name in ("enough", "wanted")))


@dataclass(frozen=True)
class Decision:
    """How many workers there should be from now on.

    Attributes:
        replicas: the number.
        reason: why, for a person.
        memory: what to remember.
    """

    replicas: int
    reason: str
    memory: Memory


def decide(
    spec: Autoscale, demand: Demand, workforce: Workforce, *, replicas: int, memory: Memory, now: datetime
) -> Decision:
    """Decide how many workers there should be.

    More are made as soon as they are asked for, unless they would come too late to help. Fewer are kept only once
    fewer have been enough at every look for the whole window. While tasks wait that the rest could not do within
    Dask's target duration, the scheduler asks for more than the rest, so none is removed.

    Args:
        spec: the bounds and windows.
        demand: what the scheduler says.
        workforce: what the pods say; those that start count as workers on their way.
        replicas: how many are wanted now (`spec.workers.replicas`), whoever wrote that.
        memory: what the last decision left.
        now: the time.
    """
    if not spec.minimum <= replicas <= spec.maximum:
        bounded = min(max(replicas, spec.minimum), spec.maximum)
        reason = f"spec.workers.autoscale allows {spec.minimum} to {spec.maximum} workers"
        return Decision(bounded, reason, Memory())
    need = min(max(_need(demand, workforce, replicas), spec.minimum), spec.maximum)
    if need > replicas:
        wanted = _follow(memory.wanted, need, now, refuted=lambda level: level > need)
        grown = max(_matured(wanted, spec.up_window, now), default=replicas)
        return Decision(
            replicas=grown,
            reason=f"the scheduler asks for {grown} workers{_for(spec.up_window)}",
            memory=Memory(wanted=_shortened(level for level in wanted if level.replicas > grown)),
        )
    if need < replicas:
        window = hold(spec, workforce)
        enough = _follow(memory.enough, need, now, refuted=lambda level: level < need)
        kept = min(_matured(enough, window, now), default=replicas)
        return Decision(
            replicas=kept,
            reason=f"the scheduler asks for no more than {kept} workers{_for(window)}",
            memory=Memory(enough=_shortened(level for level in enough if level.replicas < kept)),
        )
    return Decision(replicas, f"the scheduler asks for {replicas} workers", Memory())


def hold(spec: Autoscale, workforce: Workforce) -> timedelta:
    """For how long a falling target is held.

    Where the spec doesn't say: a worker that is kept idle for as long as another takes to start costs no more than
    removing it and making that one. Whatever comes later, no rule that can't see the future does better in the
    worst case than to wait just that long and then let go (it is the ski rental problem).
    """
    if spec.down_window is not None:
        return spec.down_window
    return min(max(workforce.longest_startup, SHORTEST_HOLD), LONGEST_HOLD)


def _need(demand: Demand, workforce: Workforce, replicas: int) -> int:
    """How many workers are of use: the target, but none that would come when the work is done.

    By the time that a new worker has started, those that there are will have done their part. What is left then
    is to be done within Dask's target duration, as Dask wants it of all work.
    """
    startup = workforce.startup
    if demand.patient is None or startup is None or demand.target <= replicas or startup <= TARGET_DURATION:
        return demand.target
    left = max(demand.patient - workforce.capacity(startup), 0.0) * (startup / TARGET_DURATION)
    return max(min(demand.target, math.ceil(left)), replicas)


def _follow(levels: Sequence[Level], need: int, now: datetime, *, refuted: Callable[[int], bool]) -> tuple[Level, ...]:
    """The levels that still hold, and what is needed now, since the first look that a level it refutes is from."""
    kept = [level for level in levels if not refuted(level.replicas)]
    since = levels[len(kept)].since if len(kept) < len(levels) else now
    if not kept or kept[-1].replicas != need:
        kept.append(Level(need, since))
    return tuple(kept)


def _shortened(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Without the last but one, where it is one too many: what that stood for comes about a little later."""
    every = list(levels)
    return (*every[: REMEMBERED - 1], *every[REMEMBERED - 1 :][-1:])


def _matured(levels: Iterable[Level], window: timedelta, now: datetime) -> list[int]:
    return [level.replicas for level in levels if now >= level.since + window]


def _for(window: timedelta) -> str:
    return f" for {window.total_seconds():.0f} s" if window else ""


def _levels(entries: Iterable[Mapping[str, Any]]) -> tuple[Level, ...]:
    return tuple(Level(entry["replicas"], datetime.fromisoformat(entry["since"])) for entry in entries)
