"""What is told as Events of the Cluster: decisions once they are carried out, and conditions that turned bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dask_k8s_operator.domain.actions import (
    Apply,
    Create,
    DeleteCluster,
    DeletePod,
    Drain,
    Repair,
    Retire,
    Scale,
)
from dask_k8s_operator.domain.rollout import ROLLED_OUT
from dask_k8s_operator.domain.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_k8s_operator.domain.actions import Action

Status = Mapping[str, Any]

_GOOD = {"ScaleDownBlocked": "False"}
"""The status of conditions that is as it should be, where that isn't True."""

_BY_THEMSELVES = frozenset({"Ready"})
"""Conditions that repeat others."""

_NEITHER = frozenset({"Retiring"})
"""Conditions that are neither good nor bad."""

_PATIENT = frozenset(
    {
        "Starting",
        "NotCreated",
        "InUse",
        "Replacing",
        "WaitingForIdle",
        "WaitingForDeletion",
        "TemplateRefused",
        "Suspended",
        "Retiring",
    }
)
"""Reasons for a condition to be bad that need nobody's attention, or repeat what another condition has told."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a Cluster.

    Attributes:
        type: Warning, where a person may have to do something.
        reason: one word for programs.
        message: what happened, and why; equal ones are counted instead of repeated.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def of_actions(actions: Iterable[Action]) -> list[Event]:
    """What was done, a line for all that was done for the same reason; not that the operator took an object over.

    Args:
        actions: those of one plan, without those that were refused.
    """
    done: dict[tuple[str, str, str], list[str]] = {}
    asked = []
    for action in actions:
        match action:
            case Create(kind="Pod"):
                done.setdefault(("CreatedWorkers", "created", action.reason), []).append(action.name)
            case Create():
                done.setdefault(("CreatedScheduler", f"created {action.kind}", action.reason), []).append(action.name)
            case Apply() | Repair():
                done.setdefault(("ChangedScheduler", f"changed {action.kind}", action.reason), []).append(action.name)
            case DeletePod():
                done.setdefault(("DeletedWorkers", "deleted", action.reason), []).append(action.name)
            case Drain():
                asked.append(Event("Normal", "DrainingWorkers", f"asked the scheduler to drain {action.reason}"))
            case Retire():
                asked.append(Event("Normal", "RetiringWorkers", f"asked the scheduler to retire {action.reason}"))
            case Scale():
                done[("Scaled", "set spec.workers.replicas to", action.reason)] = [str(action.replicas)]
            case DeleteCluster():
                done[("DeletedIdle", "deleted", action.reason)] = ["the Cluster"]
    told = [Event("Normal", reason, f"{what} {listed(names)}: {why}") for (reason, what, why), names in done.items()]
    return [*told, *asked]


def of_conditions(before: Status, after: Status) -> list[Event]:
    """What turned bad, or bad in another way, and that the Cluster became ready or a rollout came to its end.

    Args:
        before: the status that stood.
        after: the one that was written.
    """
    old = {condition["type"]: condition for condition in before.get("conditions", ())}
    events = []
    for condition in after.get("conditions", ()):
        kind, was = condition["type"], old.get(condition["type"], {})
        bad = condition["status"] != _GOOD.get(kind, "True")
        news = any(was.get(key) != condition[key] for key in ("status", "reason", "message"))
        if kind == "Ready" and condition["status"] == "True" and was.get("status") != "True":
            events.append(Event("Normal", "Ready", condition["message"]))
        if condition["reason"] == ROLLED_OUT and was.get("reason") not in {None, ROLLED_OUT}:
            events.append(Event("Normal", ROLLED_OUT, condition["message"]))
        if bad and news and kind not in _BY_THEMSELVES | _NEITHER and condition["reason"] not in _PATIENT:
            reason = kind if kind in _GOOD else condition["reason"]
            events.append(Event("Warning", reason, condition["message"]))
    return events
