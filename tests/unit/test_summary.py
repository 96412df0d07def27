"""The one word that stands for a Cluster's conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.domain.conditions import Condition
from dask_k8s_operator.domain.summary import summary
from tests.unit.builders import decide, entry, pending, pods, workers

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Plan

AT_REST = [
    ("SchedulerReady", "True", "Available"),
    ("WorkersReady", "True", "AllReady"),
    ("Progressing", "True", "RolloutComplete"),
    ("TemplateValid", "True", "Valid"),
    ("Retiring", "False", "NobodyLeaves"),
    ("ScaleDownBlocked", "False", "NothingBlocked"),
]


def _summary(*changed: tuple[str, str, str]) -> str:
    found = {kind: Condition(kind, status, reason, "") for kind, status, reason in (*AT_REST, *changed)}
    return summary(found.values())


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ([], "Running"),
        ([("SchedulerReady", "False", "Starting"), ("WorkersReady", "False", "Starting")], "Starting"),
        ([("SchedulerReady", "False", "ImagePullBackOff")], "Failing"),
        ([("WorkersReady", "False", "NotCreated")], "Starting"),
        ([("WorkersReady", "False", "CrashLoopBackOff")], "Failing"),
        ([("Retiring", "True", "HandingOver")], "Retiring"),
        ([("Retiring", "True", "HandingOver"), ("ScaleDownBlocked", "True", "DataHeld")], "Blocked"),
        ([("Progressing", "True", "NewRevisionProgressing"), ("Retiring", "True", "HandingOver")], "Updating"),
        ([("Progressing", "True", "NewRevisionOnDelete")], "Running"),
        ([("Progressing", "False", "Stalled"), ("WorkersReady", "False", "Unschedulable")], "Stalled"),
        ([("TemplateValid", "False", "TemplateInvalid"), ("Progressing", "False", "Stalled")], "Invalid"),
        ([("HandoverPossible", "False", "HookFailed")], "Unprotected"),
        ([("TemplateValid", "Unknown", "NotChecked")], "Running"),
        ([("Suspended", "True", "Suspended"), ("SchedulerReady", "False", "Suspended")], "Suspended"),
        ([("Suspended", "False", "Retiring"), ("Retiring", "True", "HandingOver")], "Suspending"),
        ([("Suspended", "False", "DataHeld")], "Blocked"),
        ([("Autoscaling", "Unknown", "SchedulerUnreachable")], "Running"),
    ],
)
def test_the_word_is_for_what_a_person_would_see_to_first(changed: list[tuple[str, str, str]], word: str) -> None:
    assert _summary(*changed) == word


def test_it_stands_in_the_status() -> None:
    def state(decided: Plan) -> str:
        assert decided.status is not None
        return str(decided.status["state"])

    assert state(decide(pods("ab"), replicas=2)) == "Running"
    assert state(decide((pending("a"),), replicas=1)) == "Starting"
    assert state(decide(pods("ab"), replicas=1, retiring=[entry("b", asked=-1)], scheduler=workers("ab"))) == "Retiring"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_those_who_leave_are_named(count: int) -> None:
    names = "bcdefgh"[:count]
    entries = [entry(name) for name in names]
    decided = decide(pods("a" + names), replicas=1, retiring=entries, scheduler=workers("a" + names))
    assert decided.status is not None
    [told] = [c for c in decided.status["conditions"] if c["type"] == "Retiring"]
    shown = {1: "1 worker hands over and leaves: b", 2: "2 workers hand over and leave: b, c"}
    assert told["message"] == shown.get(count, "7 workers hand over and leave: b, c, d, e, f and 2 more")
