"""What can befall a run, and which of it a sweep has to try, given the requests of a calm run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.planner import RESYNC
from integration.crash_sweep.kinds import Request, asks_scheduler, changes_something, reads, resource_of

if TYPE_CHECKING:
    from collections.abc import Iterable


SHORT = 6.0
"""Seconds by which the API server is behind: longer than the operator waits between two looks at those that go."""

MINUTES = 120.0
"""Seconds, for some: API servers and their watches have been that late. All of them that late would take hours."""


class Fault(Enum):
    """What befalls one request."""

    KILLED_BEFORE = "operator killed before it is passed on"
    KILLED_AFTER = "operator killed after it was answered"
    NO_ANSWER = "carried out, but the answer is lost"
    NOT_DONE = "500, or by RPC a closed connection, not carried out"
    CONFLICT = "409, not carried out"
    KILLED_DURING = "operator killed while the scheduler is at it"
    CUT_OFF = "connection broken while the scheduler is at it"


@dataclass(frozen=True)
class Struck:
    """A request meets a fault: intermediate states."""

    request: Request
    fault: Fault

    def __str__(self) -> str:
        return f"{self.request}: {self.fault.value}"


@dataclass(frozen=True)
class Start:
    """An operator that has to get the Lease first starts with the scale-down, and nothing else happens."""

    def __str__(self) -> str:
        return "start of an operator"


@dataclass(frozen=True)
class StruckAtStart(Struck):
    """As `Struck`, in a run that begins as `Start` does."""

    def __str__(self) -> str:
        return f"at its start, {super().__str__()}"


@dataclass(frozen=True)
class HeldOpen:
    """A request to drain or retire takes long, as its worker is frozen, and the operator loses it: intermediate states.

    Further workers are to go then, while the scheduler is at what nobody waits for any more.

    Attributes:
        request: the one that takes long.
        fault: by which the operator loses it.
        frozen: how many seconds the worker stays frozen after that.
    """

    request: Request
    fault: Fault
    frozen: float

    def __str__(self) -> str:
        return f"{self.request}, held open: {self.fault.value}, for {self.frozen:g} s more"


@dataclass(frozen=True)
class StaleReads:
    """From a request on, the API server is behind for a while: stale states.

    It answers reads from the past, and so it can't tell of events either before that is over. (An operator that was
    told of everything before, by a server that wasn't behind, is told of nothing afterwards: it only goes on when it
    looks again anyway, which takes minutes.)

    Attributes:
        since: the request that is passed on when it begins.
        resources: whose reads: `pods`, `clusters` and so on.
        from_start: the past is the moment before the scale-down; else what was read last before `since`.
        seconds: how long it lasts.
    """

    since: Request
    resources: frozenset[str]
    from_start: bool
    seconds: float = SHORT

    def __str__(self) -> str:
        past = "before the scale-down" if self.from_start else "just before it"
        told = f"reads of {_listed(self.resources)} tell how it was {past}"
        return f"{self.since}: from then on, for {self.seconds:g} s, {told}"


@dataclass(frozen=True)
class LateEvents:
    """The events of these resources come late, each by so many seconds: stale states."""

    resources: frozenset[str]
    seconds: float = SHORT

    def __str__(self) -> str:
        return f"events of {_listed(self.resources)} come {self.seconds:g} s late"


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


Incident = Struck | Start | HeldOpen | StaleReads | LateEvents | LostEvents

PODS, CLUSTERS = frozenset({"pods"}), frozenset({"clusters"})
ALL = frozenset({"pods", "clusters", "deployments", "services"})
TYPES = frozenset({"ADDED", "MODIFIED", "DELETED"})

EVERY_FOURTH = 18
"""Among incidents of which five in a row are one request's: of every fourth request one, with all faults by turns."""

HOLDING = (Fault.KILLED_DURING, Fault.CUT_OFF)
"""The faults of requests that are held open."""

FROZEN = (0.0, 7.0)
"""For how many seconds more the worker is frozen: what the operator lost ends while the next one has only begun to look
around, or it is still under way when that asks for the same again."""


@dataclass(frozen=True)
class Calm:
    """The requests of runs in which nothing happens.

    Attributes:
        requests: of an operator that has been there for a while.
        starting: of one that starts with the scale-down.
    """

    requests: tuple[Request, ...]
    starting: tuple[Request, ...]


def delay(incident: Incident | None) -> float:
    """By how many seconds the end of a scale-down may be late because the operator hears of it late or not at all."""
    match incident:
        case LateEvents(seconds=seconds):
            return seconds
        case StaleReads(seconds=seconds):
            return seconds + RESYNC.total_seconds()
    return 0.0


def all_incidents(calm: Calm) -> list[Incident]:
    """Everything that a sweep over these requests tries, what takes longest first."""
    requests = calm.requests
    long: list[Incident] = [*lags_of_minutes(requests), *stale_reads(requests), *held_open(requests)]
    return [*long, *strikes(requests), *strikes_at_start(calm), *watch_troubles()]


def strikes(requests: Iterable[Request]) -> list[Struck]:
    """Each request with each fault that it can meet."""
    return [Struck(request, fault) for request in requests for fault in _faults(request)]


def strikes_at_start(calm: Calm) -> list[StruckAtStart]:
    """What an operator asks for only when it starts, and its first reads, with each fault that they can meet."""
    later = {request.kind for request in calm.requests}
    first = [one for one in calm.starting if one.number == 1 and (one.kind not in later or reads(one.kind))]
    return [StruckAtStart(request, fault) for request in first for fault in _faults(request)]


def held_open(requests: Iterable[Request]) -> list[HeldOpen]:
    """The first request of each kind that has workers drained or retired, lost while the scheduler is at it."""
    first = [one for one in requests if one.number == 1 and resource_of(one.kind) == "retire_workers"]
    return [HeldOpen(request, fault, frozen) for request in first for fault in HOLDING for frozen in FROZEN]


def lags_of_minutes(requests: Iterable[Request]) -> list[StaleReads | LateEvents]:
    """An API server that is behind for minutes, from some of the changes on, and watches that are."""
    changes = [one for one in _first_of_kind(requests) if changes_something(one.kind)]
    stale = [StaleReads(since, ALL, from_start=True, seconds=MINUTES) for since in changes]
    return [*stale, LateEvents(ALL, MINUTES), LateEvents(PODS, MINUTES)]


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


def sample(calm: Calm) -> list[Incident]:
    """Few incidents with every kind of request and every kind of incident among them.

    What changes something is struck twice: the operator is killed after it, and it meets one of the other faults. Of
    the reads, which are all alike, each kind meets one fault, and each fault one kind. Of what is asked at the start,
    a quarter does.
    """
    chosen: list[Incident] = []
    for number, request in enumerate(_first_of_kind(calm.requests)):
        faults = _faults(request)
        if changes_something(request.kind):
            chosen.append(Struck(request, Fault.KILLED_AFTER))
            faults.remove(Fault.KILLED_AFTER)
        chosen.append(Struck(request, faults[number % len(faults)]))
    starts = strikes_at_start(calm)[::EVERY_FOURTH]
    held, stale = held_open(calm.requests), stale_reads(calm.requests)
    rare: list[Incident] = [*held[:1], *held[-1:], *starts, *stale[:1], *stale[-1:]]
    return [*chosen, *rare, LateEvents(PODS), LostEvents(PODS, TYPES, first_seen=0)]


def sample_of_scheduler(calm: Calm) -> list[Incident]:
    """Of the sample, what befalls requests to schedulers: the way to them is what differs between operators."""
    return [
        incident
        for incident in sample(calm)
        if isinstance(incident, Struck | HeldOpen) and asks_scheduler(incident.request.kind)
    ]


def _first_of_kind(requests: Iterable[Request]) -> list[Request]:
    return sorted((request for request in requests if request.number == 1), key=str)


def _faults(request: Request) -> list[Fault]:
    """Those that a request can meet: a scheduler knows no conflicts."""
    known = (fault for fault in Fault if fault not in HOLDING)
    return [fault for fault in known if fault is not Fault.CONFLICT or not asks_scheduler(request.kind)]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
