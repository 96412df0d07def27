"""From a worker that is drained to one that is retired: its tasks may finish, if there is a way to know of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dask_k8s_operator.domain.actions import Action, Drain, Retire
from dask_k8s_operator.domain.cluster import Retirement, Retiring
from dask_k8s_operator.domain.handover import DETAIL_PATIENCE
from dask_k8s_operator.domain.snapshot import Detail, Listed, RetireCalls, Unreachable
from tests.unit.builders import addresses, asked, decide, entry, peers, pod, pods, remembered, workers

TOO_MANY = "b: more workers than the 1 wanted"
DRAIN, RETIRE = Drain(addresses("b"), TOO_MANY), Retire(addresses("b"), TOO_MANY)
NO_ANSWER = replace(workers("ab"), detail=Unreachable("no answer within 40 s"))
NO_RPC = workers("ab")
PATIENCE = DETAIL_PATIENCE.total_seconds()


def tells(*, running: str = "a", executing: dict[str, int] | None = None) -> Listed:
    """The scheduler's list of `a` and `b`, with what its RPC port tells: of drained workers, how much they execute."""
    detail = Detail(
        running=addresses(running),
        executing={address: count for name, count in (executing or {}).items() for address in addresses(name)},
        held_bytes=dict.fromkeys(addresses("ab"), 0),
        closable=(),
    )
    return replace(workers("ab"), detail=detail)


def actions(
    scheduler: Listed, b: Retiring | None = None, *, drain: float = 60, calls: RetireCalls | None = None
) -> tuple[Action, ...]:
    """What is done about `b`, where only `a` is wanted."""
    retirement = Retirement(drain=timedelta(seconds=drain), timeout=None, delete_on_timeout=False)
    retiring = [] if b is None else [b]
    return decide(
        pods("ab"), replicas=1, scheduler=scheduler, retiring=retiring, calls=calls, retirement=retirement
    ).actions


@pytest.mark.parametrize(("scheduler", "first"), [(tells(running="ab"), DRAIN), (NO_RPC, RETIRE), (NO_ANSWER, None)])
def test_what_a_worker_is_first_asked_for(scheduler: Listed, first: Action | None) -> None:
    assert actions(scheduler) == ((first,) if first else ())


def test_without_time_to_drain_it_is_retired_at_once() -> None:
    for scheduler in (tells(running="ab"), NO_RPC, NO_ANSWER):
        assert actions(scheduler, drain=0) == (RETIRE,)


@pytest.mark.parametrize(
    ("scheduler", "drained", "retired"),
    [
        pytest.param(tells(executing={"b": 0}), -1, True, id="it runs nothing"),
        pytest.param(tells(executing={"b": 1}), -59, False, id="a task runs"),
        pytest.param(tells(executing={"b": 1}), -60, True, id="a task runs for longer than it may"),
        pytest.param(tells(executing={}), -1, False, id="it wasn't known to be drained when the scheduler was asked"),
        pytest.param(NO_RPC, -59, False, id="the port was closed meanwhile"),
        pytest.param(NO_RPC, -60, True, id="the port was closed meanwhile, and the time is up"),
        pytest.param(NO_ANSWER, -59, False, id="no answer this time"),
    ],
)
def test_a_drained_worker_is_retired_once_its_tasks_are_done_or_the_time_is_up(
    scheduler: Listed, drained: float, *, retired: bool
) -> None:
    b = replace(entry("b", asked=drained - 1, peers=peers("a")), drained=entry("b", asked=drained).asked)
    assert actions(scheduler, b) == ((RETIRE,) if retired else ())


def test_on_the_news_that_it_is_drained() -> None:
    """What it executes is known by then, as the scheduler is asked about those whose drain was just answered."""
    b, calls = entry("b", asked=-1, peers=peers("a")), RetireCalls(drained=addresses("b"))
    assert actions(tells(executing={"b": 1}), b, calls=calls) == ()
    assert actions(tells(executing={"b": 0}), b, calls=calls) == (RETIRE,)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(entry("b", since=-PATIENCE), id="never asked for"),
        pytest.param(entry("b", since=-9000, asked=-PATIENCE, peers=peers("a")), id="asked for once"),
        pytest.param(entry("b", since=-9000, asked=-PATIENCE, peers="", refused=True), id="refused, others came"),
    ],
)
def test_a_port_that_never_answers_keeps_nobody_for_ever(before: Retiring) -> None:
    assert actions(NO_ANSWER, before) == (RETIRE,)
    second = timedelta(seconds=1)
    later = replace(before, since=before.since + second, asked=before.asked and before.asked + second)
    assert actions(NO_ANSWER, later) == ()


def test_one_whose_pod_somebody_deletes_does_not_wait_for_the_port() -> None:
    leaving = pod("b", terminating=True)
    decided = decide((pod("a"), leaving), replicas=1, scheduler=NO_ANSWER)
    assert asked(decided) == addresses("b")


def test_it_is_not_taken_back_before_it_is_known_to_work() -> None:
    """It was refused; whether the scheduler has put it back to work, only the port tells."""
    refused = entry("b", asked=-1, peers=peers("a"), refused=True)
    kept = {
        name: "b" in remembered(decide(pods("ab"), replicas=2, scheduler=view, retiring=[refused]))
        for name, view in {"works": tells(running="ab"), "doesn't": tells(), "unknown": NO_ANSWER}.items()
    }
    assert kept == {"works": False, "doesn't": True, "unknown": True}
