"""Templates that the API server is asked about before anything is made from them."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.templates import (
    FORBIDDEN,
    INVALID,
    LATEST,
    SOONEST,
    Complaint,
    Refusal,
    TemplateCheck,
    check,
    is_checked,
    trials,
)
from tests.unit.builders import (
    NOW,
    at,
    cluster,
    condition,
    created,
    decide,
    deleted,
    follow,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

NO_ACCOUNT = 'pods "team-a-worker-trial" is forbidden: error looking up service account science/me: not found'
SCHEDULER = TemplateCheck((Complaint("scheduler", INVALID, "wrong"),))
WORKER = TemplateCheck((Complaint("worker", INVALID, "wrong"),))
UNANSWERED = TemplateCheck(unanswered="nobody there")


def answered(**answers: Refusal) -> TemplateCheck:
    """The check in which the objects of these kinds and roles are refused: `worker_Pod=…`."""
    todo = trials(cluster(), has_service=False)
    return check((trial, answers.get(f"{trial.role}_{trial.manifest['kind']}")) for trial in todo)


def told(status: int | None, message: str) -> list[tuple[str, str]]:
    """Reason and message of what is wrong where the API server answers this about a worker pod."""
    return [(c.reason, c.message) for c in answered(worker_Pod=Refusal(status, message)).complaints]


class TestWhatIsAsked:
    """All that would be made, and the scheduler's pod, of which its Deployment says too little."""

    def test_everything(self) -> None:
        asked = trials(cluster(), has_service=False)
        assert [(trial.manifest["kind"], trial.role, trial.change) for trial in asked] == [
            ("Pod", "scheduler", False),
            ("Deployment", "scheduler", False),
            ("Service", "scheduler", False),
            ("Pod", "worker", False),
        ]
        assert {trial.manifest["metadata"]["namespace"] for trial in asked} == {"science"}
        assert asked[0].manifest["spec"] == asked[1].manifest["spec"]["template"]["spec"]

    def test_a_service_that_is_there_would_be_changed(self) -> None:
        """Another one could not have its ports on the nodes."""
        assert [t.change for t in trials(cluster(), has_service=True) if t.manifest["kind"] == "Service"] == [True]

    @pytest.mark.parametrize("changes", [True, False])
    def test_a_deployment_that_is_there_is_changed_if_its_template_is_another(self, *, changes: bool) -> None:
        """One that stays need not be taken by server-side apply, which is stricter than what made it."""
        asked = trials(cluster(), has_service=True, changes_deployment=changes)
        assert [t.change for t in asked if t.manifest["kind"] == "Deployment"] == [changes]

    def test_nothing_that_cant_be_made_anyway(self) -> None:
        template = {"spec": {"containers": [{"name": "scheduler", "image": "dask:1"}]}}
        asked = trials(cluster(image=None, scheduler_template=template), has_service=False)
        assert {trial.role for trial in asked} == {"scheduler"}


class TestWhatIsAnswered:
    """In the API server's own words, with the place where the user wrote it."""

    @pytest.mark.parametrize(
        ("status", "message", "reason", "ending"),
        [
            (
                400,
                'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.tolerance"',
                INVALID,
                'unknown field "spec.tolerance"',
            ),
            (
                422,
                'Pod "team-a-worker-trial" is invalid: spec.restartPolicy: Unsupported value: "Sometimes"',
                INVALID,
                'spec.restartPolicy: Unsupported value: "Sometimes"',
            ),
            (403, NO_ACCOUNT, FORBIDDEN, "error looking up service account science/me: not found"),
            (
                422,
                "failed to create typed patch object (a; Kind=Service): errors:\n  .spec.foo: no\n  .spec.bar: no",
                INVALID,
                ".spec.foo: no .spec.bar: no",
            ),
            (418, "a policy of ours", FORBIDDEN, "a policy of ours"),
        ],
    )
    def test_refused(self, status: int, message: str, reason: str, ending: str) -> None:
        whole = f"the API server refuses the workers' pods (spec.workers.template): {ending}"
        assert told(status, message) == [(reason, whole)]

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            # A quota is looked at last, when all else is well; and this pod isn't made.
            (403, 'pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3'),
            (409, 'pods "x" already exists'),
        ],
    )
    def test_taken_all_the_same(self, status: int, message: str) -> None:
        assert answered(worker_Pod=Refusal(status, message)) == TemplateCheck()

    @pytest.mark.parametrize(
        ("status", "message"),
        [(None, "no answer"), (400, 'admission webhook "w" does not support dry run')],
    )
    def test_nobody_knows(self, status: int | None, message: str) -> None:
        found = answered(worker_Pod=Refusal(status, message))
        assert found.complaints == ()
        assert message in (found.unanswered or "")

    def test_what_is_wrong_with_a_pod_isnt_repeated_of_its_deployment(self) -> None:
        wrong = Refusal(422, "wrong")
        found = answered(scheduler_Pod=wrong, scheduler_Deployment=wrong, scheduler_Service=wrong)
        assert [c.message.partition(" (")[0] for c in found.complaints] == [
            "the API server refuses the scheduler's pod",
            "the API server refuses the Service",
        ]


class TestNothingIsHalfMade:
    """Of what would be refused nothing is made, and of a new Cluster nothing at all."""

    @pytest.mark.parametrize("refused", [SCHEDULER, WORKER])
    def test_of_a_new_cluster_nothing(self, refused: TemplateCheck) -> None:
        decided = decide(replicas=2, deployment=None, service=None, templates=refused)
        assert decided.actions == ()
        for kind in ("TemplateValid", "SchedulerReady", "WorkersReady", "Ready"):
            assert condition(decided, kind) == ("False", INVALID, "wrong"), kind

    def test_workers_while_the_new_schedulers_template_is_wrong(self) -> None:
        decided = decide(pods("a"), replicas=2, templates=SCHEDULER)
        assert created(decided) == ["Pod"]
        assert condition(decided, "TemplateValid")[0] == "False"

    def test_a_scheduler_while_the_new_workers_template_is_wrong(self) -> None:
        decided = decide(pods("a"), replicas=2, deployment=None, templates=WORKER)
        assert created(decided) == ["Deployment"]
        assert condition(decided, "SchedulerReady")[1] == "Starting"
        assert condition(decided, "WorkersReady") == ("False", INVALID, "wrong")

    def test_what_runs_goes_on(self) -> None:
        decided = decide(pods("ab"), replicas=2, templates=TemplateCheck(SCHEDULER.complaints + WORKER.complaints))
        assert decided.actions == ()
        assert condition(decided, "Ready")[0] == "True"
        assert condition(decided, "TemplateValid") == ("False", INVALID, "wrong")

    def test_scaling_down_goes_on(self) -> None:
        decided = decide((*pods("ab"), pod("c", started=False)), replicas=1, scheduler=workers("ab"), templates=WORKER)
        assert (deleted(decided), set(remembered(decided))) == (["c"], {"b"})

    def test_where_nobody_knows_it_is_tried(self) -> None:
        decided = decide(replicas=1, deployment=None, service=None, templates=UNANSWERED)
        assert created(decided) == ["Deployment", "Pod", "Service"]
        assert condition(decided, "TemplateValid") == ("Unknown", "NotChecked", "nobody there")


class TestMemory:
    """The condition remembers that this generation has been asked about."""

    @pytest.mark.parametrize(("templates", "remembers"), [(None, True), (WORKER, False), (UNANSWERED, False)])
    def test_only_a_yes_is_remembered(self, templates: TemplateCheck | None, remembers: bool) -> None:
        seen = snapshot(pods("a"), replicas=1, templates=templates)
        assert not is_checked(seen.cluster)
        assert is_checked(follow(seen, plan(seen, NOW)).cluster) == remembers

    def test_of_another_generation_nothing_is_known(self) -> None:
        seen = snapshot(pods("a"), replicas=1)
        status = follow(seen, plan(seen, NOW)).cluster.status
        assert is_checked(cluster(status=status))
        assert not is_checked(cluster(status=status, generation=4))


class TestAskingAgain:
    """What may change by itself is asked again later and later."""

    @pytest.mark.parametrize(
        ("templates", "after", "due"),
        [
            (TemplateCheck((Complaint("worker", FORBIDDEN, "no"),)), 0, SOONEST),
            (TemplateCheck((Complaint("worker", FORBIDDEN, "no"),)), 8, at(8) - NOW),
            (TemplateCheck((Complaint("worker", FORBIDDEN, "no"),)), 1000, LATEST),
            (UNANSWERED, 8, at(8) - NOW),
            (WORKER, 8, RESYNC),
            (TemplateCheck(), 8, RESYNC),
        ],
    )
    def test_is_due(self, templates: TemplateCheck, after: float, due: Any) -> None:
        seen = snapshot(pods("a"), replicas=1, templates=templates)
        assert plan(follow(seen, plan(seen, NOW)), at(after)).requeue_after == due

    def test_first_after_a_moment(self) -> None:
        assert decide(pods("a"), replicas=1, templates=UNANSWERED).requeue_after == SOONEST
