"""`timeoutSeconds`: what becomes of a worker that can't be retired in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dask_k8s_operator.domain.actions import DeletePod, Plan
from dask_k8s_operator.domain.cluster import Retirement
from dask_k8s_operator.domain.planner import OVERDUE_GRACE_SECONDS
from dask_k8s_operator.domain.snapshot import RetireCalls, SchedulerView
from tests.unit.builders import DOWN, addresses, condition, decide, entry, of_kind, peers, pods, workers

WITH_ITS_DATA = "more workers than wanted, and spec.workers.retirement says to delete what can't be retired in time"


def refused(*, since: float, delete: bool, scheduler: SchedulerView | None = None) -> Plan:
    """What is done about `b`, refused, where a worker has 100 seconds from its choice."""
    retirement = Retirement(drain=timedelta(0), timeout=timedelta(seconds=100), delete_on_timeout=delete)
    b = entry("b", since=since, asked=-1, refused=True, peers=peers("a"))
    view = workers("ab") if scheduler is None else scheduler
    return decide(pods("ab"), replicas=1, scheduler=view, retiring=[b], retirement=retirement)


@pytest.mark.parametrize("scheduler", [workers("ab"), DOWN])
def test_it_is_deleted_with_its_data_once_the_time_is_up(scheduler: SchedulerView) -> None:
    """Soon, too: its hook would be refused for as long as the grace period of the template."""
    assert refused(since=-99, delete=True, scheduler=scheduler).actions == ()
    (action,) = refused(since=-100, delete=True, scheduler=scheduler).actions
    assert action == DeletePod("b", "uid-b", "rv-b", WITH_ITS_DATA, grace_seconds=OVERDUE_GRACE_SECONDS)


def test_one_that_was_retired_in_the_end_has_its_usual_time() -> None:
    retirement = Retirement(drain=timedelta(0), timeout=timedelta(seconds=100), delete_on_timeout=True)
    b, calls = entry("b", since=-200, asked=-1), RetireCalls(moved=addresses("b"))
    decided = decide(pods("ab"), replicas=1, scheduler=workers("a"), retiring=[b], calls=calls, retirement=retirement)
    [deletion] = of_kind(DeletePod, decided.actions)
    assert deletion.grace_seconds is None
    assert deletion.reason == "more workers than wanted, and it was retired and its data has moved"


@pytest.mark.parametrize(
    ("since", "delete", "told"),
    [
        (-99, False, "the data of b, so they stay: release"),
        (-100, False, "the data of b, so they stay, though the time is up (100 s, onTimeout: Keep): release"),
        (-99, True, "the data of b, so they are deleted with it 100 s after they were chosen: release"),
    ],
)
def test_what_is_told_of_it(since: float, *, delete: bool, told: str) -> None:
    decided = refused(since=since, delete=delete)
    assert decided.actions == ()
    assert told in condition(decided, "ScaleDownBlocked")[2]
