"""What a plan can ask for: frozen values, each with the reason that a person reads in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


@dataclass(frozen=True)
class Create:
    """Create an object; that it already exists is success, because its name follows from what was seen."""

    manifest: Mapping[str, Any]
    reason: str

    @property
    def kind(self) -> str:
        """The object's kind: Deployment, Service or Pod."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])

    def __str__(self) -> str:
        return f"create {self.kind} {self.name}: {self.reason}"


@dataclass(frozen=True)
class DeletePod:
    """Delete exactly this pod in exactly this state; a change since it was read is a conflict, and read again."""

    name: str
    uid: str
    resource_version: str
    reason: str

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
    """Delete the Cluster itself, this very one; a change of it meanwhile is a conflict."""

    uid: str
    reason: str

    def __str__(self) -> str:
        return f"delete the Cluster: {self.reason}"


Action = Create | DeletePod | Drain | Retire | Scale | DeleteCluster


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
