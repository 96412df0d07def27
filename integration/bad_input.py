"""What a mistake in a Cluster is, and the places where users make them."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration.kube import Manifest

Path = tuple[str | int, ...]

GONE = object()
"""Instead of a value: the field is left out."""


@dataclass(frozen=True)
class Wrong:
    """One mistake.

    Attributes:
        title: it, in words.
        path: the field below the Cluster that is set.
        value: what it is set to.
        says: what the message has at least.
        also: what else has to be set for it to be one.
    """

    title: str
    path: Path
    value: Any
    says: str
    also: tuple[tuple[Path, Any], ...] = ()

    def within(self, cluster: Manifest) -> Manifest:
        """A copy of a Cluster with the mistake."""
        changed = copy.deepcopy(cluster)
        for path, value in ((self.path, self.value), *self.also):
            place: Any = changed
            for key, following in itertools.pairwise(path):
                if isinstance(key, str):
                    place.setdefault(key, [{}] if isinstance(following, int) else {})
                place = place[key]
            if value is GONE:
                del place[path[-1]]
            else:
                place[path[-1]] = value
        return changed


SPEC = ("spec",)
SCHEDULER, WORKERS = (*SPEC, "scheduler"), (*SPEC, "workers")
RETIREMENT, AUTOSCALE = (*WORKERS, "retirement"), (*WORKERS, "autoscale")
ROLLOUT, IDLE = (*WORKERS, "updateStrategy", "rollingUpdate"), (*SPEC, "idle")
SERVICE = (*SCHEDULER, "service")
META, S_META = (*WORKERS, "template", "metadata"), (*SCHEDULER, "template", "metadata")
POD, S_POD = (*WORKERS, "template", "spec"), (*SCHEDULER, "template", "spec")
BOX, S_BOX = (*POD, "containers", 0), (*S_POD, "containers", 0)

ANOTHER = {"name": "beside", "image": "other:1"}
