"""The status: what it counts, what it remembers, and conditions that a person can read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import Create
from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.revision import scheduler_revision, worker_revision
from dask_k8s_operator.domain.snapshot import Owned, Pod, RetireCalls, Unreachable
from dask_k8s_operator.domain.status import Refusal, with_refusals
from dask_k8s_operator.domain.trouble import Delay, Trouble
from tests.unit.builders import (
    NOW,
    OURS,
    addresses,
    at,
    cluster,
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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_k8s_operator.domain.actions import Plan
    from dask_k8s_operator.domain.snapshot import Snapshot

QUOTA = Refusal("Pod", 'pods "x" is forbidden: exceeded quota', invalid=False)
BAD_POD = Refusal("Pod", "spec.containers[0].imag: unknown field", invalid=True)
BAD_DEPLOYMENT = Refusal("Deployment", "spec.template.spec.priorityClassName: no such class", invalid=True)
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


def test_all_of_it() -> None:
    retiring = [entry("c", asked=-2, peers=peers("ab"))]
    seen = (*pods("ab"), pod("c", ready=False), pending("d"), pod("e", terminating=True), finished("f"))
    decided = decide(seen, replicas=3, retiring=retiring, scheduler=workers("abc"))
    seen_cluster = cluster()
    common = {"observedGeneration": 3, "lastTransitionTime": "2026-03-01T12:00:00Z"}
    assert decided.status == {
        "observedGeneration": 3,
        "state": "Retiring",
        "scheduler": {
            "address": "tcp://team-a-scheduler.science.svc:8786",
            "dashboard": "http://team-a-scheduler.science.svc:8787",
            "state": "Ready",
            "revision": scheduler_revision(seen_cluster),
            "firstRevision": scheduler_revision(seen_cluster),
        },
        "workers": {
            "count": 4,
            "ready": 2,
            "updated": 4,
            "revision": worker_revision(seen_cluster),
            "firstRevision": worker_revision(seen_cluster),
            "selector": "dask.charmtx.com/cluster=team-a,dask.charmtx.com/role=worker",
            "retiring": [
                {
                    "name": "c",
                    "uid": "uid-c",
                    "addresses": ["tcp://10.0.0.99:9000"],
                    "since": "2026-03-01T11:59:00+00:00",
                    "asked": "2026-03-01T11:59:58+00:00",
                    "attempts": 1,
                    "peers": peers("ab"),
                }
            ],
            "retiringCount": 1,
        },
        "conditions": [
            {**common, "type": "Ready", "status": "False", "reason": "Starting", "message": "2 of 3 workers are ready"},
            {
                **common,
                "type": "SchedulerReady",
                "status": "True",
                "reason": "Available",
                "message": "the scheduler listens at team-a-scheduler",
            },
            {
                **common,
                "type": "WorkersReady",
                "status": "False",
                "reason": "Starting",
                "message": "2 of 3 workers are ready",
            },
            {
                **common,
                "type": "Progressing",
                "status": "True",
                "reason": "RolloutComplete",
                "message": f"all workers are of revision {worker_revision(seen_cluster)}",
            },
            {
                **common,
                "type": "SchedulerUpdated",
                "status": "True",
                "reason": "UpToDate",
                "message": f"the scheduler is of revision {scheduler_revision(seen_cluster)}",
            },
            {
                **common,
                "type": "TemplateValid",
                "status": "True",
                "reason": "Valid",
                "message": "the API server takes what the templates say",
            },
            {
                **common,
                "type": "Retiring",
                "status": "True",
                "reason": "HandingOver",
                "message": "1 worker hands over and leaves: c",
            },
            {
                **common,
                "type": "ScaleDownBlocked",
                "status": "False",
                "reason": "NothingBlocked",
                "message": "no worker is kept against the replicas wanted",
            },
            {
                **common,
                "type": "HandoverPossible",
                "status": "True",
                "reason": "NoFailure",
                "message": "no worker whose pod was deleted has said that it could not hand its data over",
            },
        ],
    }


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


class TestTransitions:
    """`lastTransitionTime` is when the status of a condition changed, not when it was written."""

    def test_is_kept_while_only_the_message_changes(self) -> None:
        before = plan(snapshot(pods("a"), replicas=3), NOW)
        after = plan(follow(snapshot(pods("ab"), replicas=3), before), at(60))
        assert times(after, "WorkersReady") == "2026-03-01T12:00:00Z"
        assert condition(after, "WorkersReady")[2] == "2 of 3 workers are ready"

    def test_moves_with_the_status_of_that_condition_alone(self) -> None:
        before = plan(snapshot(pods("a"), replicas=2), NOW)
        after = plan(follow(snapshot(pods("ab"), replicas=2), before), at(60))
        assert times(after, "WorkersReady") == "2026-03-01T12:01:00Z"
        assert times(after, "Ready") == "2026-03-01T12:01:00Z"
        assert times(after, "SchedulerReady") == "2026-03-01T12:00:00Z"

    def test_what_stands_already_isnt_written(self) -> None:
        seen = snapshot(pods("a"), replicas=1)
        assert plan(follow(seen, plan(seen, NOW)), at(60)).status is None

    def test_a_new_generation_is_told(self) -> None:
        seen = snapshot(pods("a"), replicas=1)
        after = follow(seen, plan(seen, NOW))
        decided = plan(replace(after, cluster=replace(after.cluster, generation=4)), at(60))
        assert decided.status is not None
        assert decided.status["observedGeneration"] == 4
        assert {c["observedGeneration"] for c in decided.status["conditions"]} == {4}


class TestRefusals:
    """The API server says no to a creation: its words stand in the status until something changes."""

    def test_a_quota_is_no_fault_of_the_template(self) -> None:
        told = refused(snapshot(replicas=2), QUOTA)
        message = 'the API server refused to create the Pod: pods "x" is forbidden: exceeded quota'
        assert condition(told, "WorkersReady") == ("False", "CreationRefused", message)
        assert condition(told, "Ready") == ("False", "CreationRefused", message)
        assert condition(told, "TemplateValid")[0] == "True"
        assert condition(told, "SchedulerReady")[0] == "True"

    def test_an_invalid_pod_is(self) -> None:
        told = refused(snapshot(replicas=2), BAD_POD)
        message = "the API server refused to create the Pod: spec.containers[0].imag: unknown field"
        assert condition(told, "WorkersReady") == ("False", "CreationRefused", message)
        assert condition(told, "TemplateValid") == ("False", "CreationRefused", message)

    @pytest.mark.parametrize("kind", ["Deployment", "Service"])
    def test_the_scheduler(self, kind: str) -> None:
        told = refused(snapshot(replicas=0, deployment=None, service=None), Refusal(kind, "no", invalid=False))
        message = f"the API server refused to create the {kind}: no"
        assert condition(told, "SchedulerReady") == ("False", "CreationRefused", message)
        assert condition(told, "Ready") == ("False", "CreationRefused", message)
        assert condition(told, "WorkersReady")[0] == "True"

    def test_two_tries_tell_the_same(self) -> None:
        """A worker's name is another one at each try; in the status it would cause the next try at once."""
        seen = snapshot(replicas=2)
        told = []
        for name in ("team-a-worker-bcdfgh", "team-a-worker-jklmnp"):
            creation = Create({"kind": "Pod", "metadata": {"name": name}}, "fewer workers than the 2 wanted")
            told.append(refused(seen, Refusal.of(creation, f'pods "{name}" is forbidden: full', invalid=False)))
        assert told[0] == told[1]
        assert 'pods "team-a-worker-…" is forbidden: full' in condition(told[0], "WorkersReady")[2]

    def test_a_service_is_named(self) -> None:
        creation = Create({"kind": "Service", "metadata": {"name": "team-a-scheduler"}}, "the scheduler has no Service")
        message = 'services "team-a-scheduler" is forbidden: full'
        assert Refusal.of(creation, message, invalid=False) == Refusal("Service", message, invalid=False)

    def test_the_rest_of_the_status_stands(self) -> None:
        seen = snapshot(pods("a"), replicas=2)
        assert without_conditions(refused(seen, QUOTA)) == without_conditions(plan(seen, NOW))

    @pytest.mark.parametrize(
        ("seen", "refusal"),
        [
            (snapshot(replicas=2), QUOTA),
            (snapshot(replicas=2), BAD_POD),
            (snapshot(pods("a"), replicas=1, deployment=None), BAD_DEPLOYMENT),
            (snapshot(pods("a"), replicas=1, deployment=None, service=None), BAD_DEPLOYMENT),
            (snapshot(replicas=2, deployment=None), BAD_DEPLOYMENT),
        ],
    )
    def test_the_same_answer_again_changes_nothing(self, seen: Snapshot, refusal: Refusal) -> None:
        """Each write of the status is an event, and an event starts the next try: it must not go round."""
        told = refused(seen, refusal)
        again = follow(seen, told)
        assert plan(again, at(60)).status is None
        assert created(plan(again, at(60))) == created(plan(seen, NOW)), "tried again all the same"
        assert told.status == with_refusals(told.status or {}, [refusal], now=at(60))

    @pytest.mark.parametrize(
        ("seen", "refusal", "changes"),
        [
            (snapshot(replicas=1), BAD_POD, {"worker_pods": (pending("a"),)}),
            (snapshot(replicas=0, deployment=None), BAD_DEPLOYMENT, {"deployment": Owned(ours=True)}),
        ],
    )
    def test_is_forgotten_once_it_exists(self, seen: Snapshot, refusal: Refusal, changes: Mapping[str, Any]) -> None:
        decided = plan(follow(seen, refused(seen, refusal), **changes), at(60))
        assert reasons(decided) & {"CreationRefused"} == set()

    @pytest.mark.parametrize(
        ("seen", "refusal"),
        [(snapshot(replicas=1), BAD_POD), (snapshot(replicas=0, deployment=None), BAD_DEPLOYMENT)],
    )
    def test_is_forgotten_once_the_spec_changes(self, seen: Snapshot, refusal: Refusal) -> None:
        after = follow(seen, refused(seen, refusal))
        decided = plan(replace(after, cluster=replace(after.cluster, generation=4)), at(60))
        assert reasons(decided) & {"CreationRefused"} == set()

    def test_what_is_refused_keeps_its_transition_time(self) -> None:
        before = plan(snapshot(replicas=2), NOW)
        told = refused(follow(snapshot(replicas=2), before), QUOTA, seconds=60)
        assert times(told, "WorkersReady") == "2026-03-01T12:00:00Z"
        told = refused(follow(snapshot(replicas=2), before), BAD_POD, seconds=60)
        assert times(told, "TemplateValid") == "2026-03-01T12:01:00Z"


def test_an_unreachable_scheduler_is_told_only_to_whom_it_matters() -> None:
    """A scale-down waits for it; a Cluster that has what it wants doesn't."""
    down = Unreachable("no route to host")
    assert condition(decide(pods("ab"), replicas=1, scheduler=down), "ScaleDownBlocked")[0] == "True"
    assert condition(decide(pods("a"), replicas=1, scheduler=down), "ScaleDownBlocked")[0] == "False"


def test_entries_come_back_from_the_status_as_they_went_in() -> None:
    entries = [entry("b"), entry("c", asked=-3, peers="abc", moved=True), entry("d", asked=-3, refused=True)]
    decided = decide(pods("abcd"), replicas=0, retiring=entries, scheduler=Unreachable("down"))
    assert remembered(decided) == {e.name: e for e in entries}


def refused(seen: Snapshot, refusal: Refusal, *, seconds: float = 0) -> Plan:
    """The plan for this with the status that is written when the API server refuses a creation of it."""
    decided = plan(seen, at(seconds))
    status = decided.status if decided.status is not None else seen.cluster.status
    return replace(decided, status=with_refusals(status, [refusal], now=at(seconds)))


def times(decided: Plan, kind: str) -> str:
    """When a condition changed."""
    assert decided.status is not None
    [time] = [c["lastTransitionTime"] for c in decided.status["conditions"] if c["type"] == kind]
    return str(time)


def reasons(decided: Plan) -> set[str]:
    """The reasons of all conditions."""
    assert decided.status is not None
    return {c["reason"] for c in decided.status["conditions"]}


def without_conditions(decided: Plan) -> dict[str, Any]:
    """The status without its conditions, and the word that sums them up."""
    assert decided.status is not None
    return {key: value for key, value in decided.status.items() if key not in {"conditions", "state"}}
