"""Whether the templates give objects that the API server takes: what to ask it about, and what its answers mean.

Asked once for each generation, before anything is made or replaced from it, and again later for as long as the answer
is no. The condition `TemplateValid` of that generation is what remembers the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster, InvalidCluster
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service, worker_pod

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONDITION = "TemplateValid"

INVALID_SPEC = "InvalidSpec"
"""The spec lacks something: no need to ask anybody."""

INVALID = "TemplateInvalid"
"""The template itself is at fault."""

FORBIDDEN = "TemplateForbidden"
"""A policy of the namespace is against it, or something is missing that it refers to: either may change."""

SOONEST, LATEST = timedelta(seconds=1), timedelta(seconds=60)
"""When to ask again whether what is forbidden still is."""

_ABOUT_QUOTA = "exceeded quota"
_NO_DRY_RUN = "does not support dry run"

_PREFIXES = re.compile(
    r'^(?:[\w.]+ "[^"]*" is (?:invalid|forbidden): '
    r'|\w+ in version "[^"]*" cannot be handled as a \w+: (?:strict decoding error: )?'
    r"|failed to create typed patch object \([^)]*\): (?:errors:)?\s*)"
)
"""What API servers begin with: that it is invalid or forbidden, and a name that was made up for the question."""


@dataclass(frozen=True)
class Trial:
    """An object to ask the API server about, which isn't made.

    Attributes:
        role: whose template it comes from.
        what: it, in words.
        manifest: all of it.
        change: it is there already, so that the question is whether it may be changed to this.
    """

    role: str
    what: str
    manifest: Mapping[str, Any]
    change: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why the API server would not take an object.

    Attributes:
        status: the HTTP status; None: there was no answer.
        message: in the server's own words.
    """

    status: int | None
    message: str


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a template.

    Attributes:
        role: whose: "scheduler" or "worker".
        reason: one word for programs.
        message: for people, with the name of the field.
    """

    role: str
    reason: str
    message: str


@dataclass(frozen=True)
class TemplateCheck:
    """What is known of the templates of this generation.

    Attributes:
        complaints: what is wrong with them; none: nothing, as far as anybody has been asked.
        unanswered: why the API server could not be asked.
    """

    complaints: tuple[Complaint, ...] = ()
    unanswered: str | None = None

    def of(self, role: str) -> Complaint | None:
        """What is wrong with the templates of a role."""
        return next((complaint for complaint in self.complaints if complaint.role == role), None)

    def against(self, role: str, *, other_too: bool) -> Complaint | None:
        """What keeps objects of a role from being made.

        Args:
            role: "scheduler" or "worker".
            other_too: the other role has nothing yet, so that the Cluster would be half made.
        """
        others = (complaint for complaint in self.complaints if other_too)
        return self.of(role) or next(others, None)


def is_checked(cluster: Cluster) -> bool:
    """Whether the API server has taken what this generation's templates give, so that it need not be asked."""
    found = _condition(cluster)
    return found.get("status") == "True" and found.get("observedGeneration") == cluster.generation


def trials(cluster: Cluster, *, has_service: bool, changes_deployment: bool = False) -> list[Trial]:
    """What to ask the API server about.

    A Deployment says nothing of what only pods are refused for, such as a missing priority class.

    Args:
        cluster: whose templates they are.
        has_service: the scheduler's Service is there, with ports and addresses that another could not have.
        changes_deployment: the scheduler's Deployment is there, made from an earlier template.
    """
    faulty = {complaint.role for complaint in _faults(cluster)}
    found = []
    if names.ROLE_SCHEDULER not in faulty:
        deployment, service = scheduler_deployment(cluster), scheduler_service(cluster)
        template = "spec.scheduler.template"
        found += [
            Trial(names.ROLE_SCHEDULER, f"the scheduler's pod ({template})", _scheduler_pod(cluster, deployment)),
            Trial(
                names.ROLE_SCHEDULER,
                f"the scheduler's Deployment ({template})",
                deployment,
                change=changes_deployment,
            ),
            Trial(names.ROLE_SCHEDULER, "the Service (spec.scheduler.service)", service, change=has_service),
        ]
    if names.ROLE_WORKER not in faulty:
        pod = worker_pod(cluster, f"{cluster.name}-worker-trial")
        found.append(Trial(names.ROLE_WORKER, "the workers' pods (spec.workers.template)", pod))
    return found


def check(answers: Iterable[tuple[Trial, Refusal | None]]) -> TemplateCheck:
    """What the answers to trials mean.

    Args:
        answers: each with what it is about; None: the API server would take it.
    """
    complaints: dict[tuple[str, str], Complaint] = {}
    unanswered = None
    for trial, refusal in answers:
        if refusal is None or refusal.status == HTTPStatus.CONFLICT or _ABOUT_QUOTA in refusal.message:
            # It exists already, or it would be one too many: each is looked at only after the object itself.
            continue
        told = " ".join(_PREFIXES.sub("", refusal.message).split())
        if refusal.status is None or _NO_DRY_RUN in refusal.message:
            unanswered = f"the API server could not be asked about {trial.what}: {told}"
            continue
        at_fault = refusal.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
        message = f"the API server refuses {trial.what}: {told}"
        # The pod comes first: what its Deployment is refused for is mostly the same.
        where = "service" if trial.manifest["kind"] == "Service" else "pod"
        complaints.setdefault((trial.role, where), Complaint(trial.role, INVALID if at_fault else FORBIDDEN, message))
    return TemplateCheck(tuple(complaints.values()), unanswered)


def with_faults(cluster: Cluster, asked: TemplateCheck) -> TemplateCheck:
    """What is known of the templates by the API server's answers and by the spec itself."""
    if is_checked(cluster):
        return asked
    return TemplateCheck((*_faults(cluster), *asked.complaints), asked.unanswered)


def ask_again_after(cluster: Cluster, known: TemplateCheck, now: datetime) -> timedelta | None:
    """When to ask again, later and later; None: not before the spec changes or somebody looks anyway."""
    forbidden = any(complaint.reason == FORBIDDEN for complaint in known.complaints)
    if not forbidden and known.unanswered is None:
        return None
    found = _condition(cluster)
    if found.get("status") in {None, "True"}:
        return SOONEST
    return min(max(now - datetime.fromisoformat(found["lastTransitionTime"]), SOONEST), LATEST)


def _faults(cluster: Cluster) -> Iterator[Complaint]:
    for role in (names.ROLE_SCHEDULER, names.ROLE_WORKER):
        try:
            scheduler_deployment(cluster) if role == names.ROLE_SCHEDULER else worker_pod(cluster, "")
        except InvalidCluster as error:
            yield Complaint(role, INVALID_SPEC, str(error))


def _scheduler_pod(cluster: Cluster, deployment: Mapping[str, Any]) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": f"{cluster.name}-scheduler-trial", "namespace": cluster.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _condition(cluster: Cluster) -> Mapping[str, Any]:
    conditions: Iterable[Mapping[str, Any]] = cluster.status.get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == CONDITION), {})
