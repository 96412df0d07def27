"""What the status says of creations that the API server refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import Create
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import Owned
from dask_k8s_operator.domain.status import Refusal, with_refusals
from tests.unit.builders import NOW, at, condition, created, follow, pending, pods, snapshot, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_k8s_operator.domain.actions import Plan
    from dask_k8s_operator.domain.snapshot import Snapshot

QUOTA = Refusal("Pod", 'pods "x" is forbidden: exceeded quota', invalid=False)
BAD_POD = Refusal("Pod", "spec.containers[0].imag: unknown field", invalid=True)
BAD_DEPLOYMENT = Refusal("Deployment", "spec.template.spec.priorityClassName: no such class", invalid=True)


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


def refused(seen: Snapshot, refusal: Refusal, *, seconds: float = 0) -> Plan:
    """The plan for this with the status that is written when the API server refuses a creation of it."""
    decided = plan(seen, at(seconds))
    status = decided.status if decided.status is not None else seen.cluster.status
    return replace(decided, status=with_refusals(status, [refusal], now=at(seconds)))


def reasons(decided: Plan) -> set[str]:
    """The reasons of all conditions."""
    assert decided.status is not None
    return {c["reason"] for c in decided.status["conditions"]}


def without_conditions(decided: Plan) -> dict[str, Any]:
    """The status without its conditions, and the word that sums them up."""
    assert decided.status is not None
    return {key: value for key, value in decided.status.items() if key not in {"conditions", "state"}}
