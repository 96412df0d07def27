"""What the queue and the log call a Cluster."""

from __future__ import annotations

from typing import NamedTuple


class ClusterKey(NamedTuple):
    """The namespace and name of a Cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
