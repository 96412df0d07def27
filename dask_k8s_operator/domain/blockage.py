"""Why a scale-down doesn't go on, in words for the person who has to do something about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.revision import outdated
from dask_k8s_operator.domain.snapshot import Snapshot, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_k8s_operator.domain.cluster import Retirement, Retiring
    from dask_k8s_operator.domain.retirement import Holdings

SLOW = timedelta(seconds=60)
"""A request to the scheduler that takes longer than this is worth telling."""

_KIB = 1024


def why_blocked(
    snapshot: Snapshot, holdings: Holdings, waiting: Iterable[Retiring], *, unchosen: int, now: datetime
) -> str | None:
    """Say what keeps workers that are too many, or None where nothing does.

    Args:
        snapshot: what was read.
        holdings: who holds what.
        waiting: the pods that were chosen and can't be deleted yet.
        unchosen: how many more are too many, but nothing is known about any of them.
        now: the time.
    """
    waiting = list(waiting)
    if isinstance(snapshot.scheduler, Unreachable) and (unchosen > 0 or waiting):
        return (
            f"{_workers(max(unchosen, 0) + len(waiting))} too many stay until the scheduler can be asked to move "
            f"their data: {snapshot.scheduler.reason}"
        )
    retirement = snapshot.cluster.retirement
    if refused := [entry for entry in waiting if entry.refused]:
        kept = _deadline(retirement, refused, now)
        return (
            f"the scheduler found nobody to take the data of {named(refused, holdings)}{kept}: release what they hold "
            f"(delete or gather the futures, close actors), or {_who_else(snapshot, refused)}"
        )
    if slow := [e for e in waiting if frozenset(e.addresses) & snapshot.calls.in_flight and _is_slow(e, now)]:
        kept = _deadline(retirement, slow, now)
        return (
            f"the scheduler is still moving the data of {named(slow, holdings)}{kept}: if it takes too long, look "
            "whether these workers still answer (dashboard, kubectl logs)"
        )
    if unchosen > 0 and holdings.strangers:
        return (
            f"{_workers(unchosen)} too many stay, because the scheduler lists workers that fit no pod by IP or name "
            f"({', '.join(sorted(holdings.strangers))}) and one of them may be theirs: pass "
            f"--name=$({names.ENV_WORKER_NAME}) to dask worker"
        )
    return None


def _who_else(snapshot: Snapshot, refused: Iterable[Retiring]) -> str:
    """How somebody else can be had to take their data."""
    cluster = snapshot.cluster
    if cluster.suspended:
        return "set spec.suspend to false"
    replaced = outdated(cluster, snapshot.worker_pods) if cluster.update.rolling else frozenset()
    if any(entry.uid in replaced for entry in refused) and not cluster.update.bounds(cluster.replicas)[0]:
        return "scale up, or allow maxSurge 1 in spec.workers.updateStrategy"
    return "scale up"


def _is_slow(entry: Retiring, now: datetime) -> bool:
    return entry.asked is not None and now >= entry.asked + SLOW


def _deadline(retirement: Retirement, entries: Iterable[Retiring], now: datetime) -> str:
    timeout = retirement.timeout
    if timeout is None:
        return ", so they stay"
    if retirement.delete_on_timeout:
        return f", so they are deleted with it {timeout.total_seconds():.0f} s after they were chosen"
    if any(now >= entry.since + timeout for entry in entries):
        return f", so they stay, though the time is up ({timeout.total_seconds():.0f} s, onTimeout: Keep)"
    return ", so they stay"


def named(entries: Iterable[Retiring], holdings: Holdings) -> str:
    """The pods, with what their workers hold."""
    return ", ".join(f"{entry.name}{_size(holdings.held_bytes(entry.uid))}" for entry in entries)


def _size(held: int | None) -> str:
    if held is None:
        return ""
    size, units = float(held), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= _KIB and len(units) > 1:
        size /= _KIB
        units.pop(0)
    return f" ({size:.3g} {units[0]})"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
