"""Events of Clusters, written beside the work: they tell of it, and nothing waits for them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.clients.kubernetes import KubernetesClient, KubernetesError, NotFound
from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.events import Event

logger = logging.getLogger(__name__)

COMPONENT = "dask-operator"

QUEUED = 1000
"""Events that wait to be written; more than that are dropped, since an API server in trouble needs no further load."""

REMEMBERED = 4096
"""Events whose repetitions are counted in the object that is there."""

MESSAGE_LENGTH = 1024
"""What the API server allows."""


@dataclass
class _Told:
    """An Event that is there."""

    name: str
    count: int = 1


class Recorder:
    """Writes Events (core/v1, as `kubectl describe` shows them).

    One that says the same again counts up the object that is there. What it counts on is forgotten when the process
    ends, as by every controller: then there is a second object.
    """

    def __init__(self, kubernetes: KubernetesClient, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Cluster, Event, str]] = asyncio.Queue(QUEUED)
        self._told: OrderedDict[tuple[str, Event], _Told] = OrderedDict()

    def record(self, cluster: Cluster, events: Iterable[Event]) -> None:
        """Have these written."""
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        for event in events:
            try:
                self._queue.put_nowait((cluster, event, now))
            except asyncio.QueueFull:
                logger.debug("%s/%s: dropped: %s", cluster.namespace, cluster.name, event.message)

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            cluster, event, now = await self._queue.get()
            try:
                await self._write(cluster, event, now)
            except KubernetesError as error:
                logger.info("%s/%s: an Event was lost: %s", cluster.namespace, cluster.name, error)

    async def _write(self, cluster: Cluster, event: Event, now: str) -> None:
        told = self._told.get((cluster.uid, event))
        if told is None or not await self._count(cluster, told, now):
            told = _Told(f"{cluster.name}.{secrets.token_hex(8)}")
            await self._kubernetes.create(_manifest(cluster, event, told.name, now))
            self._told[cluster.uid, event] = told
        self._told.move_to_end((cluster.uid, event))
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    async def _count(self, cluster: Cluster, told: _Told, now: str) -> bool:
        try:
            await self._kubernetes.count_event(cluster.namespace, told.name, count=told.count + 1, last=now)
        except NotFound:  # the API server keeps them for an hour
            return False
        told.count += 1
        return True


def _manifest(cluster: Cluster, event: Event, name: str, now: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": cluster.namespace,
            "name": cluster.name,
            "uid": cluster.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:MESSAGE_LENGTH],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
