"""Conditions that a person can read: what is ready, and what keeps the rest from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.snapshot import Owned, Pod, RetireCalls, Unreachable
from dask_k8s_operator.domain.trouble import Delay, Trouble
from tests.unit.builders import (
    NOW,
    OURS,
    addresses,
    at,
    condition,
    created,
    decide,
    deleted,
    entry,
    finished,
    follow,
    peers,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

TAKEN = "there is a {} team-a-scheduler that doesn't belong to this Cluster: delete it or rename the Cluster"
GOING, LEFT = Owned(ours=False, going=True), Owned(ours=False, left_behind=True)


@pytest.mark.parametrize(
    ("deployment", "service", "reason", "message"),
    [
        (GOING, GOING, "Starting", "waiting until the Deployment team-a-scheduler of an earlier Cluster"),
        (None, GOING, "Starting", "waiting until the Service team-a-scheduler of an earlier Cluster"),
        (
            LEFT,
            LEFT,
            "NameTaken",
            "kubectl delete deployments,services,pods --selector=dask.charmtx.com/cluster=team-a",
        ),
        (GOING, LEFT, "NameTaken", "the Service team-a-scheduler is left from an earlier Cluster of this name"),
        (GOING, Owned(ours=False), "NameTaken", "there is a Service team-a-scheduler that doesn't belong to this"),
    ],
)
def test_whose_the_schedulers_name_is(deployment: Owned | None, service: Owned, reason: str, message: str) -> None:
    """What the garbage collector is about to remove is nothing that anybody has to do something about."""
    decided = decide(replicas=1, deployment=deployment, service=service)
    assert created(decided) == []
    assert condition(decided, "SchedulerReady")[:2] == ("False", reason)
    assert message in condition(decided, "SchedulerReady")[2]
    assert condition(decided, "WorkersReady")[:2] == ("False", reason)


@pytest.mark.parametrize(
    ("deployment", "service", "status", "reason", "message"),
    [
        (OURS, OURS, "True", "Available", "the scheduler listens at team-a-scheduler"),
        (None, OURS, "False", "Starting", "waiting for Deployment team-a-scheduler to be available"),
        (OURS, None, "False", "Starting", "waiting for Deployment team-a-scheduler to be available"),
        (Owned(ours=True), OURS, "False", "Starting", "waiting for Deployment team-a-scheduler to be available"),
        (
            Owned(ours=True, trouble=Trouble("FailedCreate", "its pod can't be made: exceeded quota: few")),
            OURS,
            "False",
            "FailedCreate",
            "Deployment team-a-scheduler: its pod can't be made: exceeded quota: few",
        ),
        (
            Owned(ours=False, ready=True),
            OURS,
            "False",
            "NameTaken",
            TAKEN.format("Deployment"),
        ),
        (
            OURS,
            Owned(ours=False),
            "False",
            "NameTaken",
            TAKEN.format("Service"),
        ),
    ],
)
def test_scheduler(deployment: Owned | None, service: Owned | None, status: str, reason: str, message: str) -> None:
    decided = decide(pods("a"), replicas=1, deployment=deployment, service=service)
    assert condition(decided, "SchedulerReady") == (status, reason, message)
    assert decided.status is not None
    assert decided.status["scheduler"]["state"] == ("Ready" if status == "True" else "Pending")


@pytest.mark.parametrize(
    ("seen", "replicas", "expected"),
    [
        (pods("ab"), 2, ("True", "AllReady", "2 of 2 workers are ready")),
        ((), 0, ("True", "AllReady", "0 of 0 workers are ready")),
        # Too many is no reason not to be ready.
        (pods("abc"), 2, ("True", "AllReady", "2 of 2 workers are ready")),
        ((pod("a"), pending("b")), 2, ("False", "Starting", "1 of 2 workers are ready")),
        ((pod("a"), pod("b", terminating=True)), 2, ("False", "Starting", "1 of 2 workers are ready")),
    ],
)
def test_workers(seen: tuple[Any, ...], replicas: int, expected: tuple[str, str, str]) -> None:
    decided = decide(seen, replicas=replicas, scheduler=workers("abc"))
    assert condition(decided, "WorkersReady") == expected
    assert condition(decided, "Ready") == expected


def test_the_scheduler_comes_first_in_what_isnt_ready() -> None:
    decided = decide(replicas=1, deployment=Owned(ours=True))
    assert condition(decided, "Ready") == condition(decided, "SchedulerReady")


def test_a_scheduler_that_starts_isnt_to_blame_for_a_worker_that_cant_be_made() -> None:
    decided = decide(replicas=1, deployment=Owned(ours=True), image=None)
    assert condition(decided, "SchedulerReady")[1] == "Starting"
    assert condition(decided, "WorkersReady")[1] == "InvalidSpec"


class TestTroubledPods:
    """Pods that can't work tell why."""

    def test_the_first_one_explains_why_workers_are_missing(self) -> None:
        pull = Trouble("ImagePullBackOff", "image dask:2: not found")
        decided = decide((*pods("a"), pod("b", ready=False, trouble=pull), pending("c")), replicas=3)
        told = "1 of 3 workers are ready; Pod b: image dask:2: not found"
        assert condition(decided, "WorkersReady") == ("False", "ImagePullBackOff", told)

    def test_those_on_their_way_out_explain_nothing(self) -> None:
        crash = Trouble("CrashLoopBackOff", "image dask:2")
        leaving = pod("b", ready=False, terminating=True, trouble=crash)
        decided = decide((*pods("a"), leaving, pending("c")), replicas=2)
        assert condition(decided, "WorkersReady") == ("False", "Starting", "1 of 2 workers are ready")

    def test_a_schedulers(self) -> None:
        crash = pod("s", ready=False, trouble=Trouble("StartError", "image dask:2 can't start its command: no dask"))
        decided = decide(pods("a"), replicas=1, scheduler_pods=[crash], deployment=Owned(ours=True))
        told = "Pod s: image dask:2 can't start its command: no dask"
        assert condition(decided, "SchedulerReady") == ("False", "StartError", told)
        assert condition(decided, "Ready") == ("False", "StartError", told)


class TestSlowPods:
    """Pods of which nothing is known but that they take long."""

    def test_are_told_after_a_while_and_looked_at_just_then(self) -> None:
        slow = pod("b", ready=False, delay=Delay(NOW, Trouble("NotReady", "nothing listens")))
        seen = snapshot((*pods("a"), slow), replicas=2)
        first = plan(seen, at(1))
        assert condition(first, "WorkersReady") == ("False", "Starting", "1 of 2 workers are ready")
        assert first.requeue_after == at(59) - NOW
        told = plan(seen, at(60))
        message = "1 of 2 workers are ready; Pod b: nothing listens"
        assert condition(told, "WorkersReady") == ("False", "NotReady", message)
        assert told.requeue_after == RESYNC

    def test_known_trouble_of_another_comes_first(self) -> None:
        slow = pod("b", ready=False, delay=Delay(NOW, Trouble("NotReady", "nothing listens")))
        crash = pod("c", ready=False, trouble=Trouble("StartError", "no dask"))
        assert condition(plan(snapshot((slow, crash), replicas=2), at(60)), "WorkersReady")[1] == "StartError"


class TestWorkersThatEndAtOnce:
    """Their pods are done, so that nothing of them is in trouble."""

    def test_are_told_until_the_spec_changes_or_enough_are_ready(self) -> None:
        seen = snapshot((*pods("a"), finished("b", ran=1)), replicas=2)
        decided = plan(seen, NOW)
        told = (
            "False",
            "EndedAtOnce",
            "1 of 2 workers are ready; Pod b: its worker ended as soon as it began: does its command start one?",
        )
        assert condition(decided, "WorkersReady") == told
        again = follow(seen, decided, worker_pods=(*pods("a"), pending("c")))
        assert condition(plan(again, at(10)), "WorkersReady") == told
        changed = replace(again, cluster=replace(again.cluster, generation=4))
        assert condition(plan(changed, at(10)), "WorkersReady")[1] == "Starting"
        assert condition(plan(replace(again, worker_pods=pods("ac")), at(10)), "WorkersReady")[0] == "True"

    @pytest.mark.parametrize("done", [finished("b", ran=600), finished("b", ran=1, terminating=True)])
    def test_not_those_that_worked_or_go(self, done: Pod) -> None:
        assert condition(decide((*pods("a"), done), replicas=2), "WorkersReady")[1] == "Starting"


class TestHandover:
    """What preStop hooks had to say."""

    def test_a_hook_that_could_do_nothing_is_not_told_where_the_operator_could(self) -> None:
        leaving = pod("b", terminating=True, handover_trouble="no shell")
        told = [
            condition(decide((*pods("a"), leaving), replicas=1, retiring=entries), "HandoverPossible")[0]
            for entries in ([], [entry("b", asked=-5)], [entry("b", asked=-5, moved=True)])
        ]
        assert told == ["False", "False", "True"]

    def test_a_hook_that_could_do_nothing_is_told_until_the_spec_changes(self) -> None:
        leaving = pod("b", terminating=True, handover_trouble="no python")
        seen = snapshot((*pods("a"), leaving), replicas=1)
        decided = plan(seen, NOW)
        told = ("False", "HookFailed", "Pod b was deleted and kept its data to itself: no python")
        assert condition(decided, "HandoverPossible") == told
        gone = follow(seen, decided, worker_pods=(*pods("a"), pending("c")))
        later = plan(gone, NOW)
        assert condition(later, "HandoverPossible") == told
        changed = follow(gone, later)
        changed = replace(changed, cluster=replace(changed.cluster, generation=4))
        assert condition(plan(changed, NOW), "HandoverPossible")[0] == "True"


class TestBlocked:
    """A scale-down that doesn't go on."""

    def test_stands_while_the_scheduler_is_asked_once_more(self) -> None:
        refused = entry("a", asked=-60, attempts=1, refused=True, peers=peers(""))
        seen = snapshot(pods("a"), replicas=0, retiring=[refused], scheduler=workers("a"))
        decided = plan(seen, at(-58))
        told = condition(decided, "ScaleDownBlocked")
        assert told[0] == "True"
        again = plan(follow(seen, decided), NOW)
        assert remembered(again)["a"].attempts == 2
        assert condition(again, "ScaleDownBlocked") == told

    def test_ends_once_it_has_moved(self) -> None:
        refused = entry("a", asked=-60, attempts=1, refused=True, peers=peers(""))
        seen = snapshot(pods("ab"), replicas=1, retiring=[refused], scheduler=workers("a"))
        decided = plan(seen, at(-58))
        assert condition(decided, "ScaleDownBlocked")[0] == "True"
        moved = RetireCalls(moved=addresses("a"))
        done = plan(follow(seen, decided, scheduler=workers("b"), calls=moved), NOW)
        assert deleted(done) == ["a"]
        assert condition(done, "ScaleDownBlocked")[0] == "False"


def test_an_unreachable_scheduler_is_told_only_to_whom_it_matters() -> None:
    """A scale-down waits for it; a Cluster that has what it wants doesn't."""
    down = Unreachable("no route to host")
    assert condition(decide(pods("ab"), replicas=1, scheduler=down), "ScaleDownBlocked")[0] == "True"
    assert condition(decide(pods("a"), replicas=1, scheduler=down), "ScaleDownBlocked")[0] == "False"
