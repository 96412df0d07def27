"""What a plan can ask for: frozen values, each with the reason that a person reads in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta


@dataclass(frozen=True)
class _Whole:
    """What is to become of an object as a whole."""

    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The object's kind: Deployment, Service or Pod."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Create(_Whole):
    """Create an object; that it already exists is success, because its name follows from what was seen."""

    reason: str

    def __str__(self) -> str:
        return f"create {self.kind} {self.name}: {self.reason}"


@dataclass(frozen=True)
class Apply(_Whole):
    """Make an object what the manifest says, by server-side apply, which leaves alone what only others have set.

    Of exactly this object in exactly this state: a change since it was read is a conflict, and read again.
    """

    uid: str
    resource_version: str
    reason: str

    def __str__(self) -> str:
        return f"apply {self.kind} {self.name}: {self.reason}"


@dataclass(frozen=True)
class Repair:
    """Set some fields of an object back, and touch no other; a change since it was read is a conflict."""

    kind: str
    name: str
    patch: Mapping[str, Any]
    uid: str
    resource_version: str
    reason: str

    def __str__(self) -> str:
        return f"repair {self.kind} {self.name}: {self.reason}"


@dataclass(frozen=True)
class TakeOver:
    """Write down who has set which fields of an object, and change none; a change since it was read is a conflict."""

    kind: str
    name: str
    managed_fields: Sequence[Mapping[str, Any]]
    resource_version: str
    reason: str

    def __str__(self) -> str:
        return f"take {self.kind} {self.name} over: {self.reason}"


@dataclass(frozen=True)
class DeletePod:
    """Delete exactly this pod in exactly this state; a change since it was read is a conflict, and read again.

    Attributes:
        grace_seconds: how long it may take to end; None: as long as its template says.
    """

    name: str
    uid: str
    resource_version: str
    reason: str
    grace_seconds: int | None = None

    def __str__(self) -> str:
        return f"delete Pod {self.name}: {self.reason}"


@dataclass(frozen=True)
class Drain:
    """Ask the scheduler to give these workers no more tasks and to copy their data elsewhere, but to keep them."""

    addresses: frozenset[str]
    reason: str

    def __str__(self) -> str:
        return f"drain {', '.join(sorted(self.addresses))}: {self.reason}"


@dataclass(frozen=True)
class Retire:
    """Ask the scheduler to move the data of these workers elsewhere and to let them go."""

    addresses: frozenset[str]
    reason: str

    def __str__(self) -> str:
        return f"retire {', '.join(sorted(self.addresses))}: {self.reason}"


@dataclass(frozen=True)
class Scale:
    """Set how many workers are wanted, as an autoscaler does; a change of the Cluster meanwhile is a conflict."""

    replicas: int
    reason: str

    def __str__(self) -> str:
        return f"scale to {self.replicas} workers: {self.reason}"


@dataclass(frozen=True)
class DeleteCluster:
    """Delete the Cluster itself, this very one, unless it is used after all; a change of it meanwhile is a conflict."""

    uid: str
    since: datetime
    reason: str

    def __str__(self) -> str:
        return f"delete the Cluster: {self.reason}"


Action = Create | Apply | Repair | TakeOver | DeletePod | Drain | Retire | Scale | DeleteCluster


@dataclass(frozen=True)
class Plan:
    """What to do now.

    Attributes:
        status: the status to write before anything else is done: what it remembers is what a crash must not forget.
            None: it stands as it is.
        actions: independent of each other, to be done once the status is written.
        requeue_after: when to look again though nothing happened.
    """

    status: Mapping[str, Any] | None
    actions: tuple[Action, ...]
    requeue_after: timedelta
