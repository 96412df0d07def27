"""`spec.suspend`, as tables: what is there, what is given back, and what a person is told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import Apply, Create, Repair
from dask_k8s_operator.domain.autoscale import Autoscale, Demand
from dask_k8s_operator.domain.cluster import Cluster, Idle, IdleAction, Retirement
from dask_k8s_operator.domain.manifests import scheduler_deployment
from dask_k8s_operator.domain.planner import POLL, RESYNC, needs_scheduler
from dask_k8s_operator.domain.scaling import question
from dask_k8s_operator.domain.snapshot import NotAsked, Owned, Unreachable
from dask_k8s_operator.domain.workload import Question, Workload
from tests.unit.builders import (
    DOWN,
    NOW,
    at,
    cluster,
    condition,
    created,
    decide,
    deleted,
    entry,
    manifest,
    of_kind,
    owned,
    peers,
    pending,
    pod,
    pods,
    remembered,
    workers,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Plan

WANTED = owned(scheduler_deployment(cluster()))
GIVEN_BACK = owned(scheduler_deployment(cluster(), replicas=0))
FORCED = Retirement(drain=timedelta(0), timeout=timedelta(seconds=60), delete_on_timeout=True)


def suspend(there: Any = (), **seen: Any) -> Plan:
    """The plan for a Cluster of three workers that is to be suspended."""
    return decide(there, **{"replicas": 3, "suspended": True, "deployment": WANTED, **seen})


def tasks(count: int) -> Workload:
    return Workload(Demand(0), tasks=count)


def scaled(decided: Plan) -> list[int]:
    """To how many schedulers the Deployment is scaled."""
    return [action.patch["spec"]["replicas"] for action in of_kind(Repair, decided.actions)]


def begun(seconds: float) -> dict[str, Any]:
    """The status of one whose suspension began so many seconds ago."""
    since = at(-seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
    waiting = {"type": "Suspended", "status": "False", "reason": "Retiring", "message": "", "lastTransitionTime": since}
    return {"conditions": [waiting]}


class TestReading:
    """What the spec says."""

    @pytest.mark.parametrize(("spec", "wanted"), [({}, 3), ({"suspend": False}, 3), ({"suspend": True}, 0)])
    def test_no_workers_are_wanted_and_the_number_stays(self, spec: dict[str, Any], wanted: int) -> None:
        read = Cluster.from_manifest(manifest({**spec, "workers": {"replicas": 3}}))
        assert (read.wanted, read.replicas) == (wanted, 3)


class TestWorkers:
    """They go as in any scale-down."""

    def test_those_with_data_are_retired(self) -> None:
        decided = suspend(pods("abc"), scheduler=workers("abc"))
        assert set(remembered(decided)) == {"a", "b", "c"}
        assert (scaled(decided), created(decided), deleted(decided)) == ([], [], [])
        message = "these pods are on their way out: a, b, c"
        assert condition(decided, "Suspended") == ("False", "Retiring", message)

    def test_those_that_never_started_go_at_once(self) -> None:
        assert deleted(suspend((pending("a"), pending("b")), scheduler=DOWN)) == ["b", "a"]

    def test_one_whose_data_nobody_takes_stays_and_the_condition_says_so(self) -> None:
        refused = entry("a", asked=-1, refused=True, peers=peers(""))
        decided = suspend(pods("a"), scheduler=workers("a"), retiring=[refused])
        status, reason, message = condition(decided, "Suspended")
        assert (status, reason) == ("False", "DataHeld")
        assert "nobody to take the data of a" in message
        assert message.endswith("close actors), or set spec.suspend to false")
        assert (scaled(decided), deleted(decided)) == ([], [])

    def test_a_deadline_is_for_them_too(self) -> None:
        refused = entry("a", since=-60, asked=-1, refused=True, peers=peers(""))
        decided = suspend(pods("a"), scheduler=workers("a"), retiring=[refused], retirement=FORCED)
        assert deleted(decided) == ["a"]

    def test_earlier_templates_are_of_no_interest(self) -> None:
        decided = suspend(pods("abc", revision="0123456789"), scheduler=workers("abc"))
        assert (set(remembered(decided)), created(decided)) == ({"a", "b", "c"}, [])
        assert [action.reason for action in decided.actions] == ["b, c: more workers than the 0 wanted"]

    def test_the_scheduler_is_asked_about_them(self) -> None:
        assert needs_scheduler(cluster(3, suspended=True), pods("abc"))
        assert not needs_scheduler(cluster(3), pods("abc"))


NO_POD, STARTING, STARTED = (), (pod("s", started=False, ready=False),), (pod("s"),)


class TestScheduler:
    """It goes last, and with nothing that anybody wants."""

    @pytest.mark.parametrize(
        ("workload", "scheduler_pods", "changes", "replicas", "told"),
        [
            (tasks(0), STARTED, {}, [0], "Retiring"),
            (tasks(1), STARTED, {}, [], "DataHeld"),
            (Unreachable("no route"), STARTED, {}, [], "SchedulerUnreachable"),
            (NotAsked(), STARTED, {}, [], "SchedulerNotReady"),
            # No process of it can know of anything.
            (NotAsked(), STARTING, {}, [0], "Retiring"),
            # The user has set a deadline, from when on data may be lost.
            (tasks(1), STARTED, {"retirement": FORCED}, [], "DataHeld"),
            (tasks(1), STARTED, {"retirement": FORCED, "status": begun(59)}, [], "DataHeld"),
            (tasks(1), STARTED, {"retirement": FORCED, "status": begun(60)}, [0], "Retiring"),
            (Unreachable("x"), STARTED, {"retirement": FORCED, "status": begun(60)}, [0], "Retiring"),
            (tasks(1), STARTED, {"status": begun(10**6)}, [], "DataHeld"),
            # What isn't the Cluster's is left alone.
            (tasks(0), STARTED, {"deployment": Owned(ours=False)}, [], "Retiring"),
        ],
    )
    def test_when_it_goes(
        self, workload: Any, scheduler_pods: Any, changes: dict[str, Any], replicas: list[int], told: str
    ) -> None:
        decided = suspend(workload=workload, scheduler_pods=scheduler_pods, **changes)
        assert scaled(decided) == replicas
        assert condition(decided, "Suspended")[:2] == ("False", told)
        assert decided.requeue_after <= POLL, "no event tells of tasks"

    def test_not_before_the_last_worker_is_gone(self) -> None:
        """Those that somebody deletes hand over by it."""
        leaving = pod("a", terminating=True)
        assert scaled(suspend((leaving,), scheduler=workers("a"), workload=tasks(0))) == []

    @pytest.mark.parametrize(
        ("there", "since", "retirement", "replicas"),
        [
            (pods("a", terminating=True), 60, FORCED, [0]),
            (pods("a", terminating=True), 59, FORCED, []),
            (pods("a", terminating=True), 60, Cluster.from_manifest(manifest()).retirement, []),
            # One that was chosen later has its own time.
            (pods("a"), 60, FORCED, []),
        ],
    )
    def test_after_the_deadline_it_doesnt_wait_for_hooks_that_find_nobody(
        self, there: Any, since: float, retirement: Retirement, replicas: list[int]
    ) -> None:
        """They try until the grace period is over, and end without a scheduler."""
        decided = suspend(there, scheduler=workers("a"), status=begun(since), retirement=retirement)
        assert scaled(decided) == replicas

    @pytest.mark.parametrize(
        ("count", "words"), [(1, "1 task "), (9, "9 tasks "), (12, "about 10 tasks "), (345, "about 300 tasks ")]
    )
    def test_what_would_be_lost_is_told(self, count: int, words: str) -> None:
        message = condition(suspend(workload=tasks(count)), "Suspended")[2]
        assert f"the scheduler has {words}" in message
        assert message.endswith(", so the scheduler stays")
        forced = condition(suspend(workload=tasks(count), retirement=FORCED), "Suspended")[2]
        assert forced.endswith("so the scheduler goes with them 60 s after the Cluster was suspended")

    def test_the_action_says_why(self) -> None:
        [action] = suspend(workload=tasks(0)).actions
        reason = "spec.suspend is true, and the scheduler has no tasks"
        assert str(action) == f"repair Deployment team-a-scheduler: {reason}"

    def test_a_change_of_its_template_brings_it_not_back(self) -> None:
        template = {"metadata": {"labels": {"of": "now"}}}
        decided = suspend(deployment=GIVEN_BACK, scheduler_pods=NO_POD, scheduler_template=template)
        [action] = decided.actions
        assert isinstance(action, Apply)
        assert action.manifest["spec"]["replicas"] == 0

    def test_one_that_somebody_scales_goes_again(self) -> None:
        assert scaled(suspend(workload=tasks(0), scheduler_pods=STARTING, deployment=WANTED)) == [0]

    @pytest.mark.parametrize(
        ("there", "ready", "expected"),
        [(pods("a"), True, None), ((), False, None), ((), True, Question())],
    )
    def test_it_is_asked_for_tasks_once_no_worker_is_left(
        self, there: Any, *, ready: bool, expected: Question | None
    ) -> None:
        scheduler = Owned(ours=True, ready=ready)
        assert question(cluster(3, suspended=True), scheduler, there, NOW) == expected


class TestSuspended:
    """No pod is left."""

    def test_that_is_so(self) -> None:
        decided = suspend(deployment=GIVEN_BACK, scheduler_pods=NO_POD)
        assert decided.actions == ()
        assert condition(decided, "Suspended")[:2] == ("True", "Suspended")
        for kind in ("Ready", "SchedulerReady", "WorkersReady"):
            assert condition(decided, kind)[:2] == ("False", "Suspended")
        assert decided.status is not None
        assert (decided.status["state"], decided.status["scheduler"]["state"]) == ("Suspended", "Suspended")
        assert decided.requeue_after == RESYNC

    def test_not_before_the_schedulers_pod_is_gone(self) -> None:
        decided = suspend(deployment=GIVEN_BACK, scheduler_pods=STARTED)
        assert condition(decided, "Suspended") == ("False", "Retiring", "these pods are on their way out: s")

    def test_a_scheduler_of_somebody_elses_is_left_alone(self) -> None:
        decided = suspend(deployment=Owned(ours=False, ready=True), scheduler_pods=NO_POD)
        assert (decided.actions, condition(decided, "Suspended")[:2]) == ((), ("True", "Suspended"))

    def test_made_so_it_never_has_one(self) -> None:
        decided = suspend(deployment=None, service=None, scheduler_pods=NO_POD)
        made = {action.kind: action.manifest for action in of_kind(Create, decided.actions)}
        assert set(made) == {"Deployment", "Service"}
        assert made["Deployment"]["spec"]["replicas"] == 0

    def test_a_deployment_that_somebody_deletes_is_made_again_without_a_pod(self) -> None:
        [made] = suspend(deployment=None, scheduler_pods=NO_POD).actions
        assert isinstance(made, Create)
        assert made.manifest["spec"]["replicas"] == 0

    def test_it_comes_back(self) -> None:
        decided = suspend(suspended=False, deployment=GIVEN_BACK, scheduler_pods=NO_POD)
        assert scaled(decided) == [1]
        assert created(decided) == ["Pod", "Pod", "Pod"]
        assert decided.status is not None
        assert "Suspended" not in {found["type"] for found in decided.status["conditions"]}

    def test_what_sets_the_size_rests(self) -> None:
        decided = suspend(
            workload=tasks(0),
            autoscale=Autoscale(minimum=5, maximum=9, up_window=timedelta(0), down_window=None),
            idle=Idle(after=timedelta(seconds=1), action=IdleAction.DELETE),
            status={"idleSince": at(-3600).isoformat()},
        )
        assert scaled(decided) == [0]
        assert len(decided.actions) == 1
        assert condition(decided, "Autoscaling")[:2] == ("False", "Suspended")
        assert decided.status is not None
        assert "idleSince" not in decided.status
