"""The talk with the scheduler about pods that are to go: whom to drain, whom to retire, when to ask again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from dask_k8s_operator.domain.actions import Drain, Retire
from dask_k8s_operator.domain.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dask_k8s_operator.domain.cluster import Cluster, Retirement, Retiring
    from dask_k8s_operator.domain.retirement import Holdings
    from dask_k8s_operator.domain.snapshot import RetireCalls

ASK_AGAIN = timedelta(seconds=5)
"""How long after an unanswered or refused request the scheduler is asked again; doubled each time."""

ASK_AGAIN_LONGEST = timedelta(seconds=30)

GOES_ON = timedelta(seconds=45)
"""So long at least a call may go on in the scheduler whose answer reaches nobody, as after a crash of the operator or
over a connection that broke. A busy scheduler begins with it in that time; what is to be moved then takes longer."""

SLOWEST = 10_000_000
"""Bytes a second at which data moves at the worst. Between pods it is some hundred million."""

GOES_ON_LONGEST = timedelta(hours=1)
"""The longest that this is allowed for, as for a call whose answer is awaited."""

DETAIL_PATIENCE = timedelta(minutes=2)
"""How long a worker isn't retired without a drain because the scheduler's RPC port doesn't answer. A busy scheduler
answers within a minute; a port that the network keeps from the operator must not keep workers for ever."""


@dataclass(frozen=True)
class Requests:
    """What the scheduler is to be asked now.

    Attributes:
        entries: as they are to be remembered before it is asked, by the pod's uid.
        actions: the request, if there is one.
    """

    entries: Mapping[str, Retiring]
    actions: tuple[Drain | Retire, ...]


def learn(entry: Retiring, calls: RetireCalls, now: datetime) -> Retiring:
    """The entry with what the scheduler answered since it was written."""
    addresses = frozenset(entry.addresses)
    if not addresses or addresses & calls.in_flight:
        return entry
    if addresses <= calls.moved:
        return replace(entry, moved=True, refused=False)
    if addresses & calls.refused:
        return replace(entry, refused=True, moved=False)
    if addresses <= calls.drained:
        known = entry.drained and entry.asked and entry.asked < entry.drained
        return replace(entry, drained=entry.drained if known else now, refused=False)
    return entry


def under_way(entries: Iterable[Retiring], calls: RetireCalls, holdings: Holdings, now: datetime) -> RetireCalls:
    """The calls, with those that nobody here awaits and that may yet go on in the scheduler.

    Args:
        entries: all that is remembered, with what the scheduler is known to have answered.
        calls: those of this process.
        holdings: who is registered, and what else the scheduler says.
        now: the time.
    """
    going_on = [entry for entry in entries if _may_go_on(entry, holdings, now)]
    addresses = holdings.addresses_of(entry.uid for entry in going_on)
    old = holdings.addresses_of(e.uid for e in going_on if e.asked is not None and now >= e.asked + ASK_AGAIN)
    return replace(calls, in_flight=calls.in_flight | addresses, stalled=calls.stalled | (old - calls.in_flight))


def _may_go_on(entry: Retiring, holdings: Holdings, now: datetime) -> bool:
    """Whether a call for the entry may be at work though no answer to it is known.

    It isn't once the worker works again, as after a refusal, or holds nothing that could be moved. Else this is but a
    guess, since a worker that was refused in vain looks the same, stays `closing_gracefully` and has to be retired
    again: longer than the data can take.
    """
    addresses = holdings.addresses_of([entry.uid])
    answered = entry.moved or entry.refused or (entry.drained and entry.asked and entry.asked < entry.drained)
    if entry.asked is None or answered or not addresses & frozenset(entry.addresses):
        return False
    held = holdings.held_bytes(entry.uid)
    over = held == 0 or (holdings.detail is not None and addresses <= holdings.detail.running)
    moving = min(GOES_ON + timedelta(seconds=(held or 0) / SLOWEST), GOES_ON_LONGEST)
    return now < entry.asked + (ASK_AGAIN if over else moving)


def can_be_taken_back(entry: Retiring, calls: RetireCalls, holdings: Holdings) -> bool:
    """Whether the worker still works: nobody asked for it yet, or the scheduler refused and let it go on.

    Once the scheduler drains or retires a worker, Dask has no way back.
    """
    if entry.asked is None:
        return True
    addresses = frozenset(entry.addresses)
    works = addresses <= holdings.detail.running if holdings.detail is not None else not holdings.detail_awaited
    return entry.refused and entry.drained is None and works and not addresses & calls.in_flight


def requests(
    entries: Iterable[Retiring],
    cluster: Cluster,
    calls: RetireCalls,
    holdings: Holdings,
    now: datetime,
    *,
    leaving: frozenset[str] = frozenset(),
    gone: frozenset[str] = frozenset(),
    replaced: frozenset[str] = frozenset(),
) -> Requests:
    """Work out what to ask the scheduler for.

    One call for all that are due, and none while another is under way. Dask allows for several, but then it can lose a
    key of which two workers have a copy. It finishes with the first worker once it sees the copy of the second, and
    removes it up to half a second later. If another call begins in between, and names the second worker, that drops its
    copy at once, seeing that of the first (`distributed.active_memory_manager.RetireWorker`, as of 2026.3;
    `tests/dask/test_overlapping_calls.py` shows it).

    One exception: a call that only frozen workers keep from ending, which can take minutes, holds nobody else up. Such
    workers aren't finished with, unlike others that the same call names: their data may be moving. But no two calls
    ever name the same worker: if both failed, the later one would put it back into the state that the earlier one had
    put it into, and it would stay `closing_gracefully`. What frees such a worker is to be retired again once somebody
    else can take its data.

    While somebody deletes a pod, nobody else is asked for: its hook may be asking at any moment, and what others would
    hand over might go to it, or count on its copies. Frozen ones are left out of this, too.

    Args:
        entries: the pods that are to go and can't be deleted yet.
        cluster: for `spec.workers.retirement`.
        calls: those that are or may be under way.
        holdings: who is registered, and what else the scheduler says.
        now: the time.
        leaving: uids of pods that somebody deletes: they can't wait until their tasks are done.
        gone: uids of pods that are deleted right now: they take nobody's data.
        replaced: uids of pods that others, made from a later template, take the place of.
    """
    entries = list(entries)
    if (calls.in_flight & holdings.addresses) - (calls.stalled & holdings.silent):
        return Requests({}, ())
    heirs = holdings.addresses - holdings.addresses_of({*gone, *(entry.uid for entry in entries)})
    peers = digest(heirs)
    due = [
        entry
        for entry in entries
        if not holdings.addresses_of([entry.uid]) & calls.in_flight
        and _is_due(entry, cluster.retirement, holdings, peers=peers, hurry=entry.uid in leaving, now=now)
    ]
    due = _in_turn(due, entries, holdings, heirs=heirs, leaving=leaving)
    draining = [e for e in due if e.uid not in leaving and _next_step(e, cluster, holdings) == "drain"]
    retiring = [entry for entry in due if entry not in draining]
    make, asking = (Retire, retiring) if retiring else (Drain, draining)
    if not asking:
        return Requests({}, ())
    addresses = holdings.addresses_of(entry.uid for entry in asking)
    return Requests(
        {e.uid: e.asking(now=now, addresses=holdings.addresses_of([e.uid]), peers=peers) for e in asking},
        (make(addresses, _reason(asking, cluster, leaving=leaving, replaced=replaced)),),
    )


def _in_turn(
    due: list[Retiring],
    entries: Iterable[Retiring],
    holdings: Holdings,
    *,
    heirs: frozenset[str],
    leaving: frozenset[str],
) -> list[Retiring]:
    """Who of those that are due is asked for first, as `requests` explains."""
    awake = [entry for entry in entries if holdings.addresses_of([entry.uid]) - holdings.silent]
    if hurried := [entry for entry in awake if entry.uid in leaving]:
        takes = None if heirs else _taker(awake, leaving)
        return [entry for entry in due if entry in hurried and entry.uid != takes]
    if len(due) > 1 and not heirs:
        # All at once would all be refused. One has to take the data of the others; its own turn comes last.
        return sorted(due, key=lambda entry: (entry.uid not in leaving, entry.drained is None))[:-1]
    return due


def _taker(entries: Iterable[Retiring], leaving: frozenset[str]) -> str | None:
    """Who of those that all go takes the data of the others: the same one at each look, whose own turn comes last."""
    ranked = sorted(entries, key=lambda entry: (entry.drained is None, entry.uid not in leaving, entry.uid))
    return ranked[-1].uid if len(ranked) > 1 else None


def _reason(entries: list[Retiring], cluster: Cluster, *, leaving: frozenset[str], replaced: frozenset[str]) -> str:
    """Who is asked for, and why: "a, b: more workers than the 3 wanted; c: somebody deletes its pod"."""
    whys: dict[str, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.uid in leaving:
            why = "somebody deletes the pod"
        elif entry.uid in replaced:
            why = "made from an earlier template"
        else:
            why = f"more workers than the {cluster.wanted} wanted"
        whys.setdefault(why, []).append(entry.name)
    return "; ".join(f"{listed(pods)}: {why}" for why, pods in whys.items())


def _next_step(entry: Retiring, cluster: Cluster, holdings: Holdings) -> Literal["drain", "retire"]:
    if holdings.detail is None or cluster.retirement.drain <= timedelta(0):
        return "retire"
    addresses = holdings.addresses_of([entry.uid])
    # A drained worker never works again. One at the same address that does is a later process: the container was
    # restarted, and ports are fixed.
    same_process = addresses == frozenset(entry.addresses) and not addresses & holdings.detail.running
    return "retire" if entry.drained and same_process else "drain"


def _is_due(
    entry: Retiring, retirement: Retirement, holdings: Holdings, *, peers: str, hurry: bool, now: datetime
) -> bool:
    addresses = holdings.addresses_of([entry.uid])
    if not addresses:
        return False
    drains = retirement.drain > timedelta(0) and not hurry
    if holdings.detail_awaited and drains and now < (entry.asked or entry.since) + DETAIL_PATIENCE:
        return False
    if entry.asked is None or (entry.refused and entry.peers != peers):
        return True
    if entry.drained and entry.asked < entry.drained:  # equal once it is asked on the news that it is drained
        idle = holdings.detail is not None and all(holdings.detail.executing.get(a) == 0 for a in addresses)
        return hurry or idle or now >= entry.drained + retirement.drain
    # Released data is reason enough not to wait any longer, but an actor that holds no bytes is refused all the same.
    doublings = 0 if holdings.held_bytes(entry.uid) == 0 else min(entry.attempts - 1, 10)
    return now >= entry.asked + min(ASK_AGAIN * (1 << doublings), ASK_AGAIN_LONGEST)


def digest(addresses: frozenset[str]) -> str:
    """A short fingerprint of a set of workers."""
    return hashlib.sha256(" ".join(sorted(addresses)).encode()).hexdigest()[:12]
