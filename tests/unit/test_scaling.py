"""A Cluster that sets its own number of workers: what it asks, what it writes, what it remembers and tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import DeletePod, Scale
from dask_k8s_operator.domain.autoscale import Autoscale, Demand, Memory, Pace
from dask_k8s_operator.domain.cluster import Idle, IdleAction
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.rivals import Rivals
from dask_k8s_operator.domain.scaling import POLL, expectation, question
from dask_k8s_operator.domain.snapshot import NotAsked, Owned, Unreachable, Worker
from dask_k8s_operator.domain.status import merge_patch
from dask_k8s_operator.domain.workload import Question, Workload
from tests.unit.builders import (
    DOWN,
    NOT_ASKED,
    NOW,
    OURS,
    address,
    addresses,
    asked,
    at,
    cluster,
    condition,
    created,
    decide,
    entry,
    follow,
    of_kind,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Plan

HOLD = 60
OTHERS = (
    "spec.workers.autoscale leaves the number of workers to another autoscaler of this Cluster, the "
    "HorizontalPodAutoscaler mine, other: remove one of the two"
)


def spec(minimum: int = 0, maximum: int = 10) -> Autoscale:
    return Autoscale(minimum, maximum, up_window=timedelta(0), down_window=timedelta(seconds=HOLD))


def asking(target: int) -> Workload:
    """A scheduler that asks for so many workers, each with one thread."""
    return Workload(Demand(target, threads=1.0), tasks=100)


def written(decided: Plan) -> int | None:
    """What is written to `spec.workers.replicas`."""
    found = of_kind(Scale, decided.actions)
    return found[0].replicas if found else None


def test_nobody_is_asked_and_nothing_written_where_it_is_off() -> None:
    assert question(cluster(2), OURS, pods("ab"), NOW) is None
    decided = decide(pods("ab"), replicas=2, workload=asking(5))
    assert written(decided) is None
    assert decided.status is not None
    assert "autoscale" not in decided.status["workers"]
    assert {c["type"] for c in decided.status["conditions"]}.isdisjoint({"Autoscaling", "Idle"})


@pytest.mark.parametrize(
    ("state", "scheduler"),
    [({}, None), ({}, Owned(ours=True, ready=False)), ({"terminating": True}, OURS)],
)
def test_a_scheduler_that_is_not_ready_is_not_asked(state: dict[str, Any], scheduler: Owned | None) -> None:
    assert question(cluster(2, autoscale=spec(), **state), scheduler, (), NOW) is None


def test_how_long_workers_take_to_start_is_asked_with() -> None:
    asked = cluster(2, autoscale=spec())
    assert question(asked, OURS, (), NOW) == Question(pace=None, registered=True)
    started = pods("ab", startup=timedelta(seconds=70))
    assert question(asked, OURS, started, NOW) == Question(Pace(startup=timedelta(seconds=70)), registered=True)
    remembered = replace(asked, status={"workers": {"autoscale": {"startupSeconds": 30, "threads": 4}}})
    assert question(remembered, OURS, (), NOW) == Question(
        Pace(startup=timedelta(seconds=30), threads=4), registered=True
    )


@pytest.mark.parametrize(
    ("replicas", "target", "expected"),
    [(0, 3, 3), (2, 5, 5), (2, 50, 10), (0, 0, None), (2, 2, None), (2, 0, None), (30, 30, 10)],
)
def test_it_writes_what_the_rule_decides(replicas: int, target: int, expected: int | None) -> None:
    decided = decide(pods("abcdefghij"[:replicas]), replicas=replicas, autoscale=spec(), workload=asking(target))
    assert written(decided) == expected
    assert decided.requeue_after == POLL


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [(3, 3, True), (3, 4, False), (3, 2, False), (10, 12, True), (99, 10, True), (10, 9, False)],
)
def test_what_the_scheduler_is_expected_to_say(before: int, after: int, met: bool) -> None:
    """Again what it said; more than there can be is no news."""
    expected = expectation(snapshot((), replicas=0, autoscale=spec(), workload=asking(before)))
    assert expected is not None
    assert expected.met_by(asking(after)) == met
    assert expected.of(asking(after)).met_by(asking(after))


@pytest.mark.parametrize(
    "around",
    [
        {"autoscale": None},
        {"suspended": True},
        {"workload": NOT_ASKED},
        {"workload": DOWN},
        {"rivals": Rivals(("theirs",))},
    ],
)
def test_nothing_is_expected_of_a_scheduler_by_which_nothing_is_decided(around: dict[str, Any]) -> None:
    seen: dict[str, Any] = {"replicas": 0, "autoscale": spec(), "workload": asking(3)}
    assert expectation(snapshot((), **seen)) is not None
    assert expectation(snapshot((), **(seen | around))) is None


def test_it_looks_again_when_a_level_has_lasted_for_its_window() -> None:
    seen = snapshot(pods("abc"), replicas=3, autoscale=spec(), workload=asking(1))
    first = plan(seen, NOW)
    assert first.requeue_after == POLL
    assert plan(follow(seen, first), at(HOLD - 2)).requeue_after == timedelta(seconds=2)


def test_fewer_once_fewer_have_been_enough_for_the_window_across_restarts() -> None:
    seen = snapshot(pods("abc"), replicas=3, autoscale=spec(), workload=asking(1))
    first = plan(seen, NOW)
    assert written(first) is None
    assert condition(first, "Autoscaling") == (
        "True",
        "Holding",
        "3 workers are kept: no more than 1 have been needed since 2026-03-01T12:00:00Z",
    )
    seen = follow(seen, first)
    early = plan(seen, at(HOLD - 1))
    assert early.status is None, "nothing to write while it waits"
    assert written(early) is None
    late = plan(seen, at(HOLD))
    assert [str(action) for action in of_kind(Scale, late.actions)] == [
        "scale to 1 workers: the scheduler asks for no more than 1 workers for 60 s"
    ]
    assert not of_kind(DeletePod, late.actions), "workers go once that is written, as after any scale-down"


def test_kubectl_scale_is_where_it_goes_on_from() -> None:
    """To more than are needed: they stay for the window. To fewer: more come at once."""
    seen = snapshot(pods("ab"), replicas=2, autoscale=spec(), workload=asking(2))
    seen = follow(seen, plan(seen, NOW))
    more = replace(seen, cluster=replace(seen.cluster, replicas=5))
    decided = plan(more, at(1))
    assert written(decided) is None
    assert written(plan(follow(more, decided), at(HOLD))) is None
    assert written(plan(follow(more, decided), at(1 + HOLD))) == 2

    fewer = replace(seen, cluster=replace(seen.cluster, replicas=0))
    assert written(plan(fewer, at(1))) == 2
    beyond = replace(seen, cluster=replace(seen.cluster, replicas=11))
    assert written(plan(beyond, at(1))) == 10


@pytest.mark.parametrize(
    ("replicas", "target", "leaving", "gone", "come"),
    [
        pytest.param(1, 4, "", "", 0, id="all of them are wanted again in a moment"),
        pytest.param(1, 3, "", "d", 0, id="all but one"),
        pytest.param(1, 9, "", "", 0, id="more than there are, but not before that is written"),
        pytest.param(0, 2, "", "cd", 0, id="scaled to zero"),
        pytest.param(1, 4, "cd", "", 0, id="chosen, but not yet asked for"),
        pytest.param(30, 2, "", "", 6, id="ten in a moment, so no more come"),
        pytest.param(3, 2, "", "d", 0, id="no more are wanted"),
    ],
)
def test_nobody_goes_or_comes_for_a_number_that_is_another_in_a_moment(
    replicas: int, target: int, leaving: str, gone: str, come: int
) -> None:
    """Once a worker is drained, there is no way back: another would have to be started in its place."""
    decided = decide(
        pods("abcd"),
        replicas=replicas,
        autoscale=spec(),
        workload=asking(target),
        scheduler=workers("abcd"),
        retiring=[entry(name) for name in leaving],
    )
    assert written(decided) == {30: 10, 3: None}.get(replicas, target)
    assert asked(decided) == addresses(gone)
    assert remembered(decided).keys() == set(gone)
    assert len(created(decided)) == come


def test_workers_on_their_way_out_are_no_workforce() -> None:
    """Of six that are live, four are leaving: with two of a minute each, ten more are of use."""
    pace = {"workers": {"autoscale": {"startupSeconds": 60, "threads": 1}}}
    work = Workload(Demand(10, patient=10, lasting=6, threads=1.0), tasks=100)
    common: dict[str, Any] = {"replicas": 2, "autoscale": spec(), "workload": work, "status": pace}
    leaving = [entry(name, asked=-1) for name in "cdef"]
    assert written(decide(pods("ab"), **common)) == 10
    assert written(decide(pods("abcdef"), retiring=leaving, scheduler=workers("abcdef"), **common)) == 10
    assert written(decide(pods("abcdef"), **(common | {"replicas": 6}))) is None


def test_workers_that_have_not_registered_are_no_workforce_though_their_pods_are_ready() -> None:
    """As the pods of a command of the user's own are, of which nobody knows where it listens."""
    pace = {"workers": {"autoscale": {"startupSeconds": 60, "threads": 1}}}
    demand = Demand(10, patient=10, lasting=4, threads=1.0)
    young = (*pods("ab"), pod("c", age=10), pod("d", age=10))
    common: dict[str, Any] = {"replicas": 4, "autoscale": spec(), "status": pace}
    there = workers("abcd").workers
    assert written(decide(young, workload=Workload(demand, tasks=100, registered=there), **common)) is None
    assert written(decide(young, workload=Workload(demand, tasks=100, registered=there[:2]), **common)) == 7
    assert written(decide(young, workload=Workload(demand, tasks=100), **common)) is None


def test_a_pod_may_have_several_workers() -> None:
    """The scheduler asks for workers, or for threads while it has none, and the number that is written is of pods."""
    twins = tuple(Worker(f"{name}-{number}", address(name, 9000 + number)) for name in "ab" for number in range(3))
    work = Workload(Demand(12, threads=2.0), tasks=100, registered=twins)
    seen = snapshot(pods("ab", startup=timedelta(seconds=30)), replicas=2, autoscale=spec(), workload=work)
    decided = plan(seen, NOW)
    assert written(decided) == 4
    gone = follow(seen, decided, worker_pods=(), workload=Workload(Demand(36), tasks=100, registered=()))
    assert written(plan(replace(gone, cluster=replace(gone.cluster, replicas=0)), NOW)) == 6


@pytest.mark.parametrize(
    ("around", "status", "reason", "message"),
    [
        (
            {"workload": Unreachable("the scheduler can't be reached")},
            "Unknown",
            "SchedulerUnreachable",
            "the number of workers stays as it is: the scheduler can't be reached",
        ),
        ({"workload": NOT_ASKED}, "Unknown", "Starting", "the scheduler isn't ready"),
        (
            {"workload": asking(9), "rivals": Rivals(("mine", "other"))},
            "False",
            "HorizontalPodAutoscaler",
            OTHERS,
        ),
        (
            {"workload": asking(9), "rivals": Rivals(unknown="forbidden")},
            "Unknown",
            "AutoscalersUnknown",
            "HorizontalPodAutoscalers can't be listed, and one may scale this Cluster, too: forbidden",
        ),
    ],
)
def test_when_it_leaves_the_number_alone(around: dict[str, Any], status: str, reason: str, message: str) -> None:
    """And how long fewer have been enough is not known any more, unlike how long workers take to start."""
    before = snapshot(pods("ab", startup=timedelta(seconds=70)), replicas=2, autoscale=spec(), workload=asking(1))
    seen = follow(before, plan(before, NOW), **around)
    decided = plan(seen, at(1000))
    assert written(decided) is None
    assert condition(decided, "Autoscaling") == (status, reason, message)
    assert decided.status is not None
    memory = Memory.from_status(decided.status["workers"]["autoscale"])
    assert memory == Memory(pace=Pace(startup=timedelta(seconds=70)))
    assert decided.requeue_after == POLL


def test_a_number_out_of_bounds_is_left_to_the_other_autoscaler_too() -> None:
    decided = decide(pods("ab"), replicas=30, autoscale=spec(), workload=asking(1), rivals=Rivals(("mine",)))
    assert written(decided) is None


def test_nothing_is_written_again_while_it_changes_nothing() -> None:
    seen = snapshot(
        (*pods("ab", startup=timedelta(seconds=70)), pending("c")), replicas=3, autoscale=spec(), workload=asking(3)
    )
    seen = follow(seen, plan(seen, NOW))
    for second in range(0, 60, 5):
        decided = plan(seen, at(second))
        assert (decided.status, decided.actions) == (None, ()), second


def test_what_is_no_longer_remembered_is_taken_away_from_the_status() -> None:
    """A merge patch keeps what it doesn't name: a level from an earlier time would come back to life."""
    on = snapshot(pods("abc"), replicas=3, autoscale=spec(), workload=asking(1), idle=None)
    before = plan(on, NOW).status
    after = plan(follow(on, plan(on, NOW), workload=asking(3)), at(5)).status
    assert before is not None
    assert after is not None
    assert merge_patch(before, after)["workers"]["autoscale"]["enough"] is None
    off = replace(on, cluster=replace(on.cluster, autoscale=None, status=before))
    decided = plan(off, NOW).status
    assert decided is not None
    assert merge_patch(before, decided)["workers"]["autoscale"] is None


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": None}),
        ({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, {"a": {"b": 2, "c": None}}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, {"a": [{"c": 1}]}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge_patch(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(before, after) == patch


def test_one_that_sleeps_is_woken_by_its_tasks_and_not_by_its_minimum() -> None:
    idle = Idle(timedelta(seconds=600), IdleAction.SCALE_TO_ZERO)
    asleep: dict[str, Any] = {"replicas": 0, "autoscale": spec(minimum=2), "idle": idle}
    assert written(decide((), workload=Workload(Demand(0), tasks=0), **asleep)) is None
    assert written(decide((), workload=Workload(Demand(1), tasks=1), **asleep)) == 1
    awake = asleep | {"replicas": 1}
    assert written(decide(pods("a"), workload=asking(1), **awake)) == 2


def hpa(name: str, kind: str = "Cluster", target: str = "team-a", api: str = "dask.charmtx.com/v1alpha1") -> Any:
    reference = {"kind": kind, "name": target, "apiVersion": api}
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": reference}}


def test_whose_autoscaler_it_is() -> None:
    found = [
        hpa("b"),
        hpa("a", api="dask.charmtx.com/v1"),
        hpa("c", target="team-b"),
        hpa("d", kind="Deployment", api="apps/v1"),
        hpa("e", api="cluster.x-k8s.io/v1beta1"),
    ]
    assert Rivals.of(found, "team-a") == Rivals(("a", "b"))
    assert Rivals.of([], "team-a") == Rivals()


def test_a_scale_down_that_waits_for_the_scheduler_goes_on_beside_it() -> None:
    seen = snapshot(pods("abc"), replicas=2, autoscale=spec(), workload=asking(2), scheduler=DOWN)
    assert isinstance(seen.workload, Workload)
    assert not isinstance(seen.workload, NotAsked)
    assert condition(plan(seen, NOW), "Autoscaling")[1] == "Following"
