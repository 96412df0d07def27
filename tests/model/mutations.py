"""Wrong planners: each breaks one rule of the domain, so that it can be seen whether the model notices."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import handover, names, planner, status
from dask_k8s_operator.domain.cluster import UpdateStrategy
from dask_k8s_operator.domain.retirement import Holdings
from dask_k8s_operator.domain.snapshot import Pod, Snapshot
from tests.model import decisions

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from dask_k8s_operator.domain.actions import DeletePod
    from dask_k8s_operator.domain.cluster import Retiring
    from dask_k8s_operator.domain.snapshot import RetireCalls


def asks_before_it_records(patch: pytest.MonkeyPatch) -> None:
    """The status says whom it chose only a pass after the scheduler was asked."""
    write = status.cluster_status

    def cluster_status(snapshot: Snapshot, **told: Any) -> dict[str, Any]:
        return write(snapshot, **{**told, "retiring": snapshot.cluster.retiring})

    patch.setattr(planner, "cluster_status", cluster_status)


def takes_a_refusal_for_success(patch: pytest.MonkeyPatch) -> None:
    """Any answer to a retirement will do."""
    _also_deletable(patch, lambda _, __, entry: entry is not None and (entry.moved or entry.refused))


def trusts_an_old_answer(patch: pytest.MonkeyPatch) -> None:
    """A worker was retired, so its pod may go, though another process has registered from there since."""
    _also_deletable(patch, lambda _, __, entry: entry is not None and entry.moved)


def deletes_when_the_scheduler_is_silent(patch: pytest.MonkeyPatch) -> None:
    """No list of workers is taken for an empty one."""
    _also_deletable(patch, lambda holdings, _, __: not holdings.listed)


def deletes_registered_workers(patch: pytest.MonkeyPatch) -> None:
    """A pod that nobody has chosen yet goes at once, registered or not."""
    _also_deletable(patch, lambda holdings, _, entry: holdings.listed and entry is None)


def ignores_strangers(patch: pytest.MonkeyPatch) -> None:
    """Workers that fit no pod are taken for somebody else's."""
    of = Holdings.of
    patch.setattr(Holdings, "of", lambda snapshot: replace(of(snapshot), strangers=frozenset()))


def deletes_any_version(patch: pytest.MonkeyPatch) -> None:
    """A pod is deleted by its uid alone, whatever has happened to it since it was read."""
    delete = planner._delete

    def without_version(pod: Pod, reason: str) -> DeletePod:
        return replace(delete(pod, reason), resource_version="")

    patch.setattr(planner, "_delete", without_version)


def counts_terminating_pods(patch: pytest.MonkeyPatch) -> None:
    """A pod on its way out is not replaced before it is gone."""
    patch.setattr(Pod, "live", property(lambda pod: not pod.finished))


def asks_while_a_call_is_under_way(patch: pytest.MonkeyPatch) -> None:
    """It forgets which calls it has made."""
    work_out = handover.requests

    def requests(entries: Any, cluster: Any, calls: RetireCalls, *others: Any, **more: Any) -> handover.Requests:
        return work_out(entries, cluster, replace(calls, in_flight=frozenset(), stalled=frozenset()), *others, **more)

    patch.setattr(planner, "requests", requests)


def names_pods_at_random(patch: pytest.MonkeyPatch) -> None:
    """Each pass gives new pods other names."""
    numbers = itertools.count()

    def worker_names(cluster: str, _seen: object, count: int) -> list[str]:
        return [f"{cluster}-worker-random{next(numbers)}" for _ in range(count)]

    patch.setattr(names, "worker_names", worker_names)
    patch.setattr(decisions, "_decided", decisions._decided_once)  # or the same sight would give the same names


def does_not_drain(patch: pytest.MonkeyPatch) -> None:
    """Workers are retired under their tasks."""
    patch.setattr(handover, "_next_step", lambda *_: "retire")


def trusts_an_old_drain(patch: pytest.MonkeyPatch) -> None:
    """A worker was drained, so it may be retired, though another process works at its address since."""
    patch.setattr(handover, "_next_step", lambda entry, *_: "retire" if entry.drained else "drain")


def does_not_wait(patch: pytest.MonkeyPatch) -> None:
    """After a refusal it asks again at once."""
    patch.setattr(handover, "ASK_AGAIN", timedelta(0))


def takes_retiring_workers_back(patch: pytest.MonkeyPatch) -> None:
    """A worker that takes no more tasks is counted as one that works."""
    patch.setattr(planner, "can_be_taken_back", lambda *_: True)


def forgets_calls_of_the_last_process(patch: pytest.MonkeyPatch) -> None:
    """What was asked for before a crash is taken for done."""
    patch.setattr(planner, "under_way", lambda _, calls, *__: calls)


def makes_too_many_at_once(patch: pytest.MonkeyPatch) -> None:
    """A rollout makes one worker more than it may."""
    _other_bounds(patch, surge=1, unavailable=0)


def replaces_too_many_at_once(patch: pytest.MonkeyPatch) -> None:
    """A rollout retires one worker more than it may."""
    _other_bounds(patch, surge=0, unavailable=1)


def _other_bounds(patch: pytest.MonkeyPatch, *, surge: int, unavailable: int) -> None:
    bounds = UpdateStrategy.bounds

    def more(strategy: UpdateStrategy, replicas: int) -> tuple[int, int]:
        right = bounds(strategy, replicas)
        return right[0] + surge, right[1] + unavailable

    patch.setattr(UpdateStrategy, "bounds", more)


def _also_deletable(patch: pytest.MonkeyPatch, wrongly: Callable[[Holdings, Pod, Retiring | None], bool]) -> None:
    right = Holdings.why_deletable

    def why_deletable(
        holdings: Holdings, pod: Pod, entry: Retiring | None = None, *, overdue: bool = False
    ) -> str | None:
        return "wrong" if wrongly(holdings, pod, entry) else right(holdings, pod, entry, overdue=overdue)

    patch.setattr(Holdings, "why_deletable", why_deletable)
