"""One scale-down as the proxy sees it: the requests so far, and the incident that one of them sets off."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from integration.crash_sweep.incidents import (
    Fault,
    HeldOpen,
    Incident,
    LateEvents,
    LostEvents,
    StaleReads,
    Start,
    Struck,
)
from integration.crash_sweep.kinds import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Answer:
    """A complete answer of an HTTP server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Seen:
    """A request, and when it came, in seconds since the run began."""

    seconds: float
    request: Request


class Run:
    """Counts requests, and says what is to become of each. For the proxy's thread, once it has begun.

    Attributes:
        seen: the requests so far.
        met: whether the incident has come about.
    """

    def __init__(
        self,
        incident: Incident | None,
        *,
        past: Mapping[str, Answer],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            incident: what is to happen; None for a calm run.
            past: the answers to reads as of now, by path and query.
            clock: seconds.
        """
        self.seen: list[Seen] = []
        self.met = isinstance(incident, Start)
        self._incident = incident
        self._past = dict(past)
        self._clock = clock
        self._began = clock()
        self._counts: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._stale_until: float | None = None
        self._told_since: dict[str, float] = {}

    def arrives(self, kind: str, latest: Mapping[str, Answer]) -> Fault | None:
        """Count a request; gives the fault that it is to meet.

        Args:
            kind: of the request.
            latest: what reads were answered last, by path and query.
        """
        self._counts[kind] += 1
        request = Request(kind, self._counts[kind])
        self.seen.append(Seen(self._clock() - self._began, request))
        match self._incident:
            case Struck(request=struck, fault=fault) if struck == request:
                self.met = True
                return fault
            case HeldOpen(request=held, fault=fault) if held == request:
                return fault
            case StaleReads(since=since, from_start=from_start, seconds=seconds) if since == request:
                if not from_start:
                    self._past = dict(latest)
                self._stale_until = self._clock() + seconds
        return None

    def lost_while_held(self) -> None:
        """The request that was to be held open was, and the operator has lost it."""
        self.met = True

    def stale_answer(self, resource: str, read: str) -> Answer | None:
        """The answer from the past, where reads of this resource are to have that now.

        Args:
            resource: such as `pods`.
            read: its path and query.
        """
        if not isinstance(self._incident, StaleReads) or resource not in self._incident.resources:
            return None
        if self._stale_until is None or self._clock() > self._stale_until or (answer := self._past.get(read)) is None:
            return None
        self.met = True
        return answer

    def event_delay(self, resource: str, version: str) -> float:
        """How many seconds an event is to be held back.

        Operators end watches of which they hear nothing and begin them anew, and are told of the same again then.

        Args:
            resource: of which it is.
            version: the `resourceVersion`, by which it is known again.
        """
        match self._incident:
            case LateEvents(resources=late, seconds=seconds) if resource in late:
                self.met = True
                now = self._clock()
                return max(self._told_since.setdefault(version, now) + seconds - now, 0.0)
            case StaleReads(resources=stale) if resource in stale and self._stale_until is not None:
                return max(self._stale_until - self._clock(), 0.0)
        return 0.0

    def loses_event(self, resource: str, kind: str) -> bool:
        """Whether this event is to be dropped."""
        self._events[resource] += 1
        lost = (
            isinstance(self._incident, LostEvents)
            and resource in self._incident.resources
            and kind in self._incident.types
            and self._events[resource] > self._incident.first_seen
        )
        self.met = self.met or lost
        return lost
