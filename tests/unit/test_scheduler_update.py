"""How a change of `spec.scheduler`, and what others change, reaches the scheduler that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.actions import Apply, Repair, TakeOver
from dask_k8s_operator.domain.autoscale import Demand
from dask_k8s_operator.domain.cluster import SchedulerStrategy
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service
from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.revision import scheduler_revision
from dask_k8s_operator.domain.scaling import question
from dask_k8s_operator.domain.schedulerupdate import POLL, QUIET
from dask_k8s_operator.domain.snapshot import Owned, Unreachable
from dask_k8s_operator.domain.status import Refusal, with_refusals
from dask_k8s_operator.domain.templates import INVALID, Complaint, TemplateCheck
from dask_k8s_operator.domain.workload import Question, Workload
from tests.unit.builders import NOW, at, cluster, condition, decide, follow, of_kind, owned, pod, pods, snapshot

if TYPE_CHECKING:
    from datetime import datetime

    from dask_k8s_operator.domain.actions import Plan
    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Pod, Snapshot

EARLIER, LATER = {"metadata": {"labels": {"of": "then"}}}, {"metadata": {"labels": {"of": "now"}}}
WHEN_IDLE, RECREATE, ON_DELETE = SchedulerStrategy
CHANGED = "spec.scheduler.template or spec.image has changed"
OTHERS = "others have changed fields that are the operator's"


def made(spec: Cluster | None = None, **metadata: Any) -> Owned:
    """The scheduler's Deployment as the operator made it from a spec."""
    return owned(scheduler_deployment(spec or cluster(scheduler_template=EARLIER)), **metadata)


def serving(spec: Cluster | None = None, **metadata: Any) -> Owned:
    """The scheduler's Service as the operator made it from a spec."""
    return owned(scheduler_service(spec or cluster()), **metadata)


def kept(fields: dict[str, Any], *, manager: str = "dask-operator", seconds: float = -3600) -> dict[str, Any]:
    """An entry of `managedFields`."""
    time = at(seconds).isoformat()
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields, "time": time}


def fields_of(value: Any) -> dict[str, Any]:
    """What the API server keeps of a part of a manifest that somebody applied."""
    if isinstance(value, dict):
        return {f"f:{key}": fields_of(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        key = "uid" if "uid" in value[0] else "name"
        return {f'k:{{"{key}":"{item[key]}"}}': fields_of(item) for item in value}
    return {}


def work(tasks: int, *, submitted: datetime | None = None) -> Workload:
    """What the scheduler says of its tasks."""
    return Workload(Demand(0, threads=1.0), tasks=tasks, submitted=submitted)


def changed(**fields: Any) -> Snapshot:
    """A Cluster at rest but for its scheduler's template, which has just become another."""
    usual: dict[str, Any] = {"replicas": 1, "deployment": made(), "scheduler_template": LATER}
    return snapshot(pods("a"), **(usual | fields))


def applied(decided: Plan) -> list[str]:
    """The kinds of what is applied."""
    return [action.kind for action in of_kind(Apply, decided.actions)]


class TestWhenIdle:
    """The default: with a scheduler go all keys, so it is replaced once it has none."""

    def test_the_condition_says_what_it_waits_for(self) -> None:
        decided = plan(changed(workload=work(3)), NOW)
        message = f"{CHANGED}: the scheduler restarts once it has no tasks; it has 3 tasks now"
        assert condition(decided, "SchedulerUpdated") == ("False", "WaitingForIdle", message)
        assert (decided.actions, decided.requeue_after) == ((), POLL)
        assert decided.status is not None
        assert decided.status["state"] == "Updating"

    @pytest.mark.parametrize(
        ("tasks", "told"), [(1, "1 task"), (9, "9 tasks"), (10, "about 10 tasks"), (3999, "about 3000 tasks")]
    )
    def test_not_each_task_is_news(self, tasks: int, told: str) -> None:
        assert condition(plan(changed(workload=work(tasks)), NOW), "SchedulerUpdated")[2].endswith(f"it has {told} now")

    @pytest.mark.parametrize(
        ("looks", "seconds", "restarts"),
        [
            # Twice, and not at once: between two computations there may be none for a moment.
            ([0, 0], 5, True),
            ([0, 0], 4, False),
            ([0, 0, 0], 2.5, True),
            ([0, 2, 0], 5, False),
            ([0, Unreachable("busy"), 0], 5, False),
            ([0], 5, False),
        ],
    )
    def test_when(self, looks: list[int | Unreachable], seconds: float, *, restarts: bool) -> None:
        seen, restarted = changed(), False
        for number, answer in enumerate(looks):
            said = answer if isinstance(answer, Unreachable) else work(answer)
            decided = plan(replace(seen, workload=said), at(seconds * number))
            seen = follow(seen, decided)
            restarted = bool(of_kind(Apply, decided.actions))
        assert restarted == restarts

    def test_work_that_came_and_went_between_two_looks_counts(self) -> None:
        first = plan(changed(workload=work(0)), NOW)
        busy = follow(changed(), first, workload=work(0, submitted=at(3)))
        assert applied(plan(busy, at(5))) == []
        idle = follow(changed(), first, workload=work(0, submitted=at(-3)))
        assert applied(plan(idle, at(5))) == ["Deployment"]

    def test_one_that_cant_be_asked_stays(self) -> None:
        decided = plan(changed(workload=Unreachable("it is frozen")), NOW)
        status, reason, message = condition(decided, "SchedulerUpdated")
        assert (status, reason) == ("Unknown", "SchedulerUnreachable")
        assert message.endswith("can't be asked for them: it is frozen; to restart it all the same, delete its pod")
        assert (decided.actions, decided.requeue_after) == ((), POLL)

    @pytest.mark.parametrize(
        ("fields", "asked"),
        [
            ({}, True),
            ({"scheduler_template": EARLIER}, False),
            ({"scheduler_update": RECREATE}, False),
            ({"scheduler_update": ON_DELETE}, False),
        ],
    )
    def test_the_scheduler_is_asked_for_its_tasks_only_then(self, fields: dict[str, Any], *, asked: bool) -> None:
        spec = cluster(**({"scheduler_template": LATER} | fields))
        assert (question(spec, made(), pods("a"), NOW) is not None) == asked

    def test_the_second_time_it_is_asked_when_there_was_work(self) -> None:
        seen = changed(workload=work(0))
        assert question(seen.cluster, made(), (), NOW) == Question(submissions=False)
        assert question(follow(seen, plan(seen, NOW)).cluster, made(), (), NOW) == Question(submissions=True)


class TestOtherStrategies:
    """For those who know better when a restart does no harm."""

    def test_recreate_is_at_once(self) -> None:
        decided = plan(changed(scheduler_update=RECREATE), NOW)
        [action] = of_kind(Apply, decided.actions)
        assert action == Apply(
            scheduler_deployment(cluster(scheduler_template=LATER)), "uid-Deployment", "rv-Deployment", CHANGED
        )
        assert condition(decided, "SchedulerUpdated") == ("False", "Replacing", f"{CHANGED}: it is replaced now")

    def test_on_delete_waits_for_somebody(self) -> None:
        seen = changed(scheduler_update=ON_DELETE)
        decided = plan(seen, NOW)
        message = f"{CHANGED}: the scheduler is replaced once somebody deletes Pod scheduler"
        assert condition(decided, "SchedulerUpdated") == ("False", "WaitingForDeletion", message)
        assert (decided.actions, decided.requeue_after) == ((), RESYNC)
        # Its successor is made of the old template, and has not started yet.
        gone = [pod("scheduler", terminating=True), pod("next", started=False, ready=False)]
        assert applied(plan(follow(seen, decided, scheduler_pods=tuple(gone)), NOW)) == ["Deployment"]

    def test_on_delete_misses_no_deletion(self) -> None:
        """Its successor may be in use before anybody has looked."""
        seen = changed(scheduler_update=ON_DELETE)
        seen = follow(seen, plan(seen, NOW), scheduler_pods=(pod("next"),))
        assert question(seen.cluster, made(), (), NOW) is not None
        busy = plan(replace(seen, workload=work(2)), NOW)
        message = f"{CHANGED}, and its pod was deleted: the scheduler restarts once it has no tasks; it has 2 tasks now"
        assert condition(busy, "SchedulerUpdated") == ("False", "WaitingForIdle", message)
        quiet = plan(follow(seen, busy, workload=work(0)), NOW)
        idle = plan(follow(seen, quiet, workload=work(0)), at(5))
        assert applied(idle) == ["Deployment"]
        assert applied(quiet) == applied(busy) == []

    def test_on_delete_remembers_for_what_while_a_write_has_to_wait(self) -> None:
        """Its Deployment was written a moment ago; by its turn, the next scheduler may run."""
        just_made = made(managedFields=[kept({}, seconds=0)])
        seen = changed(scheduler_update=ON_DELETE, deployment=just_made)
        seen = follow(seen, plan(seen, NOW), scheduler_pods=(pod("scheduler", terminating=True),))
        waiting = plan(seen, NOW)
        assert applied(waiting) == []
        seen = follow(seen, waiting, scheduler_pods=(pod("next"),), workload=work(0))
        assert condition(plan(seen, NOW), "SchedulerUpdated")[1] == "WaitingForIdle"

    def test_on_delete_forgets_for_what_once_it_is_replaced(self) -> None:
        seen = changed(scheduler_update=ON_DELETE)
        decided = plan(seen, NOW)
        assert decided.status is not None
        assert decided.status["scheduler"]["awaitedPods"] == ["uid-scheduler"]
        done = follow(seen, decided, deployment=made(seen.cluster))
        again = plan(done, NOW)
        assert again.status is not None
        assert "awaitedPods" not in again.status["scheduler"]


class TestNothingToLose:
    """A scheduler that nobody can have reached knows of no key: a mistake is put right by editing."""

    @pytest.mark.parametrize("strategy", [WHEN_IDLE, ON_DELETE])
    @pytest.mark.parametrize(
        ("there", "replaced"),
        [
            ([], True),
            ([pod("scheduler", started=False, ready=False)], True),
            ([pod("scheduler", reachable=False)], True),
            ([pod("scheduler", finished=True)], True),
            ([pod("scheduler", terminating=True)], True),
            ([pod("scheduler", ready=False)], False),
            ([pod("scheduler"), pod("second", started=False)], False),
        ],
    )
    def test_at_once(self, strategy: SchedulerStrategy, there: list[Pod], *, replaced: bool) -> None:
        decided = plan(changed(scheduler_update=strategy, scheduler_pods=there), NOW)
        assert (applied(decided) == ["Deployment"]) == replaced

    def test_unless_the_service_leads_to_those_that_arent_ready(self) -> None:
        there = [pod("scheduler", reachable=False)]
        service = {"publishNotReadyAddresses": True}
        seen = changed(scheduler_pods=there, scheduler_service=service, workload=work(1))
        assert condition(plan(seen, NOW), "SchedulerUpdated")[1] == "WaitingForIdle"


class TestWhatItWasMadeFrom:
    """A newer operator restarts no scheduler, and its defaults are no change."""

    def test_one_without_an_annotation_is_of_the_first_template_that_was_seen(self) -> None:
        seen = snapshot(pods("a"), replicas=1, deployment=made(annotations={}), scheduler_template=EARLIER)
        decided = plan(seen, NOW)
        assert condition(decided, "SchedulerUpdated")[:2] == ("True", "UpToDate")
        assert decided.status is not None
        first = decided.status["scheduler"]
        assert first["revision"] == first["firstRevision"] == scheduler_revision(seen.cluster)
        edited = cluster(1, scheduler_template=LATER, status=decided.status, scheduler_update=RECREATE)
        assert applied(plan(follow(seen, decided, cluster=edited), NOW)) == ["Deployment"]

    def test_other_defaults_are_no_change(self) -> None:
        template = made().spec["template"]
        fields = fields_of({"spec": {"template": {**template, "spec": {"restartPolicy": "Always"}}}})
        annotations = {**made().annotations, names.ANNOTATION_APPLIED: "by-another"}
        found = made(annotations=annotations, managedFields=[kept(fields)])
        decided = plan(changed(deployment=found, scheduler_template=EARLIER), NOW)
        assert condition(decided, "SchedulerUpdated")[0] == "True"
        assert decided.actions == ()

    def test_a_change_that_is_undone_is_none(self) -> None:
        seen = changed(workload=work(3))
        waiting = plan(seen, NOW)
        undone = cluster(1, scheduler_template=EARLIER, status=waiting.status)
        assert condition(plan(follow(seen, waiting, cluster=undone), NOW), "SchedulerUpdated")[0] == "True"


class TestRefused:
    """What the API server doesn't take changes nothing."""

    def test_while_the_template_is_wrong_it_stays(self) -> None:
        wrong = TemplateCheck((Complaint("scheduler", INVALID, "no such field"),))
        changes = {"scheduler_update": RECREATE, "scheduler_service": {"type": "NodePort"}}
        decided = plan(changed(templates=wrong, **changes), NOW)
        told = ("False", "TemplateRefused", "the scheduler stays as it is: no such field")
        assert condition(decided, "SchedulerUpdated") == told
        assert decided.actions == ()

    def test_a_change_that_is_refused_is_told_as_long_as_it_is_tried(self) -> None:
        seen = changed(scheduler_update=RECREATE)
        first = plan(seen, NOW)
        assert first.status is not None
        refusal = Refusal("Deployment", "a policy of ours", invalid=False, change=True)
        told = with_refusals(first.status, [refusal], now=NOW)
        [found] = [c for c in told["conditions"] if c["type"] == "SchedulerUpdated"]
        assert (found["reason"], found["message"]) == (
            "ChangeRefused",
            "the API server refused to change the Deployment: a policy of ours",
        )
        assert told["state"] == "Stalled"
        again = plan(changed(scheduler_update=RECREATE, status=told), NOW)
        assert again.status is None
        assert applied(again) == ["Deployment"]


class TestService:
    """It restarts nothing, so it follows at once."""

    def test_a_change_is_applied(self) -> None:
        spec: dict[str, Any] = {
            "scheduler_service": {"type": "NodePort"},
            "scheduler_service_metadata": {"annotations": {"a": "b"}},
        }
        decided = decide(pods("a"), replicas=1, **spec)
        [action] = of_kind(Apply, decided.actions)
        assert action == Apply(
            scheduler_service(cluster(**spec)), "uid-Service", "rv-Service", "it isn't what the spec says"
        )
        assert condition(decided, "SchedulerUpdated")[0] == "True"

    def test_that_of_somebody_else_is_left_alone(self) -> None:
        foreign = Owned(ours=False, metadata=serving().metadata, spec={})
        assert decide(pods("a"), replicas=1, service=foreign, scheduler_service={"type": "NodePort"}).actions == ()


class TestWhatOthersChange:
    """Fields that are the operator's come back; those of others are none of its business."""

    @pytest.mark.parametrize(
        ("spec", "labels", "repaired"),
        [
            ({}, {}, False),
            ({"replicas": 2}, {}, True),
            ({"replicas": 0}, {}, True),
            ({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}, {}, True),
            ({}, {names.LABEL_ROLE: "worker"}, True),
            ({"minReadySeconds": 5, "paused": True}, {"example.com/theirs": "1"}, False),
        ],
    )
    def test_there_is_one_scheduler_at_a_time(
        self, spec: dict[str, Any], labels: dict[str, str], *, repaired: bool
    ) -> None:
        found = made(labels={**made().metadata["labels"], **labels})
        found = Owned(ours=True, ready=True, metadata=found.metadata, spec={**found.spec, **spec})
        # Whatever else is to change, the template is not touched by this.
        for template in (EARLIER, LATER):
            repairs = of_kind(Repair, plan(changed(deployment=found, scheduler_template=template), NOW).actions)
            assert [repair.patch["spec"] for repair in repairs] == [
                {"replicas": 1, "strategy": {"type": "Recreate", "rollingUpdate": None}}
            ] * repaired

    def test_the_template_comes_back_as_a_change_of_it_does(self) -> None:
        template = made().spec["template"]
        whole, less = fields_of({"spec": {"template": template}}), fields_of({"spec": {"template": {"metadata": {}}}})
        ours = changed(deployment=made(managedFields=[kept(whole)]), scheduler_template=EARLIER)
        assert condition(plan(ours, NOW), "SchedulerUpdated")[0] == "True"
        theirs = made(managedFields=[kept(less), kept(whole, manager="kubectl-edit")])
        seen = changed(deployment=theirs, scheduler_template=EARLIER, workload=work(1))
        assert condition(plan(seen, NOW), "SchedulerUpdated") == (
            "False",
            "WaitingForIdle",
            f"{OTHERS}: the scheduler restarts once it has no tasks; it has 1 task now",
        )

    def test_the_service_comes_back_at_once(self) -> None:
        metadata = {k: v for k, v in serving().metadata.items() if k in {"labels", "annotations", "ownerReferences"}}
        whole = fields_of({"metadata": metadata, "spec": serving().spec})
        assert decide(pods("a"), replicas=1, service=serving(managedFields=[kept(whole)])).actions == ()
        less = {**whole, "f:spec": {**whole["f:spec"], "f:ports": {}}}
        del less["f:spec"]["f:selector"]
        decided = decide(pods("a"), replicas=1, service=serving(managedFields=[kept(less)]))
        assert [action.reason for action in of_kind(Apply, decided.actions)] == [OTHERS]

    def test_nobody_is_answered_at_once_again_and_again(self) -> None:
        """An autoscaler of the Deployment, say: two controllers that both insist must not spin."""
        found = made(managedFields=[kept(fields_of({"spec": {"template": made().spec["template"]}}), seconds=-4)])
        found = Owned(ours=True, ready=True, metadata=found.metadata, spec={**found.spec, "replicas": 2})
        seen = changed(deployment=found, scheduler_template=EARLIER)
        resting = follow(seen, plan(seen, NOW))
        decided = plan(resting, NOW)
        assert (decided.actions, decided.requeue_after) == ((), QUIET - (NOW - at(-4)))
        assert [action.kind for action in of_kind(Repair, plan(resting, at(6)).actions)] == ["Deployment"]
        # What a person has just asked for is another matter.
        assert of_kind(Repair, plan(seen, NOW).actions)

    def test_what_it_created_is_taken_over_first(self) -> None:
        entry = {**kept({"f:spec": {"f:replicas": {}}}), "operation": "Update"}
        found = made(managedFields=[entry])
        decided = plan(changed(deployment=found, scheduler_update=RECREATE), NOW)
        [action] = of_kind(TakeOver, decided.actions)
        assert applied(decided) == []
        assert (action.kind, action.name, action.resource_version) == (
            "Deployment",
            "team-a-scheduler",
            "rv-Deployment",
        )
        assert action.managed_fields == [{**entry, "operation": "Apply"}]


def test_before_there_is_a_scheduler_nothing_is_said_of_it() -> None:
    decided = decide(replicas=1, deployment=None, service=None)
    assert condition(decided, "SchedulerUpdated")[:2] == ("Unknown", "NotCreated")


def test_that_of_somebody_else_is_left_alone() -> None:
    foreign = Owned(ours=False, metadata=made().metadata, spec={"replicas": 2})
    assert plan(changed(deployment=foreign), NOW).actions == ()
