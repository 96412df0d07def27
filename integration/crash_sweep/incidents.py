"""What can befall a run, and which of it a sweep has to try, given the requests of a calm run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from integration.crash_sweep.kinds import Request, asks_scheduler, changes_something

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Fault(Enum):
    """What befalls one request."""

    KILLED_BEFORE = "operator killed before it is passed on"
    KILLED_AFTER = "operator killed after it was answered"
    NO_ANSWER = "carried out, but the answer is lost"
    NOT_DONE = "500, or by RPC a closed connection, not carried out"
    CONFLICT = "409, not carried out"


@dataclass(frozen=True)
class Struck:
    """A request meets a fault: intermediate states."""

    request: Request
    fault: Fault

    def __str__(self) -> str:
        return f"{self.request}: {self.fault.value}"


@dataclass(frozen=True)
class StaleReads:
    """From a request on, the API server is behind for a while: stale states.

    It answers reads from the past, and so it can't tell of events either before that is over. (An operator that gets
    the events in time, from a server that isn't behind, but reads nothing new, is told of nothing afterwards: it only
    goes on when it looks again anyway, which takes minutes.)

    Attributes:
        since: the request that is passed on when it begins.
        resources: whose reads: `pods`, `clusters` and so on.
        from_start: the past is the moment before the scale-down; else what was read last before `since`.
    """

    since: Request
    resources: frozenset[str]
    from_start: bool

    def __str__(self) -> str:
        past = "before the scale-down" if self.from_start else "just before it"
        return f"{self.since}: from then on reads of {_listed(self.resources)} tell how it was {past}"


@dataclass(frozen=True)
class LateEvents:
    """The events of these resources come late, each by the same time: stale states."""

    resources: frozenset[str]

    def __str__(self) -> str:
        return f"events of {_listed(self.resources)} come late"


@dataclass(frozen=True)
class LostEvents:
    """Events that never arrive: unobserved states.

    Attributes:
        resources: of what.
        types: of which types, such as `MODIFIED`.
        first_seen: so many of each resource's events arrive before.
    """

    resources: frozenset[str]
    types: frozenset[str]
    first_seen: int

    def __str__(self) -> str:
        after = f" after the first {self.first_seen}" if self.first_seen else ""
        return f"{_listed(self.types)} events of {_listed(self.resources)} are lost{after}"


Incident = Struck | StaleReads | LateEvents | LostEvents

PODS, CLUSTERS = frozenset({"pods"}), frozenset({"clusters"})
ALL = frozenset({"pods", "clusters", "deployments", "services"})
TYPES = frozenset({"ADDED", "MODIFIED", "DELETED"})


def all_incidents(requests: Sequence[Request]) -> list[Incident]:
    """Everything that a sweep over these requests tries."""
    return [*strikes(requests), *stale_reads(requests), *watch_troubles()]


def strikes(requests: Iterable[Request]) -> list[Struck]:
    """Each request with each fault that it can meet."""
    return [Struck(request, fault) for request in requests for fault in _faults(request)]


def stale_reads(requests: Iterable[Request]) -> list[StaleReads]:
    """Reads from the past from each change on."""
    return [
        StaleReads(since, resources, from_start=from_start)
        for since in requests
        if changes_something(since.kind)
        for resources in (ALL, PODS, CLUSTERS)
        for from_start in (False, True)
    ]


def watch_troubles() -> list[LateEvents | LostEvents]:
    """Events that come late or never.

    The one that tells of the scale-down itself always arrives: without it, nothing would happen until the Cluster is
    looked at again anyway, which takes minutes.
    """
    return [
        LateEvents(ALL),
        LateEvents(PODS),
        LostEvents(PODS, TYPES, first_seen=0),
        *(LostEvents(PODS, frozenset({one}), first_seen=0) for one in ("MODIFIED", "DELETED")),
        LostEvents(CLUSTERS, TYPES, first_seen=1),
        LostEvents(PODS | CLUSTERS, TYPES, first_seen=1),
    ]


def sample(requests: Sequence[Request]) -> list[Incident]:
    """Few incidents with every kind of request and every kind of incident among them.

    What changes something is struck twice: the operator is killed before it and after it. Of the reads, which are all
    alike, each kind meets one fault, and each fault one kind.
    """
    first_of_kind = sorted({request.kind: request for request in reversed(requests)}.values(), key=str)
    chosen: list[Incident] = []
    for number, request in enumerate(first_of_kind):
        faults = _faults(request)
        if changes_something(request.kind):
            chosen += [Struck(request, Fault.KILLED_BEFORE), Struck(request, Fault.KILLED_AFTER)]
            chosen.append(Struck(request, faults[2 + number % (len(faults) - 2)]))
        else:
            chosen.append(Struck(request, faults[number % len(faults)]))
    stale = stale_reads(requests)
    return [*chosen, *stale[:1], *stale[-1:], LateEvents(PODS), LostEvents(PODS, TYPES, first_seen=0)]


def _faults(request: Request) -> list[Fault]:
    """Those that a request can meet: a scheduler knows no conflicts."""
    return [fault for fault in Fault if fault is not Fault.CONFLICT or not asks_scheduler(request.kind)]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
