"""A Cluster's conditions in one word, for the column that `kubectl get` shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_k8s_operator.domain.conditions import Condition

STARTING = "Starting"

_PATIENT = frozenset({STARTING, "NotCreated"})
"""Reasons not to be ready that need nothing but time."""

_WORDS: tuple[tuple[str, str, frozenset[str] | None, str], ...] = (
    ("TemplateValid", "False", None, "Invalid"),
    ("Suspended", "True", None, "Suspended"),
    ("Suspended", "False", frozenset({"Retiring"}), "Suspending"),
    ("Suspended", "False", None, "Blocked"),
    ("Progressing", "False", None, "Stalled"),
    ("SchedulerUpdated", "False", frozenset({"ChangeRefused"}), "Stalled"),
    ("ScaleDownBlocked", "True", None, "Blocked"),
    ("SchedulerReady", "False", _PATIENT, STARTING),
    ("SchedulerReady", "False", None, "Failing"),
    ("Progressing", "True", frozenset({"NewRevisionProgressing"}), "Updating"),
    ("SchedulerUpdated", "False", frozenset({"WaitingForIdle", "Replacing"}), "Updating"),
    ("Retiring", "True", None, "Retiring"),
    ("WorkersReady", "False", _PATIENT, STARTING),
    ("WorkersReady", "False", None, "Failing"),
    ("HandoverPossible", "False", None, "Unprotected"),
)
"""Condition, status, reasons (None: any), and the word; what a person has to do something about comes first."""


def summary(conditions: Iterable[Condition]) -> str:
    """The word for the first thing that isn't as in a Cluster at rest; the condition's message says the rest."""
    found = {condition.type: condition for condition in conditions}
    for kind, status, reasons, word in _WORDS:
        condition = found.get(kind)
        if condition and condition.status == status and (reasons is None or condition.reason in reasons):
            return word
    return "Running"
