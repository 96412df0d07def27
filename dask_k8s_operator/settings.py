"""What the operator can be told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

SchedulerAccess = Literal["auto", "direct", "proxy"]


@dataclass(frozen=True)
class Settings:
    """How one operator process runs.

    Attributes:
        namespaces: those whose Clusters it looks after; empty: all.
        kubeconfig: the file that says where the API server is; None: the pod's service account or the default file.
        scheduler_access: `direct` by the Service's name, which works inside the cluster; `proxy` through the API
            server, which works from anywhere; `auto` whichever fits where this runs.
        health_host: the address that the probes are served on.
        health_port: and the port; 0 for one that is free.
        concurrency: how many Clusters are reconciled at a time.
        lease: the namespace and name of the Lease that says which of several operators acts; None: this one acts.
    """

    namespaces: tuple[str, ...]
    kubeconfig: Path | None
    scheduler_access: SchedulerAccess
    health_host: str
    health_port: int
    concurrency: int
    lease: tuple[str, str] | None
