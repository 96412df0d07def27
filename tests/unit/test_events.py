"""Which Events a decision and its outcome make."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s_operator.domain.actions import (
    Action,
    Apply,
    Create,
    DeleteCluster,
    DeletePod,
    Drain,
    Repair,
    Retire,
    Scale,
    TakeOver,
)
from dask_k8s_operator.domain.events import Event, of_actions, of_conditions
from tests.unit.builders import NOW


def make(kind: str, name: str, reason: str = "fewer workers than the 2 wanted") -> Create:
    return Create({"kind": kind, "metadata": {"name": name}}, reason)


def delete(name: str, reason: str) -> DeletePod:
    return DeletePod(name=name, uid=f"uid-{name}", resource_version="1", reason=reason)


def condition(kind: str, status: str, reason: str = "Why", message: str = "because") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def status(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": list(conditions)}


def test_one_for_all_that_is_done_for_one_reason() -> None:
    done: list[Action] = [
        make("Pod", "b"),
        make("Pod", "a"),
        delete("c", "it has finished"),
        delete("d", "it was retired"),
    ]
    done.append(make("Service", "s", "the scheduler has no Service"))
    assert of_actions(done) == [
        Event("Normal", "CreatedWorkers", "created b, a: fewer workers than the 2 wanted"),
        Event("Normal", "DeletedWorkers", "deleted c: it has finished"),
        Event("Normal", "DeletedWorkers", "deleted d: it was retired"),
        Event("Normal", "CreatedScheduler", "created Service s: the scheduler has no Service"),
    ]


def test_requests_to_the_scheduler() -> None:
    """By the pods' names: nobody knows their addresses."""
    who = frozenset({"tcp://b:1", "tcp://a:1"})
    assert of_actions([Drain(who, "x, y: too many"), Retire(who, "x, y: too many")]) == [
        Event("Normal", "DrainingWorkers", "asked the scheduler to drain x, y: too many"),
        Event("Normal", "RetiringWorkers", "asked the scheduler to retire x, y: too many"),
    ]


def test_the_size_of_the_cluster() -> None:
    assert of_actions(
        [Scale(5, "the scheduler asks for 5 workers"), DeleteCluster("uid", NOW, "nobody has used it")]
    ) == [
        Event("Normal", "Scaled", "set spec.workers.replicas to 5: the scheduler asks for 5 workers"),
        Event("Normal", "DeletedIdle", "deleted the Cluster: nobody has used it"),
    ]


def test_what_becomes_of_a_scheduler_that_is_there() -> None:
    """That the API server's bookkeeping was put right is nothing to be told."""
    done: list[Action] = [
        Apply({"kind": "Service", "metadata": {"name": "s"}}, "uid", "1", "it isn't what the spec says"),
        Repair("Deployment", "s", {}, "uid", "1", "others have changed it"),
        TakeOver("Deployment", "s", [], "1", "so that what is dropped goes"),
    ]
    assert of_actions(done) == [
        Event("Normal", "ChangedScheduler", "changed Service s: it isn't what the spec says"),
        Event("Normal", "ChangedScheduler", "changed Deployment s: others have changed it"),
    ]


def test_a_hundred_are_counted() -> None:
    [event] = of_actions([make("Pod", f"w{number}") for number in range(100)])
    assert event.message == "created w0, w1, w2, w3, w4 and 95 more: fewer workers than the 2 wanted"


def test_nothing_happened() -> None:
    assert of_actions([]) == []
    assert of_conditions({}, {}) == []


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        ([], [condition("Ready", "True")], [Event("Normal", "Ready", "because")]),
        ([condition("Ready", "True", message="3 of 3")], [condition("Ready", "True")], []),
        ([], [condition("Ready", "False")], []),
        ([], [condition("WorkersReady", "False", "Starting")], []),
        ([], [condition("WorkersReady", "False", "Unschedulable")], [Event("Warning", "Unschedulable", "because")]),
        ([condition("TemplateValid", "False")], [condition("TemplateValid", "False")], []),
        (
            [condition("TemplateValid", "False")],
            [condition("TemplateValid", "False", message="other")],
            [Event("Warning", "Why", "other")],
        ),
        ([], [condition("ScaleDownBlocked", "False")], []),
        ([], [condition("Idle", "False", "InUse")], []),
        ([], [condition("Suspended", "True", "Suspended"), condition("WorkersReady", "False", "Suspended")], []),
        ([], [condition("Suspended", "False", "Retiring")], []),
        ([], [condition("Suspended", "False", "DataHeld")], [Event("Warning", "DataHeld", "because")]),
        ([], [condition("SchedulerUpdated", "False", "WaitingForIdle")], []),
        ([], [condition("SchedulerUpdated", "False", "ChangeRefused")], [Event("Warning", "ChangeRefused", "because")]),
        ([], [condition("Retiring", "True", "HandingOver")], []),
        ([], [condition("Progressing", "True", "RolloutComplete")], []),
        (
            [condition("Progressing", "True", "NewRevisionProgressing")],
            [condition("Progressing", "True", "RolloutComplete")],
            [Event("Normal", "RolloutComplete", "because")],
        ),
        (
            [],
            [condition("Autoscaling", "False", "HorizontalPodAutoscaler")],
            [Event("Warning", "HorizontalPodAutoscaler", "because")],
        ),
        (
            [condition("ScaleDownBlocked", "False")],
            [condition("ScaleDownBlocked", "True", "DataHeld")],
            [Event("Warning", "ScaleDownBlocked", "because")],
        ),
    ],
)
def test_conditions(before: list[dict[str, Any]], after: list[dict[str, Any]], events: list[Event]) -> None:
    assert of_conditions(status(*before), status(*after)) == events
