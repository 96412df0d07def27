"""Other autoscalers of the same Cluster, which are reported instead of fought. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Rivals:
    """The HorizontalPodAutoscalers that scale the Cluster; KEDA makes one for each ScaledObject.

    Attributes:
        names: theirs, sorted; none, too, where nobody looked because the Cluster doesn't scale itself.
        unknown: why they could not be listed.
    """

    names: tuple[str, ...] = ()
    unknown: str | None = None

    @classmethod
    def of(cls, autoscalers: Iterable[Mapping[str, Any]], cluster: str) -> Rivals:
        """Pick those of one Cluster.

        Args:
            autoscalers: all HorizontalPodAutoscalers of its namespace.
            cluster: its name.
        """
        return cls(tuple(sorted(found["metadata"]["name"] for found in autoscalers if _scales(found, cluster))))

    def objection(self, setting: str, instead: str) -> tuple[str, str, str] | None:
        """Why the number of workers isn't to be set: status, reason and message of a condition.

        Args:
            setting: the field of the spec by which it would be set.
            instead: what the user can do.
        """
        if self.names:
            message = (
                f"{setting} leaves the number of workers to another autoscaler of this Cluster, the "
                f"HorizontalPodAutoscaler {', '.join(self.names)}: {instead}"
            )
            return "False", "HorizontalPodAutoscaler", message
        if self.unknown is not None:
            message = f"HorizontalPodAutoscalers can't be listed, and one may scale this Cluster, too: {self.unknown}"
            return "Unknown", "AutoscalersUnknown", message
        return None


def _scales(autoscaler: Mapping[str, Any], cluster: str) -> bool:
    target = autoscaler["spec"]["scaleTargetRef"]
    group = target.get("apiVersion", "").partition("/")[0]
    return bool((group, target["kind"], target["name"]) == (names.GROUP, names.KIND, cluster))
