"""Which version of the user's templates something was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Owned, Pod

_LENGTH = 10

POD_DEFAULTS = frozenset({"restartPolicy", "terminationGracePeriodSeconds"})
CONTAINER_DEFAULTS = frozenset({"ports", "env", "lifecycle", "command", "args", "readinessProbe"})
HOOK_DEFAULTS = frozenset({"preStop"})
"""Fields of a pod, of its Dask container and of that one's lifecycle where a null takes a default of the operator's."""


def worker_revision(cluster: Cluster) -> str:
    """A short hash of all that the user says of the workers' pods.

    Of the spec, not of the manifests that come of it: the defaults are the operator's, and an operator with others
    must not replace everybody's workers. `spec.image` counts only where the template names no other.
    """
    return _revision(cluster, names.ROLE_WORKER, cluster.worker_template)


def scheduler_revision(cluster: Cluster) -> str:
    """As `worker_revision`, of the scheduler's pod."""
    return _revision(cluster, names.ROLE_SCHEDULER, cluster.scheduler_template)


def first_revision(cluster: Cluster) -> str:
    """The revision of pods without a label, made by an operator that set none.

    It is the one that was current at the first look, as the status remembers, so that installing a newer operator
    replaces nothing and the next change of the template does.
    """
    remembered = cluster.status.get("workers", {}).get("firstRevision")
    return str(remembered) if remembered else worker_revision(cluster)


def outdated(cluster: Cluster, pods: tuple[Pod, ...]) -> frozenset[str]:
    """The uids of the live pods that an earlier template gave."""
    return frozenset(pod.uid for pod in pods if pod.live and not is_current(cluster, pod))


def is_current(cluster: Cluster, pod: Pod) -> bool:
    """Whether the template of now gave this pod."""
    return (pod.revision or first_revision(cluster)) == worker_revision(cluster)


def first_scheduler_revision(cluster: Cluster) -> str:
    """As `first_revision`, of a scheduler's Deployment without an annotation."""
    remembered = cluster.status.get("scheduler", {}).get("firstRevision")
    return str(remembered) if remembered else scheduler_revision(cluster)


def is_scheduler_outdated(cluster: Cluster, deployment: Owned) -> bool:
    """Whether an earlier template gave the scheduler's Deployment."""
    made = deployment.annotations.get(names.ANNOTATION_REVISION) or first_scheduler_revision(cluster)
    return made != scheduler_revision(cluster)


def fingerprint(value: Mapping[str, Any]) -> str:
    """A short digest of some JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_LENGTH]


def _revision(cluster: Cluster, role: str, template: Mapping[str, Any]) -> str:
    parts = {
        part: {field: value for field, value in (fields or {}).items() if value not in ({}, [])}
        for part, fields in _without_nulls(template, role).items()
    }
    said = {"image": _used_image(cluster, role, template)}
    return fingerprint(said | {"template": {part: fields for part, fields in parts.items() if fields}})


def _without_nulls(template: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The template without the nulls that mean nothing: tools write them for fields that nobody has set.

    A null that takes a default of the operator's away does mean something (`merge`), so it stays.
    """
    told = {part: _known(fields) for part, fields in template.items()}
    spec = template.get("spec")
    if isinstance(spec, Mapping):
        told["spec"] = _known(spec, keep=POD_DEFAULTS)
        containers = spec.get("containers") or []
        told["spec"] |= {"containers": [_container(c, role) for c in containers]} if containers else {}
    return told


def _container(container: Mapping[str, Any], role: str) -> dict[str, Any]:
    if container.get("name") != role:
        return dict(_known(container))
    told: dict[str, Any] = _known(container, keep=CONTAINER_DEFAULTS)
    hooks = container.get("lifecycle")
    return told | ({"lifecycle": _known(hooks, keep=HOOK_DEFAULTS)} if isinstance(hooks, Mapping) else {})


def _known(value: Any, *, keep: frozenset[str] = frozenset()) -> Any:
    """A value without the nulls in it, but for those of the outermost fields to keep."""
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items() if item is not None or key in keep}
    return [_known(item) for item in value] if isinstance(value, list) else value


def _used_image(cluster: Cluster, role: str, template: Mapping[str, Any]) -> str | None:
    containers = (template.get("spec") or {}).get("containers") or []
    named = any(c.get("name") == role and c.get("image") for c in containers)
    return None if named else cluster.image
