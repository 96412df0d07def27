"""Which worker pods go, in what order, and when one may be deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.matching import match_workers
from dask_k8s_operator.domain.snapshot import Detail, Listed, Pod, Snapshot, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dask_k8s_operator.domain.cluster import Retiring


@dataclass(frozen=True)
class Holdings:
    """Who may hold data: what the scheduler and the pods' own states say together.

    Attributes:
        registered: the addresses of each pod's workers, by the pod's uid; empty where the scheduler didn't answer.
        listed: the scheduler did answer.
        strangers: addresses of workers that belong to none of the pods.
        no_scheduler: nobody answered, and no scheduler process can have run that these pods could have joined.
        detail: what the scheduler's RPC port tells, where it can be used and answered.
        detail_awaited: it can be used, as far as is known, but gave no answer this time.
    """

    registered: Mapping[str, frozenset[str]]
    listed: bool
    strangers: frozenset[str]
    no_scheduler: bool
    detail: Detail | None
    detail_awaited: bool = False

    @classmethod
    def of(cls, snapshot: Snapshot) -> Holdings:
        """Work out who holds what."""
        view = snapshot.scheduler
        detail = view.detail if isinstance(view, Listed) else None
        workers = view.workers if isinstance(view, Listed) else ()
        registered, strangers = match_workers(snapshot.worker_pods, workers)
        return cls(
            registered=registered,
            listed=isinstance(view, Listed),
            strangers=strangers,
            no_scheduler=isinstance(view, Unreachable)
            and not any(pod.started and not pod.finished for pod in snapshot.scheduler_pods),
            detail=detail if isinstance(detail, Detail) else None,
            detail_awaited=isinstance(detail, Unreachable),
        )

    @property
    def addresses(self) -> frozenset[str]:
        """All workers that the scheduler has."""
        return frozenset[str]().union(self.strangers, *self.registered.values())

    @property
    def silent(self) -> frozenset[str]:
        """Addresses of workers that haven't been heard of for a while, as frozen ones aren't."""
        return self.detail.silent if self.detail is not None else frozenset()

    def addresses_of(self, uids: Iterable[str]) -> frozenset[str]:
        """The registered workers of these pods."""
        return frozenset[str]().union(*(self.registered.get(uid, frozenset()) for uid in uids))

    def held_bytes(self, uid: str) -> int | None:
        """How much data a pod's workers hold, where that is known."""
        held = self.detail.held_bytes if self.detail is not None else {}
        addresses = self.addresses_of([uid])
        return sum(held[address] for address in addresses) if addresses <= held.keys() else None

    def why_deletable(self, pod: Pod, entry: Retiring | None = None, *, overdue: bool = False) -> str | None:
        """Why deleting this pod can't lose a key, or None where that isn't certain.

        This is the one place where that is decided. Every deletion that the operator makes is one of these:

        - Finished: no process of the Dask container is left, so neither is any memory. The kubelet never starts a
          Succeeded or Failed pod again, nor a container that its `restartPolicy` leaves ended beside others that run.
        - Never started: no process has run. The kubelet may have started one since it last wrote the status;
          every deletion carries the resourceVersion that was read, so a status written in between makes it a conflict.
          In the second or so before the kubelet reports a start, Python is still importing Dask.
        - No scheduler: keys exist only as far as a scheduler knows of them. When it doesn't answer and every
          pod of it has yet to start for the first time, there is none to know of any; workers that held keys
          of an earlier one exit by themselves within seconds, and the keys were lost with that scheduler.
        - Retired: the scheduler's answer listed the worker and the scheduler doesn't have it any more. Both
          are needed. An answer alone may be about an earlier process at the same address: ports are fixed,
          so a container that restarted comes back with the same one, registers, and can be given new data.
        - Overdue: the user set a deadline with `onTimeout: Delete`, and it has passed. This is the one reason
          that may lose data, and nothing but the spec of the Cluster can give it.
        - Unknown to the scheduler: it listed its workers a moment ago and this pod's are not among them, so no
          key can be read from it. That covers pods that never got as far as registering, and workers whose
          answer was lost in a crash of ours: a retired worker leaves the list before the answer is sent, and
          `distributed` never lets one that left come back with its data. This doesn't hold if the list has
          workers that fit no pod (one of them may be this pod's under a name and an address of the user's own
          making), so then it waits until the pod exits or can be matched. A worker that registers between
          that reading and the deletion is retired by the preStop hook of its pod before it gets a signal.

        Not a reason: that the scheduler can't be reached, is slow or answers with an error; a 200 from
        `retire_workers` that leaves the worker out; time that has passed; that the pod isn't ready.
        """
        if pod.finished:
            return "it has finished"
        if not pod.started:
            return "it never started, so it holds no data"
        if self.no_scheduler:
            return "no scheduler has run that could have given it data"
        if overdue:
            return "spec.workers.retirement says to delete what can't be retired in time"
        if not self.listed or self.registered.get(pod.uid):
            return None
        if entry is not None and entry.moved:
            return "it was retired and its data has moved"
        if not self.strangers and entry is not None and entry.asked is not None:
            return "the scheduler was asked to retire it and has let it go"
        if not self.strangers:
            return "the scheduler doesn't know it, so it holds no data"
        return None


@dataclass(frozen=True)
class Choice:
    """Pods that are too many: some can go at once, the others have to be retired first."""

    free: tuple[tuple[Pod, str], ...]
    retire: tuple[Pod, ...]


def choose(pods: list[Pod], holdings: Holdings, count: int, *, outdated: frozenset[str] = frozenset()) -> Choice:
    """Choose which of the pods go.

    Args:
        pods: the candidates.
        holdings: who may hold data.
        count: how many are too many; fewer are chosen where nothing can be known about the rest.
        outdated: the uids of those that an earlier template gave.

    Returns:
        First pods without data; then registered ones, outdated ones before others, by deletion cost, in the order in
        which the scheduler would close them, and the newest first.
    """
    reasons = {pod.uid: holdings.why_deletable(pod) for pod in pods}
    turns = _turns(holdings)
    ranked = sorted(pods, key=lambda pod: (pod.created, pod.name), reverse=True)
    ranked.sort(
        key=lambda pod: (
            reasons[pod.uid] is None,
            pod.uid not in outdated,
            pod.started,
            pod.deletion_cost,
            max((turns.get(a, len(turns)) for a in holdings.addresses_of([pod.uid])), default=0),
        )
    )
    chosen = [pod for pod in ranked if reasons[pod.uid] or holdings.registered.get(pod.uid)][:count]
    return Choice(
        free=tuple((pod, reason) for pod in chosen if (reason := reasons[pod.uid])),
        retire=tuple(pod for pod in chosen if not reasons[pod.uid]),
    )


def _turns(holdings: Holdings) -> Mapping[str, int]:
    """The place of each worker in the order that the scheduler proposes."""
    closable = holdings.detail.closable if holdings.detail is not None else ()
    return {address: place for place, address in enumerate(closable)}
