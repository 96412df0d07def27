"""Pods that somebody else deletes: their workers are retired like any, but at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dask_k8s_operator.domain.actions import Drain, Retire
from dask_k8s_operator.domain.conditions import Condition
from dask_k8s_operator.domain.events import of_conditions
from dask_k8s_operator.domain.planner import POLL, needs_scheduler, plan
from dask_k8s_operator.domain.snapshot import Detail, Listed, Pod, RetireCalls, Worker
from tests.unit.builders import (
    DOWN,
    NOW,
    addresses,
    asked,
    at,
    cluster,
    condition,
    created,
    decide,
    deleted,
    entry,
    follow,
    of_kind,
    peers,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

LEAVING = pod("c", terminating=True)


def detailed(names: str, *, executing: str = "", silent: str = "") -> Listed:
    """The scheduler's list with what its RPC port tells: those that execute something, and silent ones."""
    detail = Detail(
        running=addresses(names),
        executing=dict.fromkeys(addresses(names), 0) | dict.fromkeys(addresses(executing), 1),
        held_bytes=dict.fromkeys(addresses(names), 1),
        closable=(),
        silent=addresses(silent),
    )
    return Listed(tuple(Worker(name, *addresses(name)) for name in names), detail)


@pytest.mark.parametrize("scheduler", [workers("abc"), detailed("abc", executing="c")])
def test_it_is_retired_at_once(scheduler: Listed) -> None:
    """Without a drain: the grace period may be short."""
    assert needs_scheduler(cluster(2), (LEAVING,))
    decided = decide((*pods("ab"), LEAVING), replicas=2, scheduler=scheduler)
    (action,) = decided.actions
    assert action == Retire(addresses("c"), "c: somebody deletes the pod")
    assert remembered(decided)["c"].attempts == 1
    assert decided.requeue_after == POLL


def test_so_is_one_whose_start_has_not_been_reported() -> None:
    """It is registered, so others that are to go would hand their data to it."""
    leaving = pod("c", terminating=True, started=False)
    decided = decide((*pods("ab"), leaving), replicas=0, scheduler=detailed("abc"))
    assert asked(decided) == addresses("c")


def test_a_replacement_is_made_meanwhile() -> None:
    assert created(decide((*pods("ab"), LEAVING), replicas=3, scheduler=workers("abc"))) == ["Pod"]


def test_it_is_no_longer_drained() -> None:
    """It was to be drained as one too many; then somebody deleted it."""
    draining = entry("c", asked=-5, drained=None)
    drained = RetireCalls(drained=addresses("c"))
    decided = decide(
        (*pods("ab"), LEAVING), replicas=2, scheduler=detailed("abc", executing="c"), retiring=[draining], calls=drained
    )
    assert of_kind(Retire, decided.actions) == [Retire(addresses("c"), "c: somebody deletes the pod")]


def test_those_too_many_are_drained_after_it() -> None:
    """Its hook might ask at the same time, and data of the others would move to it."""
    seen = snapshot((*pods("abd"), LEAVING), replicas=2, scheduler=detailed("abcd"))
    first = plan(seen, NOW)
    assert first.actions == (Retire(addresses("c"), "c: somebody deletes the pod"),)
    assert remembered(first)["d"].asked is None
    answered = RetireCalls(moved=addresses("c"))
    second = plan(follow(seen, first, calls=answered, scheduler=detailed("abd")), at(1))
    assert second.actions == (Drain(addresses("d"), "d: more workers than the 2 wanted"),)


def test_without_rpc_too() -> None:
    (action,) = decide((*pods("abd"), LEAVING), replicas=2, scheduler=workers("abcd")).actions
    assert action == Retire(addresses("c"), "c: somebody deletes the pod")


@pytest.mark.parametrize(("silent", "goes_on"), [("", False), ("c", True)])
def test_while_it_is_refused_nobody_else_is_asked_for_unless_it_is_frozen(silent: str, *, goes_on: bool) -> None:
    """What d counts on, a call of its hook might drop."""
    refused = entry("c", asked=-1, refused=True, peers=peers(""))
    decided = decide(
        (pod("d"), LEAVING),
        replicas=0,
        scheduler=detailed("cd", silent=silent),
        retiring=[entry("d", asked=-9000, drained=at(-8000)), refused],
    )
    drained = of_kind(Drain, decided.actions)
    assert [action.addresses for action in drained] == ([addresses("d")] if goes_on else [])


@pytest.mark.parametrize("scheduler", [workers("abc"), detailed("abc")])
def test_it_waits_while_another_call_is_out(scheduler: Listed) -> None:
    calls = RetireCalls(in_flight=addresses("b"))
    retiring = [entry("b", asked=-5)]
    assert asked(decide((*pods("ab"), LEAVING), replicas=1, scheduler=scheduler, retiring=retiring, calls=calls)) == (
        frozenset()
    )


@pytest.mark.parametrize(("silent", "goes_on"), [("b", True), ("", False), ("a", False)])
def test_a_call_that_takes_long_is_passed_by_only_if_its_worker_is_silent(silent: str, *, goes_on: bool) -> None:
    """Data may be moving: a second call could then lose some of it."""
    calls = RetireCalls(in_flight=addresses("b"), stalled=addresses("b"))
    scheduler = detailed("abc", silent=silent)
    decided = decide(
        (*pods("ab"), LEAVING), replicas=1, scheduler=scheduler, retiring=[entry("b", asked=-20)], calls=calls
    )
    assert asked(decided) == (addresses("c") if goes_on else frozenset())


@pytest.mark.parametrize(
    ("listed", "stalled", "goes_on"),
    [
        pytest.param("abcd", "bd", False, id="the data of d may be moving"),
        pytest.param("abc", "bd", True, id="d is through"),
        pytest.param("abcd", "b", False, id="d was asked for just now"),
    ],
)
def test_a_call_that_names_another_worker_besides_the_silent_one_goes_on(
    listed: str, stalled: str, *, goes_on: bool
) -> None:
    """One frozen worker says nothing about the others in its call."""
    calls = RetireCalls(in_flight=addresses("bd"), stalled=addresses(stalled))
    decided = decide(
        (*pods("abd"), LEAVING),
        replicas=1,
        scheduler=detailed(listed, silent="b"),
        retiring=[entry("b", asked=-20), entry("d", asked=-20)],
        calls=calls,
    )
    assert asked(decided) == (addresses("c") if goes_on else frozenset())


def test_of_all_one_is_left_to_take_the_data_and_that_one_stays_anyway() -> None:
    both = (pod("a"), pod("b", terminating=True))
    decided = decide(both, replicas=0, scheduler=workers("ab"))
    assert asked(decided) == addresses("b")


def test_if_all_leave_one_takes_the_data_of_the_others_first() -> None:
    all_leave = pods("abc", terminating=True)
    assert asked(decide(all_leave, replicas=3, scheduler=workers("abc"))) == addresses("ab")


def test_that_one_does_so_as_long_as_others_are_there() -> None:
    """Else it would be asked for as soon as they are refused, while their hooks may be asking."""
    refused = [entry(name, asked=-1, refused=True, peers=peers("")) for name in "ab"]
    all_leave = pods("abc", terminating=True)
    assert asked(decide(all_leave, replicas=3, scheduler=workers("abc"), retiring=refused)) == frozenset()
    alone = decide(pods("c", terminating=True), replicas=3, scheduler=workers("c"))
    assert asked(alone) == addresses("c")


@pytest.mark.parametrize(("asked_at", "joined", "again"), [(-1, "", False), (-1, "b", True), (-6, "", True)])
def test_refused_it_is_asked_for_again(asked_at: float, joined: str, *, again: bool) -> None:
    refused = entry("c", asked=asked_at, refused=True, peers=peers(""))
    decided = decide((LEAVING, *pods(joined)), replicas=1, scheduler=workers("c" + joined), retiring=[refused])
    assert asked(decided) == (addresses("c") if again else frozenset())


def test_that_is_no_scale_down_that_is_blocked() -> None:
    refused = entry("c", asked=-1, refused=True, peers=peers(""))
    status = decide((LEAVING,), replicas=1, scheduler=workers("c"), retiring=[refused]).status
    assert status is not None
    found = [Condition.from_status(c) for c in status["conditions"] if c["type"] == "ScaleDownBlocked"]
    assert [c.status for c in found] == ["False"]


class TestTold:
    """What a person reads of a pod that is deleted and whose data nobody takes."""

    LAST = pod("c", terminating=True, killed_at=at(240))
    HOPELESS = entry("c", asked=-3, attempts=2, refused=True, peers=peers(""))
    MESSAGE = (
        "somebody deletes pods, and the scheduler found nobody to take the data of c (1 B): it is lost when they are "
        "killed at 2026-03-01T12:04:00Z, unless you scale up or release what they hold (delete or gather the futures, "
        "close actors)"
    )

    def test_refused_again_and_again(self) -> None:
        seen = snapshot((self.LAST,), replicas=1, scheduler=detailed("c"), retiring=[self.HOPELESS])
        decided = plan(seen, NOW)
        assert condition(decided, "HandoverPossible") == ("False", "Refused", self.MESSAGE)
        assert decided.status is not None
        [event] = [e for e in of_conditions({}, decided.status) if e.reason == "Refused"]
        assert (event.type, event.message) == ("Warning", self.MESSAGE)

        asking = plan(follow(seen, decided), at(60))
        assert asked(asking) == addresses("c")
        assert condition(asking, "HandoverPossible")[1] == "Refused", "what was said last still holds"
        done = plan(follow(seen, decided, worker_pods=pods("d"), scheduler=workers("d")), at(61))
        assert condition(done, "HandoverPossible")[0] == "True"

    def test_not_the_first_time(self) -> None:
        """Its replacement needs a moment to start."""
        first = replace(self.HOPELESS, attempts=1)
        decided = decide((self.LAST,), replicas=1, scheduler=detailed("c"), retiring=[first])
        assert condition(decided, "HandoverPossible")[0] == "True"


@pytest.mark.parametrize(
    ("leaving", "scheduler"),
    [
        (LEAVING, workers("ab")),
        (pod("c", terminating=True, finished=True), workers("abc")),
        (pod("c", terminating=True, finished=True), DOWN),
    ],
)
def test_once_gone_from_the_list_it_is_forgotten_with_its_pod(leaving: Pod, scheduler: Listed) -> None:
    seen = snapshot((*pods("ab"), leaving), replicas=2, scheduler=scheduler, retiring=[entry("c", asked=-1)])
    ending = plan(seen, NOW)
    assert (list(remembered(ending)), ending.actions) == (["c"], ())
    assert condition(ending, "Retiring")[1] == "NobodyLeaves"
    assert ending.requeue_after == POLL, "the event that the pod is gone may get lost"
    gone = plan(follow(seen, ending, worker_pods=pods("ab")), NOW)
    assert (remembered(gone), gone.actions) == ({}, ())


def test_where_the_operator_was_quicker_than_the_hook_nothing_is_wrong() -> None:
    """On a busy node the worker may have left by the time its hook would begin."""
    seen = snapshot((*pods("ab"), LEAVING), replicas=2, scheduler=workers("ab"), retiring=[entry("c", asked=-1)])
    answered = plan(replace(seen, calls=RetireCalls(moved=addresses("c"))), NOW)
    assert remembered(answered)["c"].moved
    ended = replace(LEAVING, finished=True, handover_trouble="its preStop hook did not run")
    seen = follow(seen, answered, worker_pods=(*pods("ab"), ended))
    assert plan(seen, at(5)).status is None, "nothing new is to be told"
    kept = replace(seen, cluster=replace(seen.cluster, retiring=()))
    assert condition(plan(kept, at(5)), "HandoverPossible")[1] == "HookFailed", "as where nobody asked for it"


def test_it_is_remembered_while_the_scheduler_does_not_answer() -> None:
    """How often it was refused decides when it's asked for again."""
    refused = entry("c", asked=-1, attempts=6, refused=True, peers=peers("ab"))
    silence = decide((*pods("ab"), LEAVING), replicas=2, scheduler=DOWN, retiring=[refused])
    assert remembered(silence) == {"c": refused}
    assert silence.actions == ()
    answers = decide((*pods("ab"), LEAVING), replicas=2, scheduler=workers("abc"), retiring=[refused])
    assert asked(answers) == frozenset()


def test_it_is_not_deleted_again_when_its_time_is_up() -> None:
    retirement = cluster().retirement.__class__(
        drain=timedelta(0), timeout=timedelta(seconds=1), delete_on_timeout=True
    )
    overdue = entry("c", since=-60, asked=-30, refused=True)
    decided = decide((LEAVING,), replicas=0, scheduler=workers("c"), retiring=[overdue], retirement=retirement)
    assert deleted(decided) == []
