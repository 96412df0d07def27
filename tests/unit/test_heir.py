"""With no workers wanted: one for the data of a pod that somebody else deletes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dask_k8s_operator.domain.actions import Create
from dask_k8s_operator.domain.cluster import Retirement
from dask_k8s_operator.domain.planner import POLL, needs_scheduler
from dask_k8s_operator.domain.snapshot import Detail, Listed, SchedulerView, Worker
from tests.unit.builders import DOWN, address, cluster, created, decide, deleted, of_kind, pending, pod, workers

DELETE = Retirement(drain=timedelta(0), timeout=timedelta(minutes=1), delete_on_timeout=True)
LEAVING = pod("a", terminating=True)


def holding(held: int | None) -> Listed:
    """The scheduler has the worker of `a`, which holds so many bytes; None: it is too old to say."""
    held_bytes = {} if held is None else {address("a"): held}
    detail = Detail(running=frozenset(), executing={}, held_bytes=held_bytes, closable=())
    return Listed((Worker("a", address("a")),), detail)


@pytest.mark.parametrize("scheduler", [workers("a"), holding(1), holding(None)])
def test_it_is_made(scheduler: SchedulerView) -> None:
    assert needs_scheduler(cluster(0), (LEAVING,))
    decided = decide([LEAVING], replicas=0, scheduler=scheduler)
    assert created(decided) == ["Pod"]
    reasons = {action.reason for action in of_kind(Create, decided.actions)}
    assert reasons == {"somebody deletes a pod, and nobody else is there to take its data"}
    assert decided.requeue_after == POLL


@pytest.mark.parametrize("heir", [pending("b"), pod("b")])
def test_one_is_enough_and_stays_as_long(heir: object) -> None:
    decided = decide([LEAVING, heir], replicas=0, scheduler=workers("a"))
    assert (created(decided), deleted(decided)) == ([], [])


def test_then_it_goes_like_any_that_is_too_many() -> None:
    assert deleted(decide([pod("b")], replicas=0, scheduler=workers(""))) == ["b"]


@pytest.mark.parametrize("scheduler", [holding(0), workers(""), DOWN])
def test_not_for_a_worker_that_holds_nothing_or_is_not_known(scheduler: SchedulerView) -> None:
    assert created(decide([LEAVING], replicas=0, scheduler=scheduler)) == []


def test_not_for_a_pod_that_never_started() -> None:
    leaving = pod("a", terminating=True, started=False)
    assert not needs_scheduler(cluster(0), (leaving,))
    assert created(decide([leaving], replicas=0, scheduler=workers(""))) == []


def test_also_before_the_start_is_reported() -> None:
    leaving = pod("a", terminating=True, started=False)
    assert created(decide([leaving], replicas=0, scheduler=workers("a"))) == ["Pod"]


def test_not_where_such_data_may_go() -> None:
    assert created(decide([LEAVING], replicas=0, scheduler=workers("a"), retirement=DELETE)) == []


def test_where_workers_are_wanted_they_are_the_heirs() -> None:
    assert created(decide([LEAVING, pod("b")], replicas=1, scheduler=workers("ab"))) == []
