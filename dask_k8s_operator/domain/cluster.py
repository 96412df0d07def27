"""The Cluster resource as the operator reads it: what the user wants, and what the status remembers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dask_k8s_operator.domain.autoscale import Autoscale

Manifest = Mapping[str, Any]

LONGEST = 2**31 - 1
"""The most seconds that any field may have: 68 years."""

MOST_WORKERS = 10_000
LONGEST_WINDOW = 3600
"""As the schema of the CustomResourceDefinition has it."""

DRAIN_SECONDS = 60
"""How long tasks that run on a worker may take to finish where the spec doesn't say."""


class InvalidCluster(ValueError):
    """The spec can't be acted on; the message names the field and says what to write instead."""


@dataclass(frozen=True)
class Retirement:
    """How workers are to be retired (`spec.workers.retirement`).

    Attributes:
        drain: how long tasks that run on a worker may take to finish before they are moved elsewhere.
        timeout: how long after it was chosen a worker that can't be retired is kept; None: for ever.
        delete_on_timeout: delete it then, though data is lost; otherwise it stays and the status says so.
    """

    drain: timedelta
    timeout: timedelta | None
    delete_on_timeout: bool


@dataclass(frozen=True)
class UpdateStrategy:
    """How workers of an earlier template are replaced (`spec.workers.updateStrategy`).

    Attributes:
        rolling: by the operator, a few at a time; otherwise only as somebody deletes them.
        max_surge: how many more workers than wanted there may be meanwhile: a number, or a share such as "25%".
        max_unavailable: how many fewer may work.
    """

    rolling: bool = True
    max_surge: int | str = 1
    max_unavailable: int | str = 0

    def bounds(self, replicas: int) -> tuple[int, int]:
        """Surge and unavailability as numbers of workers, rounded and never both 0, as for a Deployment."""
        surge = _share(self.max_surge, replicas, round_up=True)
        unavailable = _share(self.max_unavailable, replicas, round_up=False)
        return (surge, unavailable) if surge or unavailable else (0, 1)


class SchedulerStrategy(StrEnum):
    """When a scheduler of an earlier template is replaced (`spec.scheduler.updateStrategy.type`)."""

    WHEN_IDLE = "WhenIdle"
    RECREATE = "Recreate"
    ON_DELETE = "OnDelete"


class IdleAction(StrEnum):
    """What happens to a Cluster that nobody uses (`spec.idle.action`)."""

    SCALE_TO_ZERO = "ScaleToZero"
    DELETE = "Delete"


@dataclass(frozen=True)
class Idle:
    """`spec.idle`.

    Attributes:
        after: for how long nobody must have used the Cluster.
        action: what happens then.
    """

    after: timedelta
    action: IdleAction


@dataclass(frozen=True)
class Retiring:
    """A pod on its way out, as `status.workers.retiring` remembers it across restarts of the operator.

    Attributes:
        name: the pod's name.
        uid: the pod's uid: a later pod of the same name is another pod.
        addresses: its workers' addresses when it was chosen or last asked for.
        since: when it was chosen.
        asked: when the scheduler was last asked to drain or retire it; None: never, so it may be taken back.
        attempts: how often the scheduler was asked.
        peers: a digest of who could have taken its data when it was last asked: others may say yes.
        drained: when the scheduler said that it takes no more tasks and its data has been copied.
        moved: the scheduler's answer listed it as retired: all its data is elsewhere.
        refused: the scheduler's answer left it out: it went back to what it did before.
    """

    name: str
    uid: str
    addresses: tuple[str, ...]
    since: datetime
    asked: datetime | None = None
    attempts: int = 0
    peers: str = ""
    drained: datetime | None = None
    moved: bool = False
    refused: bool = False

    @property
    def asked_again(self) -> bool:
        """Whether the scheduler was asked once more for what it had refused, or not answered, before."""
        return not self.moved and self.attempts > (1 if self.drained is None else 2)

    def to_status(self) -> dict[str, Any]:
        """The entry as it stands in the status."""
        entry: dict[str, Any] = {
            "name": self.name,
            "uid": self.uid,
            "addresses": list(self.addresses),
            "since": self.since.isoformat(),
        }
        if self.asked is not None:
            entry |= {"asked": self.asked.isoformat(), "attempts": self.attempts, "peers": self.peers}
        if self.drained is not None:
            entry["drained"] = self.drained.isoformat()
        return entry | {key: True for key in ("moved", "refused") if getattr(self, key)}

    @classmethod
    def from_status(cls, entry: Manifest) -> Retiring:
        """Read an entry of the status."""
        return cls(
            name=entry["name"],
            uid=entry["uid"],
            addresses=tuple(entry.get("addresses", ())),
            since=datetime.fromisoformat(entry["since"]),
            asked=_time(entry.get("asked")),
            attempts=entry.get("attempts", 0),
            peers=entry.get("peers", ""),
            drained=_time(entry.get("drained")),
            moved=entry.get("moved", False),
            refused=entry.get("refused", False),
        )

    def asking(self, *, now: datetime, addresses: frozenset[str], peers: str) -> Retiring:
        """The entry once the scheduler is about to be asked."""
        current = tuple(sorted(addresses))
        return replace(
            self,
            asked=now,
            addresses=current,
            attempts=self.attempts + 1,
            peers=peers,
            # Another address is another process, and that one takes tasks.
            drained=self.drained if current == self.addresses else None,
            moved=False,
            refused=False,
        )


@dataclass(frozen=True)
class Cluster:
    """One Cluster resource.

    Attributes:
        generation: of the spec, as the API server counts it.
        terminating: the Cluster is being deleted: nothing is to be made or kept for it.
        image: the image of containers that name none.
        status: as it was read, for the conditions' transition times and for what it remembers.
        autoscale: how the operator itself is to set the replicas; None: it isn't.
        idle: what happens when nobody uses the Cluster; None: nothing.
        update: how workers of an earlier template are replaced.
        scheduler_update: when a scheduler of an earlier template is.
        scheduler_service_metadata: labels and annotations for the scheduler's Service, if any.
        suspended: all its pods are to be given back.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    terminating: bool
    image: str | None
    scheduler_template: Manifest
    scheduler_service: Manifest
    replicas: int
    worker_template: Manifest
    retirement: Retirement
    retiring: tuple[Retiring, ...]
    status: Manifest
    autoscale: Autoscale | None = None
    idle: Idle | None = None
    update: UpdateStrategy = UpdateStrategy()
    scheduler_update: SchedulerStrategy = SchedulerStrategy.WHEN_IDLE
    scheduler_service_metadata: Manifest | None = None
    suspended: bool = False

    @property
    def wanted(self) -> int:
        """How many workers there are to be now."""
        return 0 if self.suspended else self.replicas

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Cluster:
        """Read the resource as the API server gives it.

        Raises:
            InvalidCluster: the spec has a shape that the CRD's schema would have refused (an older schema may still be
                installed).
        """
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        spec = _mapping(manifest, "spec")
        scheduler, workers = _mapping(spec, "scheduler", "spec"), _mapping(spec, "workers", "spec")
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            generation=metadata["generation"],
            terminating="deletionTimestamp" in metadata,
            image=spec.get("image"),
            scheduler_template=_mapping(scheduler, "template", "spec.scheduler"),
            scheduler_service=_mapping(scheduler, "service", "spec.scheduler"),
            replicas=_number(workers, "replicas", "spec.workers", most=MOST_WORKERS, default=1),
            worker_template=_mapping(workers, "template", "spec.workers"),
            retirement=_retirement(_mapping(workers, "retirement", "spec.workers")),
            retiring=tuple(Retiring.from_status(e) for e in status.get("workers", {}).get("retiring", ())),
            status=status,
            autoscale=_autoscale(_mapping(workers, "autoscale", "spec.workers")),
            idle=_idle(_mapping(spec, "idle", "spec")),
            update=_update(_mapping(workers, "updateStrategy", "spec.workers")),
            scheduler_update=SchedulerStrategy(
                _mapping(scheduler, "updateStrategy", "spec.scheduler").get("type", SchedulerStrategy.WHEN_IDLE)
            ),
            scheduler_service_metadata=_mapping(scheduler, "serviceMetadata", "spec.scheduler"),
            suspended=spec.get("suspend") is True,
        )


def _mapping(parent: Manifest, key: str, path: str = "") -> Manifest:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        where = f"{path}.{key}".lstrip(".")
        raise InvalidCluster(f"{where} must be an object, but it is {value!r}")
    return value


def _number(parent: Manifest, field: str, path: str, *, most: int, least: int = 0, default: int = 0) -> int:
    value = parent.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidCluster(f"{path}.{field} must be a whole number from {least} to {most}, but it is {value!r}")
    return value


def _seconds(parent: Manifest, field: str, path: str, **bounds: int) -> timedelta:
    return timedelta(seconds=_number(parent, field, path, **{"most": LONGEST, **bounds}))


def _retirement(spec: Manifest) -> Retirement:
    path = "spec.workers.retirement"
    return Retirement(
        drain=_seconds(spec, "drainSeconds", path, default=DRAIN_SECONDS),
        timeout=None if spec.get("timeoutSeconds") is None else _seconds(spec, "timeoutSeconds", path, least=1),
        delete_on_timeout=spec.get("onTimeout", "Keep") == "Delete",
    )


def _autoscale(spec: Manifest) -> Autoscale | None:
    if not spec:
        return None
    path, window = "spec.workers.autoscale", "stabilizationWindowSeconds"
    if "maxReplicas" not in spec:
        raise InvalidCluster(f"{path}.maxReplicas is missing: set how many workers there may be at most")
    minimum = _number(spec, "minReplicas", path, most=MOST_WORKERS)
    maximum = _number(spec, "maxReplicas", path, least=1, most=MOST_WORKERS)
    if minimum > maximum:
        raise InvalidCluster(f"{path}.minReplicas must not be more than maxReplicas, but it is {minimum}")

    def window_of(direction: str) -> timedelta | None:
        given = _mapping(spec, direction, path)
        known = given.get(window) is not None
        return _seconds(given, window, f"{path}.{direction}", most=LONGEST_WINDOW) if known else None

    return Autoscale(
        minimum=minimum,
        maximum=maximum,
        up_window=window_of("scaleUp") or timedelta(0),
        down_window=window_of("scaleDown"),
    )


def _idle(spec: Manifest) -> Idle | None:
    if not spec:
        return None
    if "afterSeconds" not in spec:
        raise InvalidCluster("spec.idle.afterSeconds is missing: set for how long nobody must have used the Cluster")
    action = spec.get("action", IdleAction.SCALE_TO_ZERO)
    if action not in set(IdleAction):
        raise InvalidCluster(f"spec.idle.action must be {' or '.join(IdleAction)}, but it is {action!r}")
    return Idle(after=_seconds(spec, "afterSeconds", "spec.idle", least=1), action=IdleAction(action))


def _update(spec: Manifest) -> UpdateStrategy:
    path = "spec.workers.updateStrategy"
    bounds = _mapping(spec, "rollingUpdate", path)
    found = UpdateStrategy(
        rolling=spec.get("type", "RollingUpdate") == "RollingUpdate",
        max_surge=bounds.get("maxSurge", 1),
        max_unavailable=bounds.get("maxUnavailable", 0),
    )
    for field, value in (("maxSurge", found.max_surge), ("maxUnavailable", found.max_unavailable)):
        if not re.fullmatch(r"\d+%?", str(value)):
            raise InvalidCluster(
                f'{path}.rollingUpdate.{field} must be a whole number or a share such as "25%", but it is {value!r}'
            )
    return found


def _share(value: int | str, whole: int, *, round_up: bool) -> int:
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    exact = int(text[:-1]) * whole
    return -(-exact // 100) if round_up else exact // 100


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
