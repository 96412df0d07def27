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


def _scales(autoscaler: Mapping[str, Any], cluster: str) -> bool:
    target = autoscaler["spec"]["scaleTargetRef"]
    group = target.get("apiVersion", "").partition("/")[0]
    return bool((group, target["kind"], target["name"]) == (names.GROUP, names.KIND, cluster))
